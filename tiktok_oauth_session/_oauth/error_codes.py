"""What an error code means: to a refresh, to a shell, and to the person who has to mend it. One table.

The codes are RFC 6749's (sections 4.1.2.1 and 5.2), those of TikTok's APIs, and ours for what is no answer.
How a surface spells them, such as by number, is in `tiktok_oauth_session.platforms`.
Source: https://developers.tiktok.com/doc/oauth-error-handling and
https://developers.tiktok.com/doc/tiktok-api-v2-error-handling
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

#: Exit codes of the command line; it has more of them, for what TikTok has no part in.
EXIT_FAILED = 1
EXIT_LOGIN = 3
EXIT_TEMPORARY = 4

#: Where the documentation is; setup.cfg says it to package indexes.
SITE = "https://tiktok-oauth-session.readthedocs.io/en/stable/"

_BUSY = (429, 503)
_SERVER_ERROR = 500


class Meaning(enum.Enum):
    """What a reply that holds no token says of the request that it answers."""

    #: What it spent is dead, for good: only a new login brings this account back.
    NEEDS_LOGIN = enum.auto()
    #: Not carried out, and nothing will be that this app asks for with these credentials.
    ABOUT_APP = enum.auto()
    #: Not carried out now; later it may be.
    PASSING = enum.auto()
    #: Not carried out, nor will it be when it is repeated.
    REFUSED = enum.auto()
    #: It may have been carried out: what it spent may be spent.
    UNCLEAR = enum.auto()


class _Row(NamedTuple):
    meaning: Meaning
    exit_code: int = EXIT_FAILED
    #: What to do about it.
    hint: str = ""


_LATER = "Try again later."
_REDIRECT_URI = (
    "Send the redirect URI exactly as it is registered and as the login began with it: trailing slash, port, "
    "and `localhost` against `127.0.0.1` all count, and a query or fragment is not allowed."
)
_CHALLENGE = (
    "TikTok's challenge is the hex SHA-256 of the verifier, not base64url; let the session make it "
    "(pkce='S256') and finish the login on the session that began it, or pass its `code_verifier`."
)
_CREDENTIALS = (
    "Check the client key and the client secret: they may be swapped, or belong to the sandbox while the app "
    "is in production (or the reverse; sandbox keys begin with `sb`), or Login Kit is not added to the app."
)
_SCOPE = (
    "A scope has to be added to the app and approved by TikTok, and the user has to grant it: begin a new "
    "login that asks for it. Refreshing does not help."
)
_CODE = (
    "A code works once, for a few minutes, and only when it was percent-decoded exactly once; pass the whole "
    "callback URL as `authorization_response` and begin a new login."
)

_APP = _Row(Meaning.ABOUT_APP, hint=_CREDENTIALS)
_REFUSED = _Row(Meaning.REFUSED)
_PASSING = _Row(Meaning.PASSING, EXIT_TEMPORARY, _LATER)
_UNCLEAR = _Row(Meaning.UNCLEAR)
_SERVER_IN_TROUBLE = _Row(Meaning.UNCLEAR, EXIT_TEMPORARY, _LATER)
#: Of an API call. Refreshing helps, which the session has tried by then.
_ACCESS_TOKEN_IS_DEAD = _Row(Meaning.REFUSED, EXIT_LOGIN, "Refresh the token, or begin a new login.")

_ACCESS_DENIED = _Row(
    Meaning.REFUSED, hint="The user said no, or (in the sandbox) is not one of the app's target users."
)
_SCOPE_IS_MISSING = _Row(Meaning.REFUSED, EXIT_LOGIN, _SCOPE)

_TABLE: dict[str, _Row] = {
    # RFC 6749, section 5.2.
    "invalid_client": _APP,
    "invalid_grant": _Row(Meaning.NEEDS_LOGIN, EXIT_LOGIN),
    "invalid_request": _REFUSED,
    "invalid_scope": _Row(Meaning.REFUSED, hint=_SCOPE),
    "unauthorized_client": _APP,
    "unsupported_grant_type": _REFUSED,
    # RFC 6749, section 4.1.2.1.
    "access_denied": _ACCESS_DENIED,
    "server_error": _SERVER_IN_TROUBLE,
    "temporarily_unavailable": _PASSING,
    "unsupported_response_type": _REFUSED,
    # TikTok's own. RFC 8628 has slow_down, and others say too_many_requests, for the same.
    "access_token_invalid": _ACCESS_TOKEN_IS_DEAD,
    "internal_error": _SERVER_IN_TROUBLE,
    "invalid_params": _REFUSED,
    "rate_limit_exceeded": _PASSING,
    "scope_not_authorized": _SCOPE_IS_MISSING,
    "scope_permission_missed": _SCOPE_IS_MISSING,
    "slow_down": _PASSING,
    # Today's posts, or drafts, are used up.
    "spam_risk_too_many_pending_share": _Row(Meaning.REFUSED, hint=_LATER),
    "spam_risk_too_many_posts": _Row(Meaning.REFUSED, hint=_LATER),
    "too_many_requests": _PASSING,
    "unaudited_client_can_only_post_to_private_accounts": _REFUSED,
    # The legacy surface's, where nobody says which surface it is that answers.
    "10003": _APP,
    "10006": _Row(Meaning.REFUSED, hint=_REDIRECT_URI),
    "10013": _APP,
    "2190002": _ACCESS_TOKEN_IS_DEAD,
    "2190008": _ACCESS_TOKEN_IS_DEAD,
    # Those of TikTok for Business, of API calls. 40100 says no more than that there were too many.
    "40000": _REFUSED,
    "40001": _REFUSED,
    "40002": _REFUSED,
    "40100": _PASSING,
    "40102": _ACCESS_TOKEN_IS_DEAD,
    "40104": _ACCESS_TOKEN_IS_DEAD,
    "40105": _ACCESS_TOKEN_IS_DEAD,
    "40130": _SCOPE_IS_MISSING,
    "40131": _Row(Meaning.REFUSED, hint=_CODE),
    "40132": _PASSING,
    "50000": _SERVER_IN_TROUBLE,
    "50002": _SERVER_IN_TROUBLE,
    "60001": _PASSING,
    "61000": _PASSING,
    # Shop's.
    "105001": _ACCESS_TOKEN_IS_DEAD,
    "105002": _ACCESS_TOKEN_IS_DEAD,
    "105005": _SCOPE_IS_MISSING,
    "106001": _Row(
        Meaning.REFUSED, hint="Let ShopSignature (tiktok_oauth_session.shop_signature) sign the call."
    ),
    "106013": _Row(
        Meaning.REFUSED, hint="Pass the shop_cipher that /authorization/202309/shops tells of this shop."
    ),
    "36009002": _PASSING,
    "36009004": _Row(Meaning.REFUSED, hint="It has many causes: read the message, then look at this clock."),
    "36009007": _SERVER_IN_TROUBLE,
    "36009009": _REFUSED,
    "36009014": _REFUSED,
    "36009033": _REFUSED,
    "auth_denied": _ACCESS_DENIED,
    # Ours.
    "invalid_response": _UNCLEAR,
    "missing_token": _UNCLEAR,
    "no_reply": _Row(Meaning.UNCLEAR, EXIT_TEMPORARY),
    "token_expired": _Row(Meaning.NEEDS_LOGIN, EXIT_LOGIN),
    "unknown_error": _UNCLEAR,
}

#: What TikTok's words name, as a pattern over "error: description", comes before what the code says: it has
#: one code for many mistakes. The first match counts.
_HINTS_BY_WORDS: tuple[tuple[str, str], ...] = (
    (r"redirect(ion)?.?uri", _REDIRECT_URI),
    (r"code.?(verifier|challenge)", _CHALLENGE),
    (r"client.?(key|info|secret)", _CREDENTIALS),
    (r"illegal authorization scope", _SCOPE),
    (r"authorization code|invalid_grant.*\bcode\b", _CODE),
)


def meaning_of(error: str | None, status_code: int | None = None) -> Meaning:
    """Return what an error says of the request that it answers.

    A code that says clearly that nothing was carried out comes before the HTTP status, and the status
    before every other code. A code that nobody knows is a refusal, since TikTok did answer.

    Args:
        error: The error code; None if there was none.
        status_code: The HTTP status of the reply, if there was one.
    """
    return _row(error, status_code).meaning


def exit_code_for(error: str | None, status_code: int | None = None) -> int:
    """Return the exit code of a command that ends with an error.

    Args:
        error: The error code; None if there was none.
        status_code: The HTTP status of the reply, if there was one.
    """
    return _row(error, status_code).exit_code


def hint_for(error: str, description: str, status_code: int | None = None) -> str:
    """Return what to do about an error, or an empty string.

    Args:
        error: The error code.
        description: TikTok's words.
        status_code: The HTTP status of the reply, if there was one.
    """
    said = f"{error}: {description}"
    by_words = (hint for words, hint in _HINTS_BY_WORDS if re.search(words, said, re.IGNORECASE))
    return next(by_words, _row(error, status_code).hint)


def page_about(error: str | None) -> str:
    """Return the address of what the documentation says about an error code; an empty string if nothing."""
    return gotcha(error) if error in _TABLE else ""


def gotcha(name: str) -> str:
    """Return the address of an anchor on the documentation's page of what goes wrong with TikTok."""
    return f"{SITE}gotchas.html#{name}"


def _row(error: str | None, status_code: int | None) -> _Row:
    known = _TABLE.get(error) if error else _UNCLEAR
    if known is not None and known.meaning is not Meaning.UNCLEAR:
        return known
    if status_code in _BUSY:
        return _PASSING
    if status_code is not None and status_code >= _SERVER_ERROR:
        return _SERVER_IN_TROUBLE
    return _REFUSED if known is None else known
