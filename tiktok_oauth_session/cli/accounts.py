"""``accounts``: who is logged in, for scripts."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_OK
from tiktok_oauth_session.cli.stores.account_option import find
from tiktok_oauth_session.cli.stores.default_account import defaults_among
from tiktok_oauth_session.cli.stores.login_notes import name_in
from tiktok_oauth_session.cli.terminal.output import print_json, show, table

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "accounts",
        help="list the accounts that are logged in",
        description="Print the open_id of each account that is logged in, one on each line; to a terminal, "
        "a table.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, with each account's client key and name"
    )
    stores.add_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the accounts."""
    store = stores.open_store(arguments.store)
    keys = find(store)
    if not (arguments.json or sys.stdout.isatty()):
        show(*(key.open_id for key in keys))
        return EXIT_OK
    defaults = defaults_among(stores.place(arguments.store), keys)
    if arguments.json:
        print_json([_described(store, key, is_default=key in defaults) for key in keys])
    elif keys:
        marked = defaults if len(keys) > 1 else []
        rows = [(key.open_id, name_in(store, key), "yes" if key in marked else "") for key in keys]
        table(("ACCOUNT", "NAME", "DEFAULT"), rows)
    return EXIT_OK


def _described(store: TokenStore, key: AccountKey, *, is_default: bool) -> dict[str, Any]:
    return {**key._asdict(), "display_name": name_in(store, key) or None, "default": is_default}
