"""From a URL to the store that it names."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tiktok_oauth_session.cli.exits import EXIT_USAGE, Stop, extra_missing

if TYPE_CHECKING:
    import sqlalchemy

    from tiktok_oauth_session.stores import TokenStore

#: Seconds after which a Redis that hangs is given up, unless the URL says another number.
REDIS_TIMEOUT_S = 10.0
SQLITE_MODE = 0o600
#: How many connections to a database at most: as many as SQLAlchemy would open, but all of them are kept.
#: Logging in costs the database more than what follows.
CONNECTIONS = 15

_REDIS = ("redis", "rediss", "unix")
_GITHUB_SECRET = "github-secret"
#: The drivers that SQLAlchemy does not look for by itself.
_DRIVERS = {"postgresql": ("psycopg2", "psycopg"), "mysql": ("MySQLdb", "pymysql")}
#: What the options of all drivers that hold a secret have in their names.
_SECRET_OPTION = re.compile("password|passwd|passphrase|pwd|secret|token", re.IGNORECASE)
#: A password as SQLAlchemy finds it, which takes characters that have to be percent-encoded as they are.
_PASSWORD = re.compile(r"[\w.+-]+://[^:/]*:[^@]*@")


def shows_password(url: str) -> bool:
    """Tell whether a URL has a password in it, wherever."""
    if "://" not in url:
        return False
    names = [name for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)]
    return bool(_PASSWORD.match(url)) or any(map(_SECRET_OPTION.search, names))


def store_at(url: str) -> TokenStore:
    """Return the store that a URL or a folder's path names.

    Raises:
        Stop: It names none, or needs an extra.
    """
    folder, scheme = _folder_or_scheme(url)
    if folder:
        from tiktok_oauth_session.stores.file import FileStore

        return FileStore(folder)
    if scheme in _REDIS:
        return _redis_store(url, scheme)
    if scheme == _GITHUB_SECRET:
        from tiktok_oauth_session.cli.stores.github_secret import github_secret_store

        with _malformed(ValueError):
            return github_secret_store(url)
    return _sql_store(url, scheme)


def place_of(url: str) -> str:
    """Return what a store is called: its URL without user, password and options, in which secrets are.

    Args:
        url: One of which `store_at` has returned the store.
    """
    folder, scheme = _folder_or_scheme(url)
    if folder:
        return str(Path(folder).expanduser().absolute())
    if scheme in (*_REDIS, _GITHUB_SECRET):
        parts = urlsplit(url)
        return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    import sqlalchemy

    address = sqlalchemy.make_url(url)
    database = address.database
    if database and address.get_backend_name() == "sqlite":
        database = str(Path(database).absolute())
    bare = sqlalchemy.URL.create(address.drivername, None, None, address.host, address.port, database)
    return bare.render_as_string()


def is_github_secret(place: str) -> bool:
    """Tell whether a store, as `place_of` calls it, is a secret of GitHub Actions."""
    return place.startswith(f"{_GITHUB_SECRET}://")


def _folder_or_scheme(url: str) -> tuple[str, str]:
    """Return the path of the folder that a URL names, or else the URL's scheme."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme == "file":
        with _malformed(ValueError):
            return urlsplit(url).path, ""
    is_folder = not scheme or re.fullmatch(r"[A-Za-z]:[\\/].*", url)
    return (url, "") if is_folder else ("", scheme)


@contextlib.contextmanager
def _malformed(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds:
        # Not its words: they quote the URL, password included.
        raise Stop(
            "This is no URL of a store. Special characters in a user or a password have to be "
            "percent-encoded: # as %23, / as %2F, ? as %3F.",
            EXIT_USAGE,
        ) from None


def _unknown_option(scheme: str) -> Stop:
    return Stop(
        f"The {scheme}:// URL has an option that its driver does not know, or not with that value.",
        EXIT_USAGE,
    )


def _redis_store(url: str, scheme: str) -> TokenStore:
    try:
        import redis

        from tiktok_oauth_session.stores.redis import RedisStore
    except ImportError as error:
        raise extra_missing("redis", f"This store needs {error.name}.") from None
    with _malformed(ValueError):
        parts = urlsplit(url)
        if scheme != "unix" and (parts.fragment or "@" in parts.path):
            raise ValueError
        # What the URL says goes before these.
        client = redis.Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
    try:
        # Connects nowhere, but is given the options.
        client.connection_pool.make_connection()
    except (TypeError, ValueError, redis.RedisError):
        raise _unknown_option(scheme) from None
    return RedisStore(client)


def _sql_store(url: str, scheme: str) -> TokenStore:
    try:
        import sqlalchemy

        from tiktok_oauth_session.stores.sql import SQLStore
    except ImportError as error:
        raise extra_missing("sql", f"This store needs {error.name}.") from None
    with _malformed(ValueError, sqlalchemy.exc.ArgumentError):
        address = sqlalchemy.make_url(_with_driver(url, scheme))
    try:
        with warnings.catch_warnings():
            # Its own way to say that it ignores an option.
            warnings.simplefilter("error", sqlalchemy.exc.SAWarning)
            engine = sqlalchemy.create_engine(address, **_pool_options(address))
        store = SQLStore(engine)
    except sqlalchemy.exc.SAWarning:
        raise _unknown_option(scheme) from None
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise Stop(f"No store is known for URLs that begin with {scheme}://.", EXIT_USAGE) from None
    except ImportError as error:
        names = " or ".join(_DRIVERS.get(scheme, (str(error.name),)))
        raise Stop(f"No driver for {scheme} is installed: install {names}.", EXIT_USAGE) from None
    _explain_unknown_options(engine, scheme)
    if address.get_backend_name() == "sqlite":
        _make_private(address.database)
    # The engine lives as long as the process, and takes leave of the database.
    atexit.register(engine.dispose)
    return store


def _pool_options(address: sqlalchemy.URL) -> dict[str, int]:
    # SQLite's connections cost nothing, and its pools are of other kinds.
    if address.get_backend_name() == "sqlite":
        return {}
    return {"pool_size": CONNECTIONS, "max_overflow": 0}


def _explain_unknown_options(engine: sqlalchemy.Engine, scheme: str) -> None:
    import sqlalchemy

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def connect(dialect: sqlalchemy.Dialect, _: object, places: tuple[Any, ...], options: Any) -> object:
        try:
            return dialect.connect(*places, **options)
        except TypeError:
            raise _unknown_option(scheme) from None


def _make_private(database: str | None) -> None:
    """Make a SQLite file that is not there, before SQLite makes it readable by everybody.

    What is there keeps its mode, since a group may share it.
    """
    if not database or database == ":memory:" or database.startswith("file:"):
        return
    # What cannot be made, SQLite will say.
    with contextlib.suppress(OSError):
        os.close(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SQLITE_MODE))


def _with_driver(url: str, scheme: str) -> str:
    from importlib.util import find_spec

    usual, other = _DRIVERS.get(scheme, ("", ""))
    if usual and find_spec(usual) is None and find_spec(other) is not None:
        return f"{scheme}+{other}{url[len(scheme) :]}"
    return url
