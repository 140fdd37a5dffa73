"""``--account OPEN_ID``: which of the store's accounts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli.exits import EXIT_LOGIN, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.folders import tokens_folder
from tiktok_oauth_session.cli.settings.surface import login_command
from tiktok_oauth_session.cli.stores import add_option, place
from tiktok_oauth_session.cli.stores.default_account import defaults_among
from tiktok_oauth_session.cli.stores.urls import is_github_secret

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey


def add_options(
    parser: argparse.ArgumentParser, *, otherwise: str = "the only one, or what switch chose"
) -> None:
    """Give a subcommand the options that choose an account.

    Args:
        parser: The subcommand's.
        otherwise: Whom it means if none is named.
    """
    parser.add_argument(
        "--account", metavar="OPEN_ID", help=f"whose: the open_id or how it begins (default: {otherwise})"
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
            f"{credentials.CLIENT_KEY} to the one that is meant, or run: {login_command()}"
        )
    what = "" if where == str(tokens_folder()) else f": {where} has no account"
    return f"Nobody is logged in{what}. Run: {login_command()}"


def choose(
    store: TokenStore,
    arguments: argparse.Namespace,
    *,
    follows_default: bool = True,
    name_one: str = "pass --account",
) -> AccountKey:
    """Return the account that is meant, whether or not its token can be read.

    Args:
        store: The store.
        arguments: The command's.
        follows_default: Whether it is the default, if none is named.
        name_one: How one is named.

    Raises:
        Stop: There is none, or more than one could be meant.
    """
    meant = _matching(store, arguments)
    of_one_app = len({key.client_key for key in meant}) == 1
    if follows_default and not arguments.account and of_one_app:
        meant = defaults_among(place(arguments.store), meant) or meant
    if len(meant) == 1:
        return meant[0]
    if not of_one_app:
        words = f"accounts of several apps could be meant: set {credentials.CLIENT_KEY}"
    else:
        how = "give more of the open_id" if arguments.account else name_one
        or_switch = ", or make one the default with tiktok-oauth switch" if follows_default else ""
        words = f"accounts could be meant: {how} (see tiktok-oauth accounts){or_switch}"
    raise Stop(f"{len(meant)} {words}.", EXIT_USAGE)


def _matching(store: TokenStore, arguments: argparse.Namespace) -> list[AccountKey]:
    """Return the accounts that have the name; all, if there is none.

    Raises:
        Stop: There is none.
    """
    wanted = arguments.account
    named = _named(wanted)
    if named is not None and _is_there(store, named):
        return [named]
    known = find(store)
    if not known:
        raise Stop(nobody(store, arguments.store), EXIT_LOGIN)
    exact = [key for key in known if key.open_id == wanted]
    meant = exact or [key for key in known if key.open_id.startswith(wanted or "")]
    if not meant:
        raise Stop(f"No account {wanted} is logged in; see tiktok-oauth accounts.", EXIT_LOGIN)
    return meant


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
