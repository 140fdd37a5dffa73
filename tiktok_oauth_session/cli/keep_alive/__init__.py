"""``keep-alive``: refresh what is about to end, from cron, systemd or by hand."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_STORE
from tiktok_oauth_session.cli.keep_alive.numbers import above, at_least, whole
from tiktok_oauth_session.cli.keep_alive.progress import shown_progress
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.base_url import platform
from tiktok_oauth_session.cli.stores.checks import require_no_encrypted_token
from tiktok_oauth_session.cli.terminal.output import print_json, tell
from tiktok_oauth_session.cli.terminal.signals import EXIT_BY_SIGNAL, Signals, end_by, handled

if TYPE_CHECKING:
    from tiktok_oauth_session.keepalive import Summary

DAY_S = 86_400.0


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
    require_no_encrypted_token(store, app.client_key)
    stop = threading.Event()
    with _told_to_stop(stop) as signals, shown_progress() as progress:
        summary = keep_alive(
            store,
            client_key=app.client_key,
            client_secret=app.client_secret,
            platform=platform(),
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
