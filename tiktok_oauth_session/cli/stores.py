"""``--store URL``: where tokens are kept."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from tiktok_oauth_session.cli.addresses import shows_password, store_at
from tiktok_oauth_session.cli.exits import EXIT_STORE, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.folders import tokens_folder
from tiktok_oauth_session.cli.sealed import readable, require_no_sealed_token

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore

STORE = "TIKTOK_OAUTH_STORE"
#: An account that is nobody's, to find out whether a store can be written.
PROBE = ("tiktok-oauth", "write-test")


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the option ``--store``."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="where tokens are kept: a folder, or sqlite:///, postgresql://, mysql:// or redis:// "
        f"(default: ${STORE}, else a folder of your own). A URL with a password belongs in ${STORE}.",
    )


def require_writable(store: TokenStore) -> None:
    """Find out before the user is troubled whether a token could be kept.

    Raises:
        Stop: It could not.
    """
    from tiktok_oauth_session.errors import StoreError
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

    probe = AccountKey(*PROBE)
    try:
        try:
            store.save(probe, TikTokToken(access_token="none"))
        finally:
            store.delete(probe)
    except StoreError as error:
        raise Stop(f"Tokens could not be kept. {error}", EXIT_STORE) from error


def open_store(option: str | None) -> TokenStore:
    """Return the store that the option, or else the environment, names.

    Raises:
        Stop: It names none, holds a password on the command line, or needs an extra.
    """
    return readable(_bare_store(option))


def open_ready_store(option: str | None) -> TokenStore:
    """Return the same, with all that it needs before a token can be kept in it.

    Raises:
        StoreError: That could not be made, or the store is encrypted and nobody has given a key.
        Stop: It does not work, or `open_store` raises it.
    """
    bare = _bare_store(option)
    create_tables = getattr(bare, "create_tables", None)
    if create_tables is not None:
        create_tables()
    store = readable(bare)
    require_writable(store)
    require_no_sealed_token(store)
    return store


def _bare_store(option: str | None) -> TokenStore:
    if option and shows_password(option):
        raise Stop(f"Everybody can read a password on a command line: set {STORE} instead.", EXIT_USAGE)
    return store_at(option or os.environ.get(STORE, "").strip() or str(tokens_folder()))
