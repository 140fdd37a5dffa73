"""``switch``: which of several accounts is meant when none is named."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_LOGIN, EXIT_OK, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.stores.account_option import choose, find
from tiktok_oauth_session.cli.stores.default_account import defaults_among, make_default
from tiktok_oauth_session.cli.stores.login_notes import name_in, with_name
from tiktok_oauth_session.cli.terminal import prompts
from tiktok_oauth_session.cli.terminal.output import show, tell

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "switch",
        help="choose the account that is meant when none is named",
        description="Make an account the default: the one that commands use without --account, except "
        "revoke and logout. With no OPEN_ID it is the other one of two, or else chosen from a list at the "
        "terminal. It is kept on this machine, for each store and app.",
    )
    parser.add_argument(
        "account", nargs="?", metavar="OPEN_ID", help="the account's open_id or how it begins"
    )
    stores.add_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make an account the default."""
    store, place = stores.open_store(arguments.store), stores.place(arguments.store)
    account = _meant(store, place, arguments)
    make_default(place, account)
    show(f"Default account: {with_name(account.open_id, name_in(store, account))}")
    return EXIT_OK


def _meant(store: TokenStore, place: str, arguments: argparse.Namespace) -> AccountKey:
    """Return the account that is to be the default.

    Raises:
        Stop: There is none, or nobody says which.
    """
    known = [] if arguments.account else find(store)
    if len(known) > 1 == len({key.client_key for key in known}):
        defaults = defaults_among(place, known)
        others = [key for key in known if key not in defaults]
        if len(known) == 2 and len(others) == 1:  # noqa: PLR2004 - one, and the other one
            return others[0]
        if prompts.somebody_is_there():
            return _ask(store, known)
    account = choose(store, arguments, follows_default=False, name_one="name one")
    # A damaged account is one, too. What cannot be looked up, in a store that fails, may be none.
    if account not in (known or find(store)):
        raise Stop(f"No account {account.open_id} is logged in; see tiktok-oauth accounts.", EXIT_LOGIN)
    return account


def _ask(store: TokenStore, known: Sequence[AccountKey]) -> AccountKey:
    numbered = {str(number): key for number, key in enumerate(known, 1)}
    tell(*(f"{n}  {with_name(key.open_id, name_in(store, key))}" for n, key in numbered.items()))
    answer = prompts.ask(f"Which one (1-{len(known)})? ")
    if answer not in numbered:
        raise Stop("None of them was chosen.", EXIT_USAGE)
    return numbered[answer]
