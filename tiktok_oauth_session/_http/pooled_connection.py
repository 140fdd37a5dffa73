"""The connection that one OAuth request borrows from its session: used once, and given up at any time."""

from __future__ import annotations

import contextlib
import functools
import http.client
import math
import socket
import threading
import types
from collections.abc import Callable
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter

_Like = TypeVar("_Like")

#: What `requests` does where nobody has asked for retries.
_NO_RETRY = urllib3.Retry(0, read=False)


class PooledConnection:
    """What one request has of the connections of its session.

    Once given up it sends nothing any more: a lookup of names, a handshake or a wait for a full pool may
    end much later, when somebody else has spent the refresh token. Nor does it go back to its pool then.

    Args:
        seconds_left: Tells how long a full pool may be waited for.
    """

    def __init__(self, seconds_left: Callable[[], float]) -> None:
        self._seconds_left = seconds_left
        self._lock = threading.Lock()
        self._borrowed: list[Any] = []
        self._socket: Any = None
        self._asked = False
        self._sent = False
        self.given_up = False

    @property
    def nothing_was_sent(self) -> bool:
        """Whether it is certain that nothing of the request has left, and nothing will once it is given up.

        Not for adapters that have no use for connection pools, or for connections of another kind.
        """
        return self._asked and not self._sent

    def give_up(self) -> None:
        """Send nothing from now on, and end whatever is being read."""
        with self._lock:
            self.given_up = True
            for each in (self._socket, *(connection.sock for connection in self._borrowed)):
                # Not closed, which is for the thread that uses it; and not by a method of `SSLSocket`, which
                # would go on without TLS. What is no socket, or none any more, ends by its own timeout.
                with contextlib.suppress(AttributeError, OSError, TypeError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)

    def lend(self, pool: _Like) -> _Like:
        """Return the like of a pool whose connections can be given up."""
        if not isinstance(pool, urllib3.HTTPConnectionPool):
            return pool
        like = type(pool).__new__(type(pool))
        vars(like).update(
            vars(pool),
            _get_conn=functools.partial(self._get, like),
            _put_conn=functools.partial(self._put, like),
        )
        return like

    def _get(self, pool: Any, timeout: float | None = None) -> Any:
        self._asked = True
        if timeout is None and self._seconds_left() < math.inf:
            timeout = self._seconds_left()
        connection = type(pool)._get_conn(pool, timeout)  # noqa: SLF001 - urllib3 has no other place to step in
        with self._lock:
            if self.given_up:
                connection.close()
                raise _given_up()
            if getattr(type(connection), "send", None) is http.client.HTTPConnection.send:
                self._borrowed.append(connection)
                vars(connection)["send"] = functools.partial(self._send, connection)
            else:
                # Of another kind, which sends as it likes.
                self._sent = True
        return connection

    def _send(self, connection: http.client.HTTPConnection, part: Any) -> None:
        with self._lock:
            if self.given_up:
                raise _given_up()
        # Before anything is sent: that could have ended the lookup of names which was given up.
        if connection.sock is None:
            connection.connect()
        with self._lock:
            if self.given_up:
                raise _given_up()
            self._sent, self._socket = True, connection.sock
        http.client.HTTPConnection.send(connection, part)

    def _put(self, pool: Any, connection: Any) -> None:
        with self._lock:
            if connection in self._borrowed:
                self._borrowed.remove(connection)
                del connection.send
                self._socket = None
            if self.given_up and connection is not None:
                connection.close()
                connection = None
        type(pool)._put_conn(pool, connection)  # noqa: SLF001 - as above


def _given_up() -> Exception:
    return ConnectionAbortedError("nobody waits for this request any more")


# --- sent once -------------------------------------------------------------------------------------


def sending_once(session: requests.Session, url: str, connection: PooledConnection) -> requests.Session:
    """Return a session that is like another, but sends nothing twice, and on this connection.

    Where people have mounted a `urllib3.Retry` for their API calls, urllib3 would send refresh tokens and
    codes again as well, and wait for hours if a Retry-After says so. Adapters that are none of requests'
    own, such as a mock, are used as they are.

    Raises:
        requests.exceptions.InvalidSchema: Nothing is mounted for this URL.
    """
    adapter = session.get_adapter(url)
    if not isinstance(adapter, HTTPAdapter):
        return session
    once = _variant(adapter, _SendingOnce, connection)
    return _variant(session, _WithOneAdapter, once)


class _SendingOnce(HTTPAdapter):
    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        return _own(self).lend(super().get_connection_with_tls_context(*args, **options))

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Lend a pool to a `requests` before 2.32, which has no other method."""
        return _own(self).lend(super().get_connection(*args, **options))


class _WithOneAdapter:
    def get_adapter(self, url: str) -> Any:
        return _own(self)


def _own(variant: Any) -> Any:
    return variant._of_this_request  # noqa: SLF001 - the slot of the classes below


def _variant(original: _Like, mixin: type, own: object) -> _Like:
    """Return an object of another class that shares its state with the original.

    No copy: an adapter that counts what it sends goes on counting.
    """
    cls: type = type(original)
    like: Any = object.__new__(_variant_of(cls, mixin))
    like.__dict__ = original.__dict__
    like._of_this_request = own  # noqa: SLF001 - the slot of the classes below
    return like  # type: ignore[no-any-return]  # an instance of a subclass


@functools.lru_cache(maxsize=32)
def _variant_of(cls: type, mixin: type) -> type:
    body: dict[str, Any] = {"__slots__": ("_of_this_request",), "__module__": cls.__module__}
    if issubclass(cls, HTTPAdapter):
        body["max_retries"] = property(lambda _: _NO_RETRY, lambda _, __: None)
    return types.new_class(cls.__name__, (mixin, cls), exec_body=lambda namespace: namespace.update(body))
