"""``revoke``: end a connection, at TikTok and here."""

from __future__ import annotations

import argparse
from typing import Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_OK
from tiktok_oauth_session.cli.sessions import session_for
from tiktok_oauth_session.cli.stores.account_option import add_options, choose_by_name
from tiktok_oauth_session.cli.stores.default_account import forget_default
from tiktok_oauth_session.cli.stores.login_notes import name_in, with_name
from tiktok_oauth_session.cli.terminal.output import show
from tiktok_oauth_session.cli.terminal.signals import finishing_first


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "revoke",
        help="end a connection, at TikTok and here",
        description="Revoke an account's token at TikTok, so that the app vanishes from the user's connected "
        "apps, then delete it here.",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Revoke, then delete."""
    store = stores.open_store(arguments.store)
    account = choose_by_name(store, arguments)
    who = with_name(account.open_id, name_in(store, account))
    session = session_for(store, account)
    with finishing_first():
        session.revoke_token()
    forget_default(stores.place(arguments.store), account)
    show(f"Revoked: TikTok no longer lists the app for {who}, and its token is deleted.")
    return EXIT_OK
