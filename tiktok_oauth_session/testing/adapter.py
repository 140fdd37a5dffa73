"""TikTok without a socket: an adapter to mount on a `requests` session."""

from __future__ import annotations

import errno
import http.client
import io
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, exceptions
from urllib3.connectionpool import connection_from_url

from .exchange import RequestHandler
from .records import Reply

TRUNCATED_BYTES = 16  # how many bytes a truncated reply announces but never sends, at least


class FakeAdapter(HTTPAdapter):
    """Answers TikTok's real URLs, and the same paths on any other base it is mounted at.

    Accidents raise what `requests` raises for real ones.
    """

    def __init__(self, handler: RequestHandler) -> None:
        super().__init__()
        self._handler = handler

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - the parent's signature
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002 - the parent's signature
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Answer one prepared request.

        Raises:
            requests.exceptions.ConnectionError: A planned refusal or reset.
            requests.exceptions.ReadTimeout: The planned delay exceeds the read timeout.
        """
        exchange = self._handler.receive(
            request.method or "GET", request.url or "", request.headers, _sent(request.body)
        )
        loss = exchange.fault.loss
        if loss == "refuse":
            raise _refused(request)
        reply = exchange.reply(lambda seconds: _wait(seconds, request, timeout)) or Reply(200)
        if loss == "reset":
            reset = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
            aborted = exceptions.ProtocolError("Connection aborted.", reset)
            raise requests.ConnectionError(aborted, request=request)
        exchange.record.delivered = not loss
        return self.build_response(request, _raw(reply, request, truncated=loss == "truncated"))


def _wait(seconds: float, request: requests.PreparedRequest, timeout: Any) -> bool:
    read_timeout = _read_timeout(timeout)
    if read_timeout is not None and seconds > read_timeout:
        url = request.url or ""
        message = f"Read timed out. (read timeout={read_timeout})"
        timed_out = exceptions.ReadTimeoutError(connection_from_url(url), url, message)
        raise requests.ReadTimeout(timed_out, request=request)
    # Not time.sleep, which the test may have replaced to watch a client's own waits.
    threading.Event().wait(seconds)
    return True


def _sent(body: Any) -> bytes:
    if body is None:
        return b""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, Iterable) and not isinstance(body, (bytes, bytearray)):
        return b"".join(body)
    return bytes(body)


def _read_timeout(timeout: Any) -> float | None:
    if isinstance(timeout, tuple):
        timeout = timeout[1]
    # urllib3's Timeout object, which requests accepts as well.
    timeout = getattr(timeout, "read_timeout", timeout)
    return None if timeout is None else float(timeout)


def cut(body: bytes) -> tuple[bytes, int]:
    """Return what is sent of a truncated body, and the length that its headers promise."""
    return body[:-TRUNCATED_BYTES], max(len(body), TRUNCATED_BYTES)


def _raw(reply: Reply, request: requests.PreparedRequest, *, truncated: bool) -> HTTPResponse:
    sent, length = cut(reply.body) if truncated else (reply.body, len(reply.body))
    return HTTPResponse(
        io.BytesIO(sent),
        headers={**reply.headers, "Content-Length": str(length)},
        status=reply.status,
        reason=http.client.responses.get(reply.status, ""),
        version=11,
        preload_content=False,
        request_method=request.method,
        request_url=request.url,
    )


def _refused(request: requests.PreparedRequest) -> requests.ConnectionError:
    pool = connection_from_url(request.url or "")
    message = "Failed to establish a new connection: [Errno 111] Connection refused"
    connection = pool.ConnectionCls(pool.host, pool.port)
    reason = exceptions.NewConnectionError(connection, message)  # type: ignore[arg-type]  # the stub knows urllib3's own connection class only
    problem = exceptions.MaxRetryError(pool, request.path_url, reason)
    return requests.ConnectionError(problem, request=request)
