"""Ctrl-C, SIGTERM and SIGHUP while TikTok is being asked for a token."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from tiktok_oauth_session.cli.terminal.output import tell

#: Seconds within which two signals are one: a closing terminal and `timeout` send theirs twice.
APART_S = 1.0
#: Seconds between two looks at whether Ctrl-C was pressed, which Windows does not tell a waiting thread.
WAKE_S = 0.5
#: What a shell adds to the number of the signal that ended a command.
EXIT_BY_SIGNAL = 128

# Windows has no SIGHUP.
_HANGUP = getattr(signal, "SIGHUP", None)
#: What asks a command to end.
TO_BE_HANDLED = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)


class Signals:
    """The signals that came while something was not to be cut short."""

    def __init__(self) -> None:
        #: Their numbers, in the order in which they came.
        self.numbers: list[int] = []
        self._first = 0.0

    def note(self, number: int) -> bool:
        """Note a signal; tell whether whoever sent it does not want to wait any longer."""
        now = time.monotonic()
        if not self.numbers:
            self._first = now
        self.numbers.append(number)
        if len(self.numbers) == 1 or number == _HANGUP:
            return False
        return number == signal.SIGINT or now - self._first >= APART_S


@contextlib.contextmanager
def handled(handler: Callable[[int], object]) -> Iterator[None]:
    """Hand Ctrl-C, SIGTERM and SIGHUP to a function instead, except those that are ignored (nohup)."""

    def handle(number: int, _frame: FrameType | None) -> None:
        handler(number)

    # None is a handler that was not set from Python and could not be put back.
    wanted = [number for number in TO_BE_HANDLED if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def end_by(number: int) -> NoReturn:
    """End the command as a signal would, but not before what has to be put in order is.

    Raises:
        KeyboardInterrupt: It was Ctrl-C.
        SystemExit: It was another one.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(EXIT_BY_SIGNAL + number)


def end_at_once(number: int) -> NoReturn:
    """End the command with what is under way in other threads, which the interpreter would wait for."""
    for stream in (sys.stdout, sys.stderr):
        # Nobody may be reading, or this handler have interrupted a flush.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            stream.flush()
    os._exit(EXIT_BY_SIGNAL + number)


def say(*lines: str) -> None:
    """Say something from a signal's handler, if that interrupted nobody in the middle of a word."""
    with contextlib.suppress(RuntimeError):
        tell(*lines)


@contextlib.contextmanager
def finishing_first() -> Iterator[None]:
    """Let the first signal wait until the block has ended; the second one does not wait.

    Between TikTok's reply and the save, the new token is nowhere but in this process, and its
    predecessor is spent.

    Raises:
        KeyboardInterrupt: There was a Ctrl-C.
        SystemExit: There was another signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = Signals()

    def note(number: int) -> None:
        if came.note(number):
            end_at_once(number)
        if len(came.numbers) == 1:
            say("", "First the token that TikTok is being asked for; Ctrl-C once more stops at once.")

    with handled(note):
        yield
    if came.numbers:
        say("That is done, and what came of it is kept.")
        end_by(came.numbers[0])
