"""``--store URL``: where tokens are kept."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from tiktok_oauth_session.cli.exits import EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.folders import tokens_folder
from tiktok_oauth_session.cli.settings.surface import bound
from tiktok_oauth_session.cli.stores.checks import require_no_encrypted_token
from tiktok_oauth_session.cli.stores.encrypted import readable
from tiktok_oauth_session.cli.stores.urls import place_of, shows_password, store_at

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore

STORE = "TIKTOK_OAUTH_STORE"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the option ``--store``."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="where tokens are kept: a folder, or sqlite:///, postgresql://, mysql://, redis:// or "
        f"github-secret:// (default: ${STORE}, else a folder of your own). A URL with a password belongs in "
        f"${STORE}.",
    )


def open_store(option: str | None) -> TokenStore:
    """Return the store that the option, or else the environment, names.

    Raises:
        Stop: It names none, holds a password on the command line, or needs an extra.
    """
    return bound(readable(_bare_store(option)))


def place(option: str | None) -> str:
    """Return where the store is that `open_store` returns, without a secret."""
    return place_of(_address(option))


def open_ready_store(option: str | None) -> TokenStore:
    """Return the same, with all that it needs before a token can be kept in it.

    Raises:
        StoreError: That could not be made, the store cannot be written, or it is encrypted and nobody has
            given a key.
        Stop: As for `open_store`.
    """
    bare = _bare_store(option)
    create_tables = getattr(bare, "create_tables", None)
    if create_tables is not None:
        create_tables()
    store = bound(readable(bare))
    store.require_writable(credentials.setting(credentials.CLIENT_KEY))
    require_no_encrypted_token(store)
    return store


def _bare_store(option: str | None) -> TokenStore:
    if option and shows_password(option):
        raise Stop(f"Everybody can read a password on a command line: set {STORE} instead.", EXIT_USAGE)
    return store_at(_address(option))


def _address(option: str | None) -> str:
    return option or os.environ.get(STORE, "").strip() or str(tokens_folder())
