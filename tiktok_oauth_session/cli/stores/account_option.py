"""``--account OPEN_ID``: which of the store's accounts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli.exits import EXIT_LOGIN, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.folders import tokens_folder
from tiktok_oauth_session.cli.stores import add_option, place
from tiktok_oauth_session.cli.stores.default_account import defaults_among
from tiktok_oauth_session.cli.stores.urls import is_github_secret

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the options that choose an account."""
    parser.add_argument(
        "--account",
        metavar="OPEN_ID",
        help="which account, if there are several and it is not the default: its open_id or how it begins",
    )
    add_option(parser)


def find(store: TokenStore) -> list[AccountKey]:
    """Return the accounts of the store: of the app whose key is set, or of all apps."""
    return sorted(store.keys(credentials.setting(credentials.CLIENT_KEY) or None))


def nobody(store: TokenStore, option: str | None) -> str:
    """Return what to say of a store that has no account of the app whose key is set.

    Args:
        store: The store.
        option: What ``--store`` says.
    """
    # Slow to import.
    from tiktok_oauth_session.cli.stores.gh import is_job

    where = place(option)
    if is_github_secret(where) and not is_job():
        return f"Only a workflow's job can read {where}: whether somebody is logged in cannot be told here."
    mine = credentials.setting(credentials.CLIENT_KEY)
    other = next(iter(store.keys(None)), None) if mine else None
    if other is not None:
        return (
            f"Nobody is logged in with the client key {mine}, but somebody is with {other.client_key}: set "
            f"{credentials.CLIENT_KEY} to the one that is meant, or run: tiktok-oauth login"
        )
    what = "" if where == str(tokens_folder()) else f": {where} has no account"
    return f"Nobody is logged in{what}. Run: tiktok-oauth login"


def choose(store: TokenStore, arguments: argparse.Namespace) -> AccountKey:
    """Return the account that is meant, whether or not its token can be read; the default, if none is named.

    Raises:
        Stop: There is none, or more than one could be meant.
    """
    if arguments.account is None:
        known = find(store)
        meant = defaults_among(place(arguments.store), known)
        if len(meant) == 1 == len({key.client_key for key in known}):
            return meant[0]
    how = "pass --account (see tiktok-oauth accounts), or make one the default with tiktok-oauth switch"
    return choose_by_name(store, arguments, how)


def choose_by_name(
    store: TokenStore,
    arguments: argparse.Namespace,
    how: str = "pass --account (see tiktok-oauth accounts)",
) -> AccountKey:
    """Return the account that is named, or the only one, whether or not its token can be read.

    Args:
        store: The store.
        arguments: The command's.
        how: How to name one.

    Raises:
        Stop: There is none, or more than one could be meant.
    """
    wanted = arguments.account
    named = _named(wanted)
    if named is not None and _is_there(store, named):
        return named
    known = find(store)
    if not known:
        raise Stop(nobody(store, arguments.store), EXIT_LOGIN)
    exact = [key for key in known if key.open_id == wanted]
    meant = exact or [key for key in known if key.open_id.startswith(wanted or "")]
    if not meant:
        raise Stop(f"No account {wanted} is logged in; see tiktok-oauth accounts.", EXIT_LOGIN)
    if len(meant) > 1:
        several_apps = len({key.client_key for key in meant}) > 1
        how = f"they are of several apps, so set {credentials.CLIENT_KEY}" if several_apps else how
        raise Stop(f"{len(meant)} accounts could be meant: {how}.", EXIT_USAGE)
    return meant[0]


def _is_there(store: TokenStore, account: AccountKey) -> bool:
    try:
        return store.load(account) is not None
    except StoreError:
        # Damaged or encrypted, which does not keep it from being deleted. If it is the store that is
        # in trouble, whatever is done next will say so.
        return True


def _named(open_id: str | None) -> AccountKey | None:
    """Return the key of an account without listing any, where app and user are both known."""
    from tiktok_oauth_session.tokens import AccountKey

    client_key = credentials.setting(credentials.CLIENT_KEY)
    return AccountKey(client_key, open_id) if client_key and open_id else None
