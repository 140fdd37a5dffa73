"""One request to an OAuth endpoint, and what may be sent a second time."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
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


#: Source: https://developers.tiktok.com/doc/oauth-user-access-token-management (its samples).
TOKEN_HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded",
    "Cache-Control": "no-cache",
}


class OAuthRequest:
    def __init__(self, session, method, url, headers, body, transport, *, may_replay=False):
        silence_urllib3()
        identity = {n: session.headers[n] for n in ("User-Agent", "Accept-Encoding") if n in session.headers}
        sent_headers, hooks = {**identity, **headers}, {"response": read_in_time}
        request = requests.Request(
            method, url, headers=sent_headers, auth=transport.auth, hooks=hooks, **body
        )
        self.prepared = prepared = request.prepare()
        self.session, self.transport, self.may_replay = session, transport, may_replay
        self.settings = session.merge_environment_settings(
            prepared.url or url,
            dict(transport.proxies or {}),
            False,
            transport.verify,
            transport.cert,
        )
        query = dict(parse_qsl(url.partition("?")[2]))
        self.secrets = [s for fields in (query, *body.values()) for s in secrets_in(fields)]
        from .deadline import longest_try

        self.deadline_s = longest_try(transport.timeout)
        self.start = None

    @property
    def seconds_left(self):
        return self.deadline_s - (time.monotonic() - self.start if self.start else 0)

    import contextlib

    @contextlib.contextmanager
    def ready(self):
        yield self.send

    def send(self):
        self.start = self.start or time.monotonic()
        try:
            return self._send()
        except NoReply as e:
            if e.sent and not self.may_replay:
                raise
        return self._send()

    def _send(self):
        failure = None
        try:
            once = sending_once(self.session, self.prepared.url)
            return once.send(
                self.prepared, timeout=self.transport.timeout, allow_redirects=False, **self.settings
            )
        except (RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as caught:
            failure = caught
        raise _no_reply(failure, self.secrets)


def post(session, method, url, headers, body, transport, *, may_replay=False):
    with OAuthRequest(session, method, url, headers, body, transport, may_replay=may_replay).ready() as send:
        return send()


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
