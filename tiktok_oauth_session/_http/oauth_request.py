"""One request to an OAuth endpoint, and what may be sent a second time."""

from __future__ import annotations

import email.utils
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import requests
import urllib3
from requests.exceptions import ConnectTimeout, ProxyError, RequestException

from tiktok_oauth_session._http.deadline import read_in_time, sending_once
from tiktok_oauth_session._http.redaction import redact, redact_query, secrets_in, silence_urllib3
from tiktok_oauth_session.errors import TokenError

log = logging.getLogger(__name__)

#: Seconds to connect, seconds to wait for the reply.
TOKEN_TIMEOUT_S = (5.0, 30.0)
#: How often a request is sent at most when sending it again is safe.
MAX_TRIES = 3
#: Seconds before the second try; doubled for the third, and spread by up to half.
BACKOFF_S = 0.5
#: Seconds that a server's Retry-After is obeyed at most.
RETRY_AFTER_CAP_S = 30.0

#: Statuses of a server that has not carried out what it was asked, for it is busy.
BUSY = (429, 503)


class Retry(NamedTuple):
    """What may be sent again. Each field allows one kind of failure to be retried."""

    #: Nothing left this machine: no connection was made.
    unsent: bool = True
    #: TikTok answered that it is busy (429, 503).
    busy: bool = True
    #: The request left and no answer came. Once: it may have been carried out.
    lost: bool = False
    #: Called before each request with the number of those before it that got no answer. If it raises,
    #: nothing is sent.
    before_send: Callable[[int], object] | None = None


#: A code is never sent twice (RFC 6749 section 4.1.2 has the server revoke what it issued for it).
CODE = Retry(busy=False)
#: A refresh while the old access token still works: there is time, so nothing is risked.
REFRESH_IN_TIME = Retry(unsent=False, busy=False)
#: A refresh that somebody waits for, while the old access token still works.
REFRESH_WAITED_FOR = Retry()
#: Nothing is spent by asking twice.
HARMLESS = Retry(lost=True)
REVOCATION = Retry()


class NoReply(TokenError, requests.ConnectionError):
    """No reply came. A `requests.ConnectionError` as well, for those who retry on it."""

    error = "no_reply"

    def __init__(self, message: str = "", *, sent: bool = True, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        #: Whether the request may have reached TikTok, and so may have been carried out.
        self.sent = sent


@dataclass(frozen=True, kw_only=True)
class Transport:
    """How to reach an OAuth endpoint. Nothing of the caller's API request is in it."""

    timeout: Any = TOKEN_TIMEOUT_S
    auth: Any = None
    verify: Any = None
    proxies: Mapping[str, str] | None = None
    cert: Any = None


def post(
    session: requests.Session,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any],
    transport: Transport,
    retry: Retry,
) -> requests.Response:
    """Send one OAuth request and return the reply, whatever it says.

    Order of operations: prepare (without the session's own parameters, cookies, credentials and
    ``.netrc``), send once with a timeout, follow no redirect, read the reply in time and up to a size,
    send again if `retry` allows.

    Args:
        session: Whose adapters, proxies and certificates to use.
        method: POST or GET.
        url: The endpoint.
        headers: The request's headers.
        body: ``data``, ``params`` or ``json``, as `requests.Request` takes them.
        transport: How to reach the endpoint.
        retry: What may be sent again.

    Raises:
        NoReply: No reply came.
    """
    silence_urllib3()
    identity = {n: session.headers[n] for n in ("User-Agent", "Accept-Encoding") if n in session.headers}
    sent_headers, hooks = {**identity, **headers}, {"response": read_in_time}
    request = requests.Request(method, url, headers=sent_headers, auth=transport.auth, hooks=hooks, **body)
    prepared = request.prepare()
    settings = session.merge_environment_settings(
        prepared.url or url,
        dict(transport.proxies or {}),
        False,  # noqa: FBT003 - requests takes `stream` by position
        transport.verify,
        transport.cert,
    )
    query = dict(parse_qsl(url.partition("?")[2]))
    secrets = [s for fields in (query, *body.values()) for s in secrets_in(fields)]

    def send() -> requests.Response:
        failure = None
        try:
            once = sending_once(session, prepared.url or url)
            return once.send(prepared, timeout=transport.timeout, allow_redirects=False, **settings)
        except (RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as caught:
            # ValueError: what requests raises over a nonsensical Location header.
            failure = caught
        # Raised out here, so that not even the context holds requests' text, which quotes URLs.
        raise _no_reply(failure, secrets)

    return _with_retries(send, retry)


def _no_reply(failure: Exception, secrets: list[str]) -> NoReply:
    sent = not _never_left(failure)
    name, words = type(failure).__name__, redact_query(redact(str(failure), secrets))
    fate = "and may or may not have carried the request out" if sent else "and nothing was sent"
    return NoReply(
        f"TikTok's OAuth endpoint gave no reply {fate}: {name}: {words}. Try again later.",
        sent=sent,
        error="no_reply",
    )


def _never_left(failure: Exception) -> bool:
    """Tell whether no connection was made, so that nothing can have been carried out."""
    # ProxyError: urllib3's word for no connection to the proxy, or none through it.
    if isinstance(failure, (ConnectTimeout, ProxyError)):
        return True
    # How requests says that there is no such file of certificates.
    if type(failure) is OSError and failure.errno is None:
        return True
    reason = getattr(failure.args[0] if failure.args else None, "reason", None)
    if isinstance(reason, urllib3.exceptions.SSLError):
        return isinstance(reason.args[0] if reason.args else None, ssl.SSLCertVerificationError)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _with_retries(send: Callable[[], requests.Response], retry: Retry) -> requests.Response:
    lost, unanswered = 0, None
    for attempt in range(1, MAX_TRIES + 1):
        if retry.before_send:
            retry.before_send(lost)
        try:
            response = send()
        except NoReply as error:
            lost, unanswered = lost + error.sent, error if error.sent else unanswered
            again = retry.lost and lost <= 1 if error.sent else retry.unsent
            if not again or attempt == MAX_TRIES:
                # An earlier request than the last may have been carried out.
                raise unanswered or error from None
            pause = _backoff(attempt)
            log.info("no reply from TikTok's OAuth endpoint; asking again in %.1f s", pause)
        else:
            if not (retry.busy and response.status_code in BUSY) or attempt == MAX_TRIES:
                return response
            pause = _retry_after(response) or _backoff(attempt)
            log.info("TikTok is busy (HTTP %s); asking again in %.1f s", response.status_code, pause)
        time.sleep(pause)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _backoff(attempt: int) -> float:
    return BACKOFF_S * 2.0 ** (attempt - 1) * random.uniform(1, 1.5)  # noqa: S311 - spreads load, hides nothing


def _retry_after(response: requests.Response) -> float:
    """Return how many seconds the server asks to wait, capped; 0 if it does not say.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    said = response.headers.get("Retry-After", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_CAP_S) if seconds == seconds else 0.0  # noqa: PLR0124 - nan
