"""``logout``: forget an account here."""

from __future__ import annotations

import argparse
from typing import Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_OK
from tiktok_oauth_session.cli.stores.account_option import add_options, choose
from tiktok_oauth_session.cli.stores.default_account import forget_default
from tiktok_oauth_session.cli.stores.login_notes import name_in, with_name
from tiktok_oauth_session.cli.terminal.output import show


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "logout",
        help="forget an account here",
        description="Delete an account's token here. The connection goes on existing at TikTok: `revoke` "
        "ends it there.",
    )
    add_options(parser, otherwise="the only one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Delete the token."""
    store = stores.open_store(arguments.store)
    account = choose(store, arguments, follows_default=False)
    who = with_name(account.open_id, name_in(store, account))
    store.delete(account)
    forget_default(stores.place(arguments.store), account)
    show(f"Logged out: the token of {who} is deleted here. TikTok has not been told.")
    return EXIT_OK
