"""A token endpoint on a real socket, as strange as it gets."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading

from tiktok_oauth_session._http.oauth_request import post
from tiktok_oauth_session._http.transport import Transport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#: Seconds between two bytes of a reply that drips, far below any timeout.
DRIP_S = 0.02
#: Bytes of a drip that ends after all, so that a test which waits for its end fails and does not hang.
DRIPS = 150
#: Seconds until the deadline of whoever is in a hurry: the sum of two timeouts.
SHORT_S = 0.3
HURRY = Transport(timeout=(SHORT_S / 2, SHORT_S / 2))
PATIENT = Transport(timeout=(10, 10))


class At:
    """Where a socket listens."""

    def __init__(self, listener):
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"


class Endpoint(At):
    """Sends the same bytes to everybody, all at once or in drips."""

    def __init__(self, *parts, drips=(), closing=False):
        self._parts, self._drips = parts, drips
        self._closing = closing or any(b"Connection: close" in part for part in parts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(self._listener)
        self.connections = 0
        #: What was sent, and where to wait for it.
        self.bodies = []
        self.asked = threading.Event()
        #: Set when the client has closed a connection.
        self.left = threading.Event()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(OSError):
            # Ends the wait for the next connection.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as received, contextlib.suppress(OSError):
            while headers := b"".join(itertools.takewhile(bytes.strip, received)).lower():
                self.bodies.append(received.read(int(headers.partition(b"content-length: ")[2].split()[0])))
                self.asked.set()
                for part in self._parts:
                    connection.sendall(part)
                for drip in self._drips:
                    connection.sendall(drip)
                    # Not time.sleep, which other tests replace.
                    threading.Event().wait(DRIP_S)
                if self._closing:
                    connection.shutdown(socket.SHUT_WR)
        self.left.set()


def ask_at(session, endpoint, transport=PATIENT, **options):
    """Ask an endpoint."""
    return post(session, "POST", endpoint.url, {}, {"data": {"code": "fake-code"}}, transport, **options)


def chunk(piece):
    """Return a piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
