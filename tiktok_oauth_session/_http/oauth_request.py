"""One request to an OAuth endpoint, and what may be sent a second time."""

from __future__ import annotations

import contextlib
import functools
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import requests
import urllib3
from requests.exceptions import ConnectTimeout, InvalidSchema, ProxyError, RequestException

from tiktok_oauth_session._http.allowed_hosts import past_proxies
from tiktok_oauth_session._http.cached_replies import keeps_replies
from tiktok_oauth_session._http.deadline import Task, Worker, deadline_of
from tiktok_oauth_session._http.pooled_connection import PooledConnection, sending_once
from tiktok_oauth_session._http.redaction import filter_logs, redact, redact_query, secrets_in
from tiktok_oauth_session._http.reply_body import ReplyBody
from tiktok_oauth_session._http.transport import Transport
from tiktok_oauth_session.errors import TokenError

log = logging.getLogger(__name__)

#: Seconds that a reply which is complete at the deadline has to come out of its thread.
HANDING_OVER_S = 0.5

#: Seconds after a deadline at which a process that notices it so late was stopped, and not just busy; and
#: seconds that it has then to read what came meanwhile.
HELD_UP_S = 2.0
LATE_S = 5.0

#: What is raised where no reply comes. ValueError: what requests raises over a nonsensical Location header.
_NO_REPLY = (RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class NoReply(TokenError, requests.ConnectionError):
    """No reply came. A `requests.ConnectionError` as well, for those who retry on it."""

    error: str = "no_reply"

    def __init__(self, message: str = "", *, sent: bool = True, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        #: Whether the request may have reached TikTok, and so may have been carried out.
        self.sent = sent


class OAuthRequest:
    """One OAuth request, and the deadline of everything that becomes of it.

    It is prepared without the session's own parameters, cookies, credentials and ``.netrc``. It follows no
    redirect, and its reply is read in time and up to a size. The deadline counts for the lookup of names,
    for every address that is tried, for TLS, for a full pool, for headers and for the body.

    Args:
        session: Whose adapters, proxies and certificates to use.
        method: POST or GET.
        url: The endpoint.
        headers: The request's headers.
        body: ``data``, ``params`` or ``json``, as `requests.Request` takes them.
        transport: How to reach the endpoint.
        may_replay: Whether it does no harm to ask twice, so that a request whose reply was lost is sent
            once more. (One of which nothing was sent always is.)

    Attributes:
        deadline_s: Seconds from the first sending until nobody waits any more, a replay included.

    Raises:
        requests.RequestException: What is no request. Nothing was sent.
    """

    def __init__(
        self,
        session: requests.Session,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        transport: Transport,
        *,
        may_replay: bool = False,
    ) -> None:
        filter_logs()
        identity = {n: session.headers[n] for n in ("User-Agent", "Accept-Encoding") if n in session.headers}
        request = requests.Request(method, url, headers={**identity, **headers}, auth=transport.auth, **body)
        self._session = session
        self._prepared = request.prepare()
        if keeps_replies(type(session)):
            self._prepared.headers["Cache-Control"] = "no-store"
        settings: Any = session.merge_environment_settings(
            self._prepared.url or url,
            dict(transport.proxies or {}),
            False,  # noqa: FBT003 - requests takes `stream` by position
            transport.verify,
            transport.cert,
        )
        self._settings = past_proxies(self._prepared.url or url, settings)
        self._timeout = transport.timeout
        query = dict(parse_qsl(url.partition("?")[2]))
        self._secrets = [secret for fields in (query, *body.values()) for secret in secrets_in(fields)]
        self._may_replay = may_replay
        self._lost: NoReply | None = None
        self._ends_at: float | None = None
        self._under_way: tuple[Task[requests.Response], PooledConnection] | None = None
        self.deadline_s = deadline_of(transport.timeout)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; all of them before the first sending."""
        if self._ends_at is None:
            return self.deadline_s
        return max(self._ends_at - time.monotonic(), 0.0)

    @contextlib.contextmanager
    def ready(self) -> Iterator[Callable[[], requests.Response]]:
        """Lend what sends it: starts, before anything is spent, the thread that it is sent in.

        Where no thread can be started it is sent in the caller's, and requests' own timeouts, one for each
        single step, are all the deadline there is.

        Yields:
            Sends the request and returns the reply, whatever it says. A second call has what is left of
            the deadline. It raises `NoReply` where no reply came; its ``sent`` tells of all calls together.
            An interruption of the caller passes through it at once, and ends the request with the block.
        """
        worker = Worker()
        try:
            worker.start()
            yield functools.partial(self._send, worker)
        finally:
            worker.stop()
            self._give_up()

    @property
    def is_under_way(self) -> bool:
        """Whether it was sent, and its sender was interrupted before it knew what became of it."""
        return self._under_way is not None

    def late_reply(self, seconds: float) -> requests.Response | None:
        """Return what comes after all, in so many seconds, for a caller that was interrupted in the block.

        Args:
            seconds: How long to wait for it.
        """
        if self._under_way is None:
            return None
        task, _ = self._under_way
        return task.result if task.wait(seconds) and task.failure is None else None

    def _give_up(self) -> None:
        """Send nothing from now on, and end whatever is being read. After a reply there is nothing to end."""
        if self._under_way is not None:
            _, connection = self._under_way
            connection.give_up()
            self._under_way = None

    def _send(self, worker: Worker) -> requests.Response:
        if self._ends_at is None:
            self._ends_at = time.monotonic() + self.deadline_s
        reply = self._try_once(worker)
        if isinstance(reply, NoReply) and self.seconds_left and (self._may_replay or not reply.sent):
            log.info("no reply from TikTok's OAuth endpoint; asking once more")
            reply = self._try_once(worker)
        if isinstance(reply, NoReply):
            # An earlier request than the last may have been carried out.
            raise self._lost or reply
        return reply

    def _try_once(self, worker: Worker) -> requests.Response | NoReply:
        """Send it once; return what came, or what tells that nothing did."""
        connection = PooledConnection(lambda: self.seconds_left)
        body = ReplyBody(lambda: connection.given_up or not self.seconds_left)
        task = worker.begin(functools.partial(self._exchange, connection, body))
        self._under_way = task, connection
        ended = task.wait(self.seconds_left) or (self._was_held_up() and task.wait(self.seconds_left))
        self._give_up()
        if not ended and not (body.complete and task.wait(HANDING_OVER_S)):
            failure: BaseException = requests.Timeout(f"no end within {self.deadline_s:g} s")
        elif task.failure is None:
            return task.result
        else:
            failure = task.failure
        if not isinstance(failure, _NO_REPLY):
            raise failure
        sent = not (connection.nothing_was_sent or (ended and _never_left(failure)))
        no_reply = _no_reply(failure, self._secrets, sent=sent)
        self._lost = self._lost or (no_reply if sent else None)
        return no_reply

    def _was_held_up(self) -> bool:
        """Tell whether this process was stopped: what came meanwhile has some time to be read."""
        now = time.monotonic()
        if self._ends_at is None or now < self._ends_at + HELD_UP_S:
            return False
        self._ends_at = now + LATE_S
        return True

    def _exchange(self, connection: PooledConnection, body: ReplyBody) -> requests.Response:
        prepared = self._prepared.copy()
        prepared.hooks = {"response": [body.read]}
        once = sending_once(self._session, prepared.url or "", connection)
        reply = once.send(prepared, timeout=self._timeout, allow_redirects=False, **self._settings)
        # Errors hand the reply out, and its `raise_for_status` quotes the URL; a stand-in may have none.
        if isinstance(reply.url, str):
            reply.url = redact_query(reply.url)
        return reply


def post(
    session: requests.Session,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any],
    transport: Transport,
    *,
    may_replay: bool = False,
) -> requests.Response:
    """Send one OAuth request and return the reply, whatever it says.

    Args:
        session: As for `OAuthRequest`.
        method: As there.
        url: As there.
        headers: As there.
        body: As there.
        transport: As there.
        may_replay: As there.

    Raises:
        NoReply: No reply came.
    """
    request = OAuthRequest(session, method, url, headers, body, transport, may_replay=may_replay)
    # What crash reporters see of this frame holds no secret.
    del url, headers, body, transport
    with request.ready() as send:
        return send()


def _no_reply(failure: BaseException, secrets: list[str], *, sent: bool) -> NoReply:
    name, words = type(failure).__name__, redact_query(redact(str(failure), secrets))
    fate = "and may or may not have carried the request out" if sent else "and nothing was sent"
    return NoReply(
        f"TikTok's OAuth endpoint gave no reply {fate}: {name}: {words}. Try again later.",
        sent=sent,
        error="no_reply",
    )


def _never_left(failure: BaseException) -> bool:
    """Tell whether no connection was made, so that nothing can have been carried out."""
    # ProxyError: urllib3's word for no connection to the proxy, or none through it.
    if isinstance(failure, (ConnectTimeout, InvalidSchema, ProxyError)):
        return True
    # How requests says that there is no such file of certificates.
    if type(failure) is OSError and failure.errno is None:
        return True
    reason = getattr(failure.args[0] if failure.args else None, "reason", None)
    if isinstance(reason, urllib3.exceptions.SSLError):
        return isinstance(reason.args[0] if reason.args else None, ssl.SSLCertVerificationError)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)
