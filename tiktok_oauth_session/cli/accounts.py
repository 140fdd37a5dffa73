"""``accounts``: who is logged in, for scripts."""

from __future__ import annotations

import argparse
from typing import Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_OK
from tiktok_oauth_session.cli.stores.account_option import find
from tiktok_oauth_session.cli.terminal.output import print_json, show


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "accounts",
        help="list the accounts that are logged in",
        description="Print the open_id of each account that is logged in, one on each line.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with each account's client key")
    stores.add_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the accounts."""
    keys = find(stores.open_store(arguments.store))
    if arguments.json:
        print_json([key._asdict() for key in keys])
    else:
        show(*(key.open_id for key in keys))
    return EXIT_OK
