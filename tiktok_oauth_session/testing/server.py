"""TikTok on a real socket: HTTP/1.1 with keep-alive, one thread per connection."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Protocol

from .adapter import cut
from .exchange import Exchange
from .records import Reply

HOST = "127.0.0.1"
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - compared with, not listened on
BACKLOG = 1024
POLL_S = 0.02  # how long stopping may have to wait for the accepting thread
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close sends RST, not FIN


class Handler(Protocol):
    """What requests are given to."""

    def receive(self, method: str, url: str, headers: Mapping[str, str], sent: bytes) -> Exchange:
        """Take a request in."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = BACKLOG
    allow_reuse_port = False

    def __init__(self, handler: Handler, host: str, port: int) -> None:
        self.handler = handler
        self.idle: set[socket.socket] = set()
        self.closing = False
        super().__init__((host, port), _Connection)

    def server_bind(self) -> None:
        # HTTPServer would look its own name up in the DNS here.
        socketserver.TCPServer.server_bind(self)

    def shutdown_request(self, request: object) -> None:
        # Without the parent's shutdown(), so that a planned reset is a reset.
        if isinstance(request, socket.socket):
            self.idle.discard(request)
            request.close()

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that leaves early is part of the tests; anything else is a bug to be seen.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # the parent's type is private to the stub

    def close(self) -> None:
        self.closing = True
        self.shutdown()
        self.server_close()
        for connection in tuple(self.idle):
            with contextlib.suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "FakeTikTok"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # one segment per reply
    server: _Listener
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self.server.idle.add(self.connection)

    def answer(self) -> None:
        """Serve one request of any method."""
        self.server.idle.discard(self.connection)
        try:
            sent = self._sent()
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        host, port = self.server.server_address[:2]
        exchange = self.server.handler.receive(
            self.command,
            f"http://{host!s}:{port}{self.path}",
            dict(self.headers.items()),
            sent,
        )
        reply = exchange.reply(self._wait)
        if exchange.fault.loss in ("refuse", "reset"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.close_connection = True
        elif reply is None and not exchange.fault.loss:
            self.close_connection = True
        else:
            self._write(exchange, reply or Reply(200))
        if not self.close_connection:
            self.server.idle.add(self.connection)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = answer  # noqa: N815 - names set by http.server

    def _write(self, exchange: Exchange, reply: Reply) -> None:
        truncated = exchange.fault.loss == "truncated"
        self.close_connection |= truncated or self.server.closing
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        body, length = cut(reply.body) if truncated else (reply.body, len(reply.body))
        self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        # Before the bytes leave: the client may look at the record as soon as it has them.
        exchange.record.delivered = not truncated
        try:
            self.wfile.flush()
        except OSError:
            exchange.record.delivered = False
            self.close_connection = True

    def _sent(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(_length(self.headers.get("Content-Length") or "0", 10))
        chunks = []
        while size := _length(self.rfile.readline().partition(b";")[0].decode().strip(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _wait(self, seconds: float) -> bool:
        # Not time.sleep, which the test may have replaced to watch a client's own waits.
        threading.Event().wait(seconds)
        readable, _, _ = select.select([self.connection], [], [], 0)
        return not readable or bool(self.connection.recv(1, socket.MSG_PEEK))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Log nothing: request lines carry codes and tokens."""


def _length(text: str, base: int) -> int:
    """Read a length as HTTP writes it: digits only, where Python takes signs, prefixes and underscores."""
    if not re.fullmatch("[0-9A-Fa-f]+", text):
        raise ValueError(f"no length: {text!r}")
    return int(text, base)


class FakeServer:
    """A running fake TikTok; also a context manager that stops it.

    Attributes:
        port: The port, which stays the same when it stops and starts listening again.
        url: The base URL below which every path of every surface is found.

    Raises:
        ValueError: The host is empty, which to a socket is every address.
    """

    def __init__(self, handler: Handler, port: int, host: str = HOST) -> None:
        if not host:
            raise ValueError("a host to listen on has at least one character; 0.0.0.0 is every address")
        self._handler = handler
        self._host = host
        self._listener: _Listener | None = None
        self.port: int = port
        self.start_listening()
        self.url: str = f"http://{HOST if host == ALL_ADDRESSES else host}:{self.port}"

    def start_listening(self) -> None:
        """Accept connections, on the same port as before; does nothing while it does."""
        if self._listener is not None:
            return
        self._listener = _Listener(self._handler, self._host, self.port)
        self.port = self._listener.server_address[1]
        threading.Thread(
            target=self._listener.serve_forever, args=(POLL_S,), name="FakeTikTok", daemon=True
        ).start()

    def stop_listening(self) -> None:
        """Let new connections be refused and drop idle ones; replies under way still arrive."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def stop(self) -> None:
        """Stop for good; once is enough, twice does no harm."""
        self.stop_listening()

    def __enter__(self) -> FakeServer:  # noqa: PYI034 - typing.Self needs Python 3.11
        """Return the server, which already runs."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()
