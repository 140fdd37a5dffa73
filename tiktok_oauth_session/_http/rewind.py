"""What of an API request can be sent a second time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def rewinder(data: Any, files: Any) -> Callable[[], bool]:
    """Return what puts a body back to its start, and tells whether it could.

    Args:
        data: The request's ``data``, before it is sent.
        files: The request's ``files``, before it is sent.
    """
    starts: list[tuple[Any, int]] = []
    replayable = True
    for part in (data, *_streams(files)):
        if part is None or isinstance(part, (bytes, bytearray, str, Mapping, list, tuple)):
            continue
        try:
            starts.append((part, part.tell()))
        except (AttributeError, OSError):
            # A generator, a pipe: gone once it has been read.
            replayable = False

    def rewind() -> bool:
        if not replayable:
            return False
        try:
            for part, start in starts:
                part.seek(start)
        except (AttributeError, OSError, ValueError):
            return False
        return True

    return rewind


def _streams(files: Any) -> Iterator[Any]:
    values = files.values() if isinstance(files, Mapping) else [value for _, value in files or ()]
    for value in values:
        yield value[1] if isinstance(value, (tuple, list)) else value
