"""``refresh``: another token, now."""

from __future__ import annotations

import argparse
import time
from typing import Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_OK
from tiktok_oauth_session.cli.sessions import session_for
from tiktok_oauth_session.cli.stores.account_option import add_options, choose
from tiktok_oauth_session.cli.terminal.output import moment, show
from tiktok_oauth_session.cli.terminal.signals import finishing_first


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "refresh",
        help="refresh an account's token now",
        description="Refresh an account's token now, unless somebody else has just done it. Nothing needs "
        "this regularly: every other command refreshes when it is time.",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Refresh now."""
    store = stores.open_store(arguments.store)
    account = choose(store, arguments)
    session = session_for(store, account)
    with finishing_first():
        token = session.refresh_token()
    expiry = moment(token.expires_at, time.time())
    show(f"Refreshed: the access token of {account.open_id} expires {expiry}.")
    return EXIT_OK
