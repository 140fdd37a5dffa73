"""Ctrl-C while TikTok is being asked for a token."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from tiktok_oauth_session.cli.output import tell


@contextlib.contextmanager
def finishing_first() -> Iterator[None]:
    """Let the first Ctrl-C wait until the block has ended; the second one does not wait.

    Between TikTok's reply and the save, the new token is nowhere but in this process, and its
    predecessor is spent.

    Raises:
        KeyboardInterrupt: There was a Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        tell("\nFirst the token that TikTok is being asked for; Ctrl-C once more stops at once.")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        tell("That is done, and what came of it is kept.")
        raise KeyboardInterrupt
