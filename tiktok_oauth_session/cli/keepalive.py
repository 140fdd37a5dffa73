"""``keep-alive``: refresh what is about to end, from cron, systemd or by hand."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session.cli import connections, credentials, stores
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_STORE
from tiktok_oauth_session.cli.interrupts import EXIT_BY_SIGNAL, Signals, end_by, handled
from tiktok_oauth_session.cli.numbers import above, at_least, whole
from tiktok_oauth_session.cli.output import is_fancy, print_json, tell
from tiktok_oauth_session.cli.sealed import require_no_sealed_token

if TYPE_CHECKING:
    from tiktok_oauth_session.keepalive import Summary

DAY_S = 86_400.0
#: Seconds between two lines where there is no terminal to draw a bar on.
LINE_EVERY_S = 10.0


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "keep-alive",
        help="refresh every account that is about to need a login",
        description="Refresh the accounts of your app whose refresh token is about to end, which is what "
        "happens to accounts that nobody calls for. Run it daily, on as many machines as you like: each "
        "account is refreshed once. SIGTERM, SIGHUP and Ctrl-C end it after the refreshes in flight; the "
        "next run does the rest. Exits with 1 if an account failed, or was left without a signal, that "
        "another run may save, and with 5 if a new token could not be kept.",
    )
    parser.add_argument(
        "--refresh-within",
        type=at_least(0.0),
        default=30.0,
        metavar="DAYS",
        help="refresh accounts whose refresh token ends within so many days (default: 30)",
    )
    parser.add_argument(
        "--access-within",
        type=at_least(0.0),
        metavar="SECONDS",
        help="also refresh access tokens that end within so many seconds",
    )
    parser.add_argument(
        "--workers", type=whole(1), default=4, metavar="N", help="refresh N at a time (default: 4)"
    )
    parser.add_argument(
        "--rate", type=above(0.0), default=10.0, metavar="N", help="N a second at most (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    stores.add_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run keep-alive and tell how it went."""
    from tiktok_oauth_session.keepalive import keep_alive

    app = credentials.require()
    store = stores.open_store(arguments.store)
    require_no_sealed_token(store, app.client_key)
    stop = threading.Event()
    with _told_to_stop(stop) as signals, _progress() as progress:
        summary = keep_alive(
            store,
            client_key=app.client_key,
            client_secret=app.client_secret,
            platform=connections.platform(),
            access_within=arguments.access_within,
            refresh_within=arguments.refresh_within * DAY_S,
            workers=arguments.workers,
            rate=arguments.rate,
            stop=stop,
            progress=progress,
        )
    _tell(summary, as_json=arguments.json)
    if summary.unsaved:
        return EXIT_STORE
    if signal.SIGINT in signals:
        return EXIT_INTERRUPTED
    # What a signal left is the next run's, and no failure; whatever else was left is one.
    left = summary.done < summary.due or summary.stopped
    return EXIT_FAILED if summary.failed or (left and not signals) else EXIT_OK


def _tell(summary: Summary, *, as_json: bool) -> None:
    for key, why in summary.dead.items():
        tell(f"{key.open_id}: log in again: {why}")
    for key, why in summary.failed.items():
        tell(f"{key.open_id}: failed: {why}")
    if summary.stopped:
        tell(f"Stopped with {summary.due - summary.done} accounts to go: {summary.stopped}")
    counts = {
        "due": summary.due,
        "refreshed": summary.refreshed,
        "left_to_others": summary.left_to_others,
        "dead": len(summary.dead),
        "failed": len(summary.failed),
    }
    if as_json:
        print_json({**counts, "stopped": summary.stopped})
    else:
        print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))


@contextlib.contextmanager
def _told_to_stop(stop: threading.Event) -> Iterator[list[int]]:
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


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Summary], None]]:
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
