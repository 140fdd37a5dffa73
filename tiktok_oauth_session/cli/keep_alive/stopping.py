"""The end of a run that a signal asks for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from tiktok_oauth_session.cli.terminal.signals import EXIT_BY_SIGNAL, Signals, end_by, handled


@contextlib.contextmanager
def told_to_stop(stop: threading.Event) -> Iterator[list[int]]:
    """Let the first signal end the run gently; yield which of them came.

    The second one interrupts whatever is waited for, except the refreshes in flight; the third, those.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed twice.
        SystemExit: Another signal came twice.
    """
    came, hurried = Signals(), False

    def gently(number: int) -> None:
        nonlocal hurried
        hurry = came.note(number)
        stop.set()
        if not hurry:
            return
        if hurried:
            os._exit(EXIT_BY_SIGNAL + number)
        hurried = True
        end_by(number)

    with handled(gently):
        yield came.numbers
