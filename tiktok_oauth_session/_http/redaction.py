"""Keeping secrets out of what people read."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

#: What stands where a secret stood.
BLOT = "***"

#: The parameters that hold a secret, under every name that a surface gives them.
SECRET_PARAMETERS = frozenset(
    {
        "access_token",
        "app_secret",
        "auth_code",
        "client_secret",
        "code",
        "code_verifier",
        "refresh_token",
        "secret",
        "token",
    }
)

#: Characters: shorter values are no secrets, and blotting them out would blot out words.
SHORTEST_SECRET = 4

_IN_A_QUERY = re.compile(rf"(?<=[?&])({'|'.join(sorted(SECRET_PARAMETERS))})=[^&\s\"']*")


def secrets_in(fields: Mapping[str, object]) -> list[str]:
    """Return the secret values among the parameters of a request."""
    return [str(value) for name, value in fields.items() if name in SECRET_PARAMETERS and value]


def redact(text: str, secrets: Iterable[str]) -> str:
    """Blot the secrets out of a text, as they are and as a URL spells them."""
    # The longest first: one secret may begin another.
    for secret in sorted((s for s in secrets if len(s) >= SHORTEST_SECRET), key=len, reverse=True):
        for spelling in {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}:
            text = text.replace(spelling, BLOT)
    return text


def redact_query(text: str) -> str:
    """Blot the values of secret parameters out of every query string in a text."""
    return _IN_A_QUERY.sub(rf"\1={BLOT}", text)


def has_secret_in_query(url: str, params: object) -> bool:
    """Tell whether a request's query, or the parameters that are to be its query, name a secret."""
    # As requests takes them: by name, in pairs, or written.
    names: Iterable[object] = params if isinstance(params, Mapping) else ()
    if isinstance(params, (list, tuple)):
        names = [pair[0] for pair in params if isinstance(pair, (list, tuple)) and pair]
    elif isinstance(params, (str, bytes)):
        url += "?" + (params if isinstance(params, str) else params.decode("latin-1"))
    return not SECRET_PARAMETERS.isdisjoint(names) or ("?" in url and _IN_A_QUERY.search(url) is not None)


class _QueryFilter(logging.Filter):
    """Blots secrets out of the request lines that urllib3 logs at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.args:
            record.msg = redact_query(record.msg) if isinstance(record.msg, str) else record.msg
        elif isinstance(record.args, tuple):
            record.args = tuple(redact_query(a) if isinstance(a, str) else a for a in record.args)
        return True


#: Those that quote addresses.
_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "requests_cache.policy.actions",
    "requests_cache.policy.expiration",
    "requests_cache.session",
)


def filter_logs() -> None:
    """Keep the DEBUG logs of urllib3 and requests-cache from printing query strings with secrets in them.

    The legacy surface and Shop send their secrets in the query, and both packages log addresses.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _QueryFilter) for each in logger.filters):
            logger.addFilter(_QueryFilter())
