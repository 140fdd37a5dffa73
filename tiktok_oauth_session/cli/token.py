"""``token``: an access token that works."""

from __future__ import annotations

import argparse
from typing import Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_LOGIN, EXIT_OK, Stop
from tiktok_oauth_session.cli.sessions import session_for
from tiktok_oauth_session.cli.settings.surface import login_command, require_issuer
from tiktok_oauth_session.cli.stores.account_option import add_options, choose


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "token",
        help="print an access token that works",
        description="Print an access token, and nothing else, refreshing it first if it is time. This is the "
        "only command that prints a secret: use it where it is consumed, as in $(tiktok-oauth token).",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print an access token."""
    from tiktok_oauth_session.tokens import Freshness

    store = stores.open_store(arguments.store)
    account = choose(store, arguments)
    token = store.load(account)
    if token is None or not (token.access_token or token.refresh_token):
        raise Stop(f"{account.open_id} has just been logged out. Run: {login_command()}", EXIT_LOGIN)
    require_issuer(token)
    if token.freshness() is not Freshness.FRESH:
        # What it imports is slow, and a fresh token needs none of it.
        from tiktok_oauth_session.cli.terminal.signals import finishing_first

        session = session_for(store, account)
        with finishing_first():
            token = session.fresh_token()
    print(token.access_token)
    return EXIT_OK
