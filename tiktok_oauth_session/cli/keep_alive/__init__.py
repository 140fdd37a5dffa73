"""``keep-alive``: refresh what is about to end, from cron, systemd or by hand."""

from __future__ import annotations

import argparse
import signal
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_STORE
from tiktok_oauth_session.cli.keep_alive.jobs import Job, run_all
from tiktok_oauth_session.cli.keep_alive.numbers import above, at_least, whole
from tiktok_oauth_session.cli.keep_alive.progress import shown_progress
from tiktok_oauth_session.cli.keep_alive.stopping import told_to_stop
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.stores.checks import require_no_encrypted_token
from tiktok_oauth_session.cli.terminal.output import print_json, tell

if TYPE_CHECKING:
    from tiktok_oauth_session.keepalive import Summary

DAY_S = 86_400.0

#: What the summary calls its numbers, which JSON has under their own names.
_IN_WORDS = {
    "due": "due",
    "refreshed": "refreshed",
    "left_to_others": "needed no refresh",
    "not_prolonged": "end soon all the same",
    "dead": "need a login",
    "failed": "failed",
}


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
    add_options(parser)
    parser.add_argument(
        "--jobs",
        type=whole(1),
        default=1,
        metavar="N",
        help="share workers and rate out among N processes, each of which makes use of one processor "
        "(default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    stores.add_option(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run."""
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
        "--rate",
        type=above(0.0),
        default=10.0,
        metavar="N",
        help="send N requests a second at most (default: 10)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run keep-alive and tell how it went."""
    app = credentials.require()
    require_no_encrypted_token(stores.open_store(arguments.store), app.client_key)
    job = Job(
        store=arguments.store,
        app=app,
        access_within=arguments.access_within,
        refresh_within=arguments.refresh_within * DAY_S,
        workers=arguments.workers,
        rate=arguments.rate,
    )
    with shown_progress() as progress:
        if arguments.jobs > 1:
            summary, signals = run_all(job.split(arguments.jobs), progress)
        else:
            stop = threading.Event()
            with told_to_stop(stop) as signals:
                summary = job.run(stop, progress)
    tell_of(summary, as_json=arguments.json)
    return exit_code_for(summary, signals)


def exit_code_for(summary: Summary, signals: Sequence[int]) -> int:
    """Return the exit code of a run during which these signals came."""
    if summary.unsaved:
        return EXIT_STORE
    if signal.SIGINT in signals:
        return EXIT_INTERRUPTED
    # What a signal left is the next run's, and no failure; whatever else was left is one.
    left = summary.done < summary.due or summary.stopped
    return EXIT_FAILED if summary.failed or (left and not signals) else EXIT_OK


def tell_of(summary: Summary, *, as_json: bool) -> None:
    """Tell how a run went."""
    for key, why in summary.dead.items():
        tell(f"{key.open_id}: log in again: {why}")
    for key, why in summary.failed.items():
        tell(f"{key.open_id}: failed: {why}")
    if summary.not_prolonged:
        days = (min(summary.not_prolonged.values()) - time.time()) / DAY_S
        number = len(summary.not_prolonged)
        tell(
            f"Connections that end soon, and that a refresh gives no more time: {number}. "
            f"The first ends in {days:.0f} days; then its user has to log in again."
        )
    if summary.stopped:
        tell(f"Stopped with {summary.due - summary.done} accounts to go: {summary.stopped}")
    counts = {
        "due": summary.due,
        "refreshed": summary.refreshed,
        "left_to_others": summary.left_to_others,
        "not_prolonged": len(summary.not_prolonged),
        "dead": len(summary.dead),
        "failed": len(summary.failed),
    }
    if as_json:
        print_json({**counts, "stopped": summary.stopped})
    else:
        print(", ".join(f"{count} {_IN_WORDS[name]}" for name, count in counts.items()))
