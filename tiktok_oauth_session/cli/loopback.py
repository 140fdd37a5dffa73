"""A server on this machine that waits for one login's callback.

Source: https://www.rfc-editor.org/rfc/rfc8252#section-7.3 and section 8.3 (loopback address only,
open late, close at once).
"""

from __future__ import annotations

import http.server
import threading
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: Seconds that a user has to get through TikTok's pages.
LOGIN_TIMEOUT_S = 300.0
#: TikTok matches the registered redirect URI byte for byte; this is the path its documentation uses.
CALLBACK_PATH = "/callback/"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 18px/1.5 system-ui, sans-serif; max-width: 32em; margin: 20vh auto; padding: 0 1em }}
</style></head><body><h1>{title}</h1><p>{text}</p></body></html>
"""


class CallbackServer:
    """Listens on 127.0.0.1 until the callback with the right state comes.

    Stray requests get a 404, and a callback with another state a 400; both leave it waiting, so that
    neither a browser's ``/favicon.ico`` nor a stranger's page ends the login.

    Args:
        port: The port to listen on; 0 takes a free one, for redirect URIs registered with port ``*``.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._arrived = threading.Event()
        self._callback = ""
        self._expected: set[str] = set()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, title, text = server._answer(self.path, self.headers.get("Host", ""))  # noqa: SLF001 - its own
                body = _PAGE.format(title=title, text=text).encode()
                self.send_response(status)
                for name, value in (
                    ("Content-Type", "text/html; charset=utf-8"),
                    ("Content-Length", str(len(body))),
                    ("Cache-Control", "no-store"),
                    ("Referrer-Policy", "no-referrer"),
                    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
                    ("Connection", "close"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
                """Print nothing: the request line holds the code."""

        self._http = _Exclusive(("127.0.0.1", port), Handler)
        self.port = self._http.server_port
        self.redirect_uri = f"http://127.0.0.1:{self.port}{CALLBACK_PATH}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> CallbackServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def expect(self, state: str) -> None:
        """Accept the callback that carries a state. Call this before the browser is opened."""
        self._expected.add(state)

    def wait(self, timeout: float = LOGIN_TIMEOUT_S) -> str | None:
        """Return the callback's URL; None if none came in time.

        Args:
            timeout: Seconds.
        """
        return self._callback if self._arrived.wait(timeout) else None

    def _answer(self, target: str, host: str) -> tuple[int, str, str]:
        url = urlsplit(target)
        # A page elsewhere whose name resolves to this machine sends its own name as Host.
        if host not in (f"127.0.0.1:{self.port}", f"localhost:{self.port}") or url.path != CALLBACK_PATH:
            return 404, "Not here", "This address only finishes a login."
        answer = parse_qs(url.query)
        if answer.get("state", [""])[0] not in self._expected:
            return 400, "Not this login", "This answer belongs to another login. Finish the one you began last."
        self._callback = f"http://127.0.0.1:{self.port}{target}"
        self._arrived.set()
        if "error" in answer:
            return 200, "Not logged in", "TikTok did not log you in. The terminal says more."
        return 200, "Logged in", "You can close this page and go back to the terminal."


class _Exclusive(http.server.ThreadingHTTPServer):
    #: On Windows another program could otherwise listen on the same port and take the code.
    allow_reuse_address = False
    daemon_threads = True
