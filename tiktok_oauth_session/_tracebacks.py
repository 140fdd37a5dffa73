"""Tracebacks without the values of variables, which crash reporters would send away.

Secrets pass through the frames of this package and, below it, of requests, urllib3 and databases' clients.
Where an error leaves the package the frames that it passed through are over, and what they held is let go: a
traceback still says where it came from, line by line.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, ParamSpec, TypeVar

_Each = TypeVar("_Each")
_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")


def clear_frames(error: BaseException, outer: BaseException | None = None) -> None:
    """Let the frames that an error has passed through, and those of what led to it, forget their variables.

    Args:
        error: The error.
        outer: The error that was being handled before, and whose frames are somebody else's.
    """
    todo: list[BaseException | None] = [error]
    done = [outer, None]
    while todo:
        failure = todo.pop()
        if any(failure is each for each in done):
            continue
        done.append(failure)
        assert failure is not None  # noqa: S101 - for mypy: None is among what is done
        traceback = failure.__traceback__
        while traceback is not None:
            # One that is still running is not over.
            with contextlib.suppress(RuntimeError):
                traceback.tb_frame.clear()
            traceback = traceback.tb_next
        todo += [failure.__cause__, failure.__context__]


def without_variables(function: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Let errors leave a function without the variables of its frames."""

    @functools.wraps(function)
    def cleared(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        outer = sys.exc_info()[1]
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            # Of this frame, too.
            del args, kwargs
            clear_frames(error, outer)
            del outer
            raise

    return cleared


def each_without_variables(function: Callable[_Given, Iterable[_Each]]) -> Callable[_Given, Iterator[_Each]]:
    """Let errors leave a function, and the iterator that it returns, without their variables."""

    @functools.wraps(function)
    @without_variables
    def cleared(*args: _Given.args, **kwargs: _Given.kwargs) -> Iterator[_Each]:
        return _Cleared(iter(function(*args, **kwargs)))

    return cleared


class _Cleared(Generic[_Each]):
    """An iterator whose errors come without the variables of its frames."""

    def __init__(self, each: Iterator[_Each]) -> None:
        self._each = each

    def __iter__(self) -> Iterator[_Each]:
        return self

    @without_variables
    def __next__(self) -> _Each:
        return next(self._each)
