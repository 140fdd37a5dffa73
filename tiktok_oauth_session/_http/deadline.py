"""One OAuth request on its way: it is sent once, and its reply ends in time."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter

#: Seconds that a reply's body has at least, however late its headers came: it may hold a token.
SHORTEST_BODY_S = 1.0
#: Bytes of a reply that are read at most, unpacked. A token has less than 10,000.
REPLY_CAP_BYTES = 1_048_576

_Like = TypeVar("_Like")


# --- sent once -------------------------------------------------------------------------------------


def sending_once(session: requests.Session, url: str) -> requests.Session:
    """Return the session, or its like with an adapter that sends nothing again.

    Where people have mounted a `urllib3.Retry` for their API calls, urllib3 would send refresh tokens and
    codes again as well, and wait for hours if a Retry-After says so. Adapters that are none of requests'
    own, such as a fake, are used as they are.

    Raises:
        requests.exceptions.InvalidSchema: Nothing is mounted for this URL.
    """
    adapter = session.get_adapter(url)
    if not isinstance(adapter, HTTPAdapter):
        return session
    theirs = urllib3.Retry.from_int(getattr(adapter, "max_retries", 0))
    if theirs.total == 0 and not theirs.status_forcelist:
        return session
    once = _like(adapter, max_retries=urllib3.Retry(0, read=False))
    return _like(session, get_adapter=lambda url: once)  # noqa: ARG005 - requests passes it by name


def _like(original: _Like, **changes: Any) -> _Like:
    """Return an object that shares everything with another one but the changes.

    Not by `copy.copy`, which adapters answer with new connections, and our sessions with an error.
    """
    like = type(original).__new__(type(original))
    vars(like).update(vars(original), **changes)
    return like


# --- read in time ----------------------------------------------------------------------------------


def longest_try(timeout: Any) -> float:
    """Return how many seconds one try may take, from connecting to the end of the reply."""
    parts = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return float(sum(parts)) if all(isinstance(part, (int, float)) for part in parts) else math.inf


def read_in_time(response: requests.Response, *, timeout: Any = None, **_options: Any) -> None:
    """Read the body (a response hook of requests).

    A timeout of requests is one for each single read, so a body that drips would keep an account locked
    for ever. Headers that drip still can: until they are all there nobody but urllib3 has the socket, and
    http.client limits only their size (100 lines of 64 KiB).

    Raises:
        requests.RequestException: It did not end in time, is too long, or broke off.
    """
    raw = response.raw
    if not isinstance(raw, urllib3.HTTPResponse):
        return
    left = max(longest_try(timeout) - response.elapsed.total_seconds(), SHORTEST_BODY_S)
    # requests reads by `stream`. urllib3 gives the connection back by itself, after trailers that were
    # stopped as well; without its TLS by then, it must not be used again.
    vars(raw).update(stream=functools.partial(_pieces, raw, raw.stream, left), release_conn=lambda: None)
    try:
        response.content  # noqa: B018 - a property that reads
    except BaseException:
        raw.close()
        raise
    finally:
        del raw.stream, raw.release_conn
        raw.release_conn()


def _pieces(
    raw: urllib3.HTTPResponse,
    stream: Callable[..., Iterator[bytes]],
    seconds: float,
    size: int,
    *,
    decode_content: bool,
) -> Iterator[bytes]:
    deadline, received = time.monotonic() + seconds, 0
    try:
        with _stopped_after(seconds, raw):
            # An urllib3 before 2.3 cannot be stopped in the middle of a piece.
            for piece in stream(size if hasattr(raw, "shutdown") else 1, decode_content=decode_content):
                received += len(piece)
                if received > REPLY_CAP_BYTES:
                    raise requests.ConnectionError(f"The reply is longer than {REPLY_CAP_BYTES} bytes.")
                if time.monotonic() >= deadline:
                    break
                yield piece
    except urllib3.exceptions.HTTPError:
        if time.monotonic() < deadline:
            raise
    # A body of unknown length that is stopped ends like any other.
    if time.monotonic() >= deadline:
        raise requests.ReadTimeout("The reply did not end in time.")


@contextlib.contextmanager
def _stopped_after(seconds: float, raw: urllib3.HTTPResponse) -> Iterator[None]:
    """End whatever is read in the ``with`` block after some seconds."""

    def stop() -> None:
        # It may have ended by itself in this very moment; and AttributeError: an old urllib3.
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            raw.shutdown()

    watchdog = threading.Timer(min(seconds, threading.TIMEOUT_MAX), stop)
    watchdog.daemon = True
    # Replies without a connection are those of fakes.
    if raw.connection is not None:
        # RuntimeError: Python starts no more threads while it ends.
        with contextlib.suppress(RuntimeError):
            watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        if watchdog.is_alive():
            watchdog.join()
