"""``--store URL``: where tokens are kept."""

from __future__ import annotations

import argparse
import atexit
import os
import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tiktok_oauth_session.cli.exits import EXIT_STORE, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.folders import tokens_folder

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore

STORE = "TIKTOK_OAUTH_STORE"
#: An account that is nobody's, to find out whether a store can be written.
PROBE = ("tiktok-oauth", "write-test")

_REDIS = ("redis", "rediss", "unix")
#: The drivers that SQLAlchemy does not look for by itself.
_DRIVERS = {"postgresql": ("psycopg2", "psycopg"), "mysql": ("MySQLdb", "pymysql")}


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the option ``--store``."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="where tokens are kept: a folder, or sqlite:///, postgresql://, mysql:// or redis:// "
        f"(default: ${STORE}, else a folder of your own). A URL with a password belongs in ${STORE}.",
    )


def make_ready(store: TokenStore) -> None:
    """Make what a store needs before anything can be kept in it, and find out whether it works.

    Raises:
        StoreError: It could not be made.
        Stop: It does not work.
    """
    create_tables = getattr(store, "create_tables", None)
    if create_tables is not None:
        create_tables()
    require_writable(store)


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
    if option and urlsplit(option).password is not None:
        raise Stop(f"Everybody can read a password on a command line: set {STORE} instead.", EXIT_USAGE)
    url = option or os.environ.get(STORE, "").strip() or str(tokens_folder())
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme == "file":
        url, scheme = urlsplit(url).path, ""
    if scheme in _REDIS:
        return _redis_store(url)
    if not scheme or re.fullmatch(r"[A-Za-z]:[\\/].*", url):
        from tiktok_oauth_session.stores.file import FileStore

        return FileStore(url)
    return _sql_store(url, scheme)


def _redis_store(url: str) -> TokenStore:
    try:
        import redis

        from tiktok_oauth_session.stores.redis import RedisStore
    except ImportError as error:
        raise _missing("redis", error) from None
    try:
        return RedisStore(redis.Redis.from_url(url))
    except ValueError as error:
        raise Stop(f"This is no Redis URL: {error}", EXIT_USAGE) from None


def _sql_store(url: str, scheme: str) -> TokenStore:
    try:
        import sqlalchemy

        from tiktok_oauth_session.stores.sql import SQLStore
    except ImportError as error:
        raise _missing("sql", error) from None
    try:
        engine = sqlalchemy.create_engine(_with_driver(url, scheme))
        store = SQLStore(engine)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # Not its words: they quote the URL, password included.
        raise Stop(f"No store is known for URLs that begin with {scheme}://.", EXIT_USAGE) from None
    except ImportError as error:
        names = " or ".join(_DRIVERS.get(scheme, (str(error.name),)))
        raise Stop(f"No driver for {scheme} is installed: install {names}.", EXIT_USAGE) from None
    # The engine lives as long as the process, and takes leave of the database.
    atexit.register(engine.dispose)
    return store


def _with_driver(url: str, scheme: str) -> str:
    from importlib.util import find_spec

    usual, other = _DRIVERS.get(scheme, ("", ""))
    if usual and find_spec(usual) is None and find_spec(other) is not None:
        return f"{scheme}+{other}{url[len(scheme) :]}"
    return url


def _missing(extra: str, error: ImportError) -> Stop:
    package = f"{sys.executable} -m pip install 'tiktok-oauth-session[{extra}]'"
    return Stop(f"This store needs {error.name}. Run: {package}", EXIT_USAGE)
