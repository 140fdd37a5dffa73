"""How far keep-alive is: a bar, or lines."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tiktok_oauth_session.cli.terminal.output import is_fancy, tell

if TYPE_CHECKING:
    from tiktok_oauth_session.keepalive import Summary

#: Seconds between two lines where there is no terminal to draw a bar on.
LINE_EVERY_S = 10.0


@contextlib.contextmanager
def shown_progress() -> Iterator[Callable[[Summary], None]]:
    """Show how far it is: a bar on a terminal, a line now and then elsewhere."""
    if not is_fancy(sys.stderr):
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("keep-alive"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda summary: bar.update(task, completed=summary.done, total=summary.due)


class _Lines:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, summary: Summary) -> None:
        if time.monotonic() - self._last >= LINE_EVERY_S or summary.done == summary.due:
            self._last = time.monotonic()
            tell(f"keep-alive: {summary.done} of {summary.due} accounts")
