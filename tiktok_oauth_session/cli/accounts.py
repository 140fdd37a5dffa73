"""``accounts``: who is logged in, for scripts."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_OK
from tiktok_oauth_session.cli.stores.account_option import find
from tiktok_oauth_session.cli.stores.default_account import defaults_among
from tiktok_oauth_session.cli.terminal.output import print_json, show, table


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "accounts",
        help="list the accounts that are logged in",
        description="Print the open_id of each account that is logged in, one on each line; to a terminal, "
        "a table.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with each account's client key")
    stores.add_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the accounts."""
    keys = find(stores.open_store(arguments.store))
    if not (arguments.json or sys.stdout.isatty()):
        show(*(key.open_id for key in keys))
        return EXIT_OK
    defaults = defaults_among(stores.place(arguments.store), keys)
    if arguments.json:
        print_json([{**key._asdict(), "default": key in defaults} for key in keys])
    elif keys:
        marked = defaults if len(keys) > 1 else []
        table(("ACCOUNT", "DEFAULT"), [(key.open_id, "yes" if key in marked else "") for key in keys])
    return EXIT_OK
