"""Standard streams that are closed, full or gone."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def open_closed_streams() -> None:
    """Give the process the standard streams that it was started without (``>&-``).

    Otherwise the next file that is opened, such as a database, would get a standard stream's number and
    whatever is written to that stream; and what is printed to a stderr that is not there goes to stdout.
    """
    if sys.stdin is None:
        sys.stdin = _open_null(0, os.O_RDONLY)
    if sys.stdout is None:
        # To be read only, so that printing to it fails: somebody wanted the result.
        sys.stdout = _open_null(1, os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = _open_null(2, os.O_WRONLY)


def discard(stream: TextIO) -> None:
    """Let nothing come of what is written to a stream that cannot be written to, nor of what was."""
    _put_null_at(stream.fileno(), os.O_WRONLY)


def _open_null(number: int, flags: int) -> TextIO:
    _put_null_at(number, flags)
    return open(number, "w" if number else "r", encoding="utf-8", closefd=False)


def _put_null_at(number: int, flags: int) -> None:
    descriptor = os.open(os.devnull, flags)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
