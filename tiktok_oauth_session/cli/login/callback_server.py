"""A server on this machine that waits for one login's callback.

Source: https://www.rfc-editor.org/rfc/rfc8252#section-7.3 and section 8.3 (loopback address only,
open late, close at once).
"""

from __future__ import annotations

import contextlib
import html
import http
import http.server
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tiktok_oauth_session.cli.settings.redirect_uris import HOSTS
from tiktok_oauth_session.cli.terminal.signals import WAKE_S

#: TikTok matches the registered redirect URI byte for byte; this is the path its documentation uses.
CALLBACK_PATH = "/callback/"
#: Seconds that the user's browser waits for its page while the code is exchanged; and that the end of the
#: login waits for a browser to take the page.
EXCHANGE_TIMEOUT_S = 120.0
PAGE_TIMEOUT_S = 5.0

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center;
       font: 1rem/1.5 system-ui, sans-serif }}
main {{ box-sizing: border-box; width: min(26rem, 100% - 2rem); padding: 2rem;
       border: 1px solid #8886; border-radius: 1rem }}
h1 {{ margin: 0 0 .5rem; font-size: 1.375rem }}
p {{ margin: 0 }}
</style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>
"""
_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("Connection", "close"),
)
_LOGGED_IN = (200, "Logged in", "You can close this page and go back to the terminal.")
_FAILED = (200, "This login did not work", "The terminal says why.")
_ELSEWHERE = (404, "Not here", "This address only finishes a login.")
_ANOTHER = (400, "Not this login", "This answer belongs to another login. Finish the one you began last.")


class CallbackServer:
    """Listens on this machine until the callback with the right state comes.

    Stray requests get a 404, and a callback with another state a 400; both leave it waiting, so that
    neither a browser's ``/favicon.ico`` nor a stranger's page ends the login. The browser gets its
    page when the ``with`` block ends, which is when it is known whether the login worked.

    Args:
        port: The port to listen on; 0 takes a free one, for redirect URIs registered with port ``*``.
        host: How the redirect URI names this machine: ``127.0.0.1`` or ``localhost``, as registered.
        path: The redirect URI's path, as registered.
        notice: Told of an answer that is not this login's.

    Raises:
        OSError: The port is taken.
        ValueError: `host` is neither.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        path: str = CALLBACK_PATH,
        notice: Callable[[str], object] = lambda _: None,
    ) -> None:
        if host not in HOSTS:
            raise ValueError(f"A redirect URI on this machine names it {' or '.join(HOSTS)}, not {host}.")
        self._path, self._notice = path, notice
        self._arrived, self._ended, self._shown = threading.Event(), threading.Event(), threading.Event()
        self._callback, self._worked = "", False
        self._guard = threading.Lock()
        self._expected: set[str] = set()
        self._listeners = [_Listener(self, socket.AF_INET, "127.0.0.1", port)]
        self.port: int = self._listeners[0].server_port
        if host == "localhost":
            self._listen_on_ipv6()
        self.redirect_uri: str = f"http://{host}:{self.port}{path}"

    def _listen_on_ipv6(self) -> None:
        """Take the port there, too: many browsers try localhost there first, and find who has it."""
        if not socket.has_ipv6:
            return
        with contextlib.closing(socket.socket(socket.AF_INET6)) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                return
        try:
            self._listeners.append(_Listener(self, socket.AF_INET6, "::1", self.port))
        except OSError:
            self._listeners[0].server_close()
            raise

    def __enter__(self) -> CallbackServer:  # noqa: PYI034 - typing.Self needs Python 3.11
        for listener in self._listeners:
            threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worked = kind is None
        self._ended.set()
        if self._arrived.is_set():
            self._shown.wait(PAGE_TIMEOUT_S)
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()

    def expect(self, state: str) -> None:
        """Accept the callback that carries a state. Call this before the browser is opened."""
        self._expected.add(state)

    def wait(self, timeout: float) -> str | None:
        """Return the callback's URL; None if none came in time.

        Args:
            timeout: Seconds.
        """
        end = time.monotonic() + timeout
        while not self._arrived.wait(max(0.0, min(WAKE_S, end - time.monotonic()))):
            if time.monotonic() >= end:
                return None
        return self._callback

    def answer(self, target: str, host: str) -> tuple[int, str, str]:
        """Return the status, the title and the text of the page for a request.

        Waits, if it is the callback, until the login has worked or failed.
        """
        url = urlsplit(target)
        # A page elsewhere whose name resolves to this machine sends its own name as Host.
        named = host in [f"{name}:{self.port}" for name in HOSTS]
        if not named or not target.startswith("/") or url.path != self._path:
            return _ELSEWHERE
        answer = parse_qs(url.query)
        state = answer.get("state", [""])[0]
        if state not in self._expected:
            self._notice(_stray(answer))
            return _ANOTHER
        with self._guard:
            if not self._arrived.is_set():
                self._callback = f"http://127.0.0.1:{self.port}{target}"
                self._arrived.set()
        self._ended.wait(EXCHANGE_TIMEOUT_S)
        return _LOGGED_IN if self._worked else _FAILED

    def shown(self) -> None:
        """Note that the browser has its page."""
        self._shown.set()


def _stray(answer: dict[str, list[str]]) -> str:
    if "error" in answer:
        # Others can send this, too, so it does not end the login.
        return "A refusal came without this login's state. If it was yours, press Ctrl-C and begin again."
    return "An answer came that belongs to another login. Still waiting for this one's."


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # On Windows it would let another program listen on the same port and take the code; elsewhere it only
    # spares a second login the minute for which a closed connection keeps a port.
    allow_reuse_address = os.name != "nt"
    allow_reuse_port = False

    def __init__(self, owner: CallbackServer, family: socket.AddressFamily, address: str, port: int) -> None:
        self.owner = owner
        self.address_family = family
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        if exclusive := getattr(socket, "SO_EXCLUSIVEADDRUSE", None):
            self.socket.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        # Not HTTPServer's, which looks this machine's name up in the DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_port = self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a browser that goes away is none of the user's business."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Listener
    server_version = "tiktok-oauth"
    sys_version = ""
    timeout = PAGE_TIMEOUT_S

    def do_GET(self) -> None:
        owner = self.server.owner
        # Not self.path, in which the parent has mended double slashes.
        target = self.requestline.split()[1]
        status, title, text = owner.answer(target, self.headers.get("Host", ""))
        page = _PAGE.format(title=html.escape(title), text=html.escape(text)).encode()
        try:
            self.send_response(status)
            for name, value in (*_HEADERS, ("Content-Length", str(len(page)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(page)
            self.wfile.flush()
        finally:
            if status == http.HTTPStatus.OK:
                owner.shown()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Print nothing: the request line holds the code."""
