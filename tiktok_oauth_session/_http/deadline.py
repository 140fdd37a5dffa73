"""A deadline, and a thread of one's own to wait for until then, whatever it is stuck in."""

from __future__ import annotations

import contextvars
import logging
import math
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tiktok_oauth_session._process import threads_stop_greenlets

log = logging.getLogger(__name__)

_T = TypeVar("_T")


def deadline_of(timeout: Any) -> float:
    """Return how many seconds a whole request may take whose single steps may take `timeout`.

    Args:
        timeout: As for `requests`: seconds, or seconds to connect and seconds to wait for the reply.

    Returns:
        Seconds to connect and to wait together; infinity where one of them has no end.
    """
    parts = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return float(sum(parts)) if all(isinstance(part, (int, float)) for part in parts) else math.inf


class Task(Generic[_T]):
    """Something that is done once, in whatever thread, and what became of it.

    Attributes:
        result: What it returned.
        failure: What it raised.
    """

    def __init__(self, function: Callable[[], _T]) -> None:
        self._function = function
        self._ended = threading.Event()
        self.result: _T
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Do it."""
        try:
            self.result = self._function()
        except BaseException as failure:  # noqa: BLE001 - whoever waits for it raises it
            self.failure = failure
        finally:
            self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; return whether it has ended."""
        # Not by Thread.join, which before Python 3.13 takes a thread as ended when it is interrupted.
        return self._ended.wait(min(seconds, threading.TIMEOUT_MAX))


class Worker:
    """A thread that does one task after the other, while whoever waits for them may go away.

    A daemon: a task that is stuck must not keep the interpreter from ending.
    """

    def __init__(self) -> None:
        self._told = threading.Event()
        self._next: Task[Any] | None = None
        self._runs = False

    def start(self) -> None:
        """Start the thread, in a copy of the caller's context.

        Where that is impossible, tasks are run by whoever begins them.
        """
        if threads_stop_greenlets():
            return
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._serve,), name="tiktok-oauth-request", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # The system has no more, or the interpreter is ending.
            log.debug("an OAuth request is sent without a thread of its own: %s", error)
        else:
            self._runs = True

    def begin(self, function: Callable[[], _T]) -> Task[_T]:
        """Begin a task; the one before it has ended, or nobody waits for it."""
        task = Task(function)
        if self._runs:
            self._next = task
            self._told.set()
        else:
            task.run()
        return task

    def stop(self) -> None:
        """Let the thread end after its task. One that has not begun yet never does."""
        self._next = None
        self._told.set()

    def _serve(self) -> None:
        while True:
            self._told.wait()
            self._told.clear()
            task = self._next
            if task is None:
                return
            task.run()
            # Nor may a thread that waits keep a reply in memory.
            del task
