"""The body of a reply: read as it comes, up to a size, until its JSON is complete."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import requests
import urllib3

#: Bytes of a reply that are read at most, unpacked. A token has less than 10,000.
REPLY_CAP_BYTES = 1_048_576
#: Seconds that the end of a body is waited for once its JSON is complete, so that the connection can be
#: used again. It comes with the JSON or right after it.
LAST_BYTES_S = 0.2


def json_object(content: str | bytes | bytearray) -> dict[str, Any] | None:
    """Return a JSON object; None if the content is anything else."""
    try:
        # JSON is UTF-8, whatever charset a header names (RFC 8259 section 8.1).
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


class ReplyBody:
    """Reads the body of one reply, which may hold the only copy of a token.

    So a body whose JSON object is complete has been received, even if it breaks off before the end that its
    headers promise.

    Args:
        is_over: Tells whether nobody waits any more.

    Attributes:
        complete: Whether what has been received is a whole JSON object.
    """

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over
        self.complete = False

    def read(self, response: requests.Response, **_options: Any) -> None:
        """Read it (a response hook of requests).

        Raises:
            requests.RequestException: It did not end in time, is too long, or broke off.
        """
        raw = response.raw
        if not isinstance(raw, urllib3.HTTPResponse):
            return
        stream = functools.partial(self._pieces, raw, raw.stream)
        sock: Any = getattr(raw.connection, "sock", None)
        patience = sock and sock.gettimeout()
        # requests reads by `stream`. urllib3 gives the connection back by itself as soon as it has the end.
        vars(raw).update(stream=stream, release_conn=lambda: None)
        try:
            response.content  # noqa: B018 - a property that reads
        except BaseException:
            raw.close()
            raise
        finally:
            del raw.stream, raw.release_conn
            with contextlib.suppress(AttributeError, OSError):  # no socket, or none any more
                sock.settimeout(patience)
            raw.release_conn()

    def _pieces(
        self,
        raw: urllib3.HTTPResponse,
        stream: Callable[..., Iterator[bytes]],
        size: int,
        *,
        decode_content: bool,
    ) -> Iterator[bytes]:
        received = bytearray()
        try:
            for piece in _as_they_come(raw, stream, size, decode_content=decode_content):
                received += piece
                if len(received) > REPLY_CAP_BYTES:
                    raise requests.ConnectionError(f"The reply is longer than {REPLY_CAP_BYTES} bytes.")
                yield piece
                self.complete = received.rstrip().endswith(b"}") and json_object(received) is not None
                if self._is_over() or (self.complete and not _may_end_soon(raw)):
                    break
            else:
                if self.complete or not self._is_over():
                    return
        except urllib3.exceptions.HTTPError:
            if not self.complete and not self._is_over():
                raise
        if not self.complete:
            # A body of unknown length that is given up ends like any other.
            raise requests.ReadTimeout("The reply did not end in time.")
        raw.close()


def _as_they_come(
    raw: urllib3.HTTPResponse, stream: Callable[..., Iterator[bytes]], size: int, *, decode_content: bool
) -> Iterator[bytes]:
    """Read what is there, and not until so and so much is there: that may never come."""
    if hasattr(raw, "read1") and hasattr(raw._fp, "read1"):  # noqa: SLF001 - a mock's file may have none
        yield from iter(lambda: raw.read1(size, decode_content=decode_content), b"")
    else:
        # An urllib3 before 2.2.
        yield from stream(1 if raw.connection else size, decode_content=decode_content)


def _may_end_soon(raw: urllib3.HTTPResponse) -> bool:
    """Wait for the rest of a complete body only where its connection can be used again, and not for long."""
    if raw.connection is None:
        # That of a mock.
        return True
    sock = getattr(raw.connection, "sock", None)
    if sock is None:
        return False
    sock.settimeout(LAST_BYTES_S)
    return True
