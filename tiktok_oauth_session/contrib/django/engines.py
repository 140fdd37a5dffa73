"""Django's databases as SQLAlchemy's engines: what `SQLStore` speaks to."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import parse_qsl

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections
from django.db.utils import load_backend
from sqlalchemy import URL, Dialect, Engine, NullPool, create_engine

#: SQLAlchemy's name for what Django speaks through, by the name of the driver's module.
DRIVERS = {
    "psycopg": "postgresql+psycopg",
    "psycopg2": "postgresql+psycopg2",
    "MySQLdb": "mysql+mysqldb",
    "pymysql": "mysql+pymysql",
    "sqlite3.dbapi2": "sqlite+pysqlite",
}


def engine_of(alias: str) -> Engine:
    """Return an engine for one of ``DATABASES``, the same one as long as it is the same database.

    Its connections are made by Django's backend, with all of its options, and are not Django's own: no
    transaction of a request holds back what is written through them, and none undoes it. They are kept as
    long as Django keeps its own (``CONN_MAX_AGE``).

    Args:
        alias: Its name there.

    Raises:
        ImproperlyConfigured: It is of another kind than those that `SQLStore` knows.
    """
    database = connections.settings[alias]
    # Test runners put another name in the place of the database's.
    where = tuple(str(database[item] or "") for item in ("NAME", "HOST", "PORT", "USER"))
    return _engine(alias, database["ENGINE"], where, database["CONN_MAX_AGE"])


@functools.cache
def _engine(alias: str, backend: str, where: tuple[str, ...], max_age: int | None) -> Engine:
    name, host, port, user = where
    driver, query = driver_of(load_backend(backend).DatabaseWrapper), {}
    if name.startswith("file:"):
        # SQLite's, such as the one in memory that tests run on.
        name, _, options = name.partition("?")
        query = {"uri": "true", **dict(parse_qsl(options))}
    # For errors to name. The password is in the settings, where each new connection looks.
    url = URL.create(
        driver, user or None, None, host or None, int(port) if port.isdecimal() else None, name, query
    )
    keep: dict[str, Any] = {"poolclass": NullPool}
    if max_age != 0:
        keep = {"pool_recycle": -1 if max_age is None else max_age}
    return create_engine(url, creator=functools.partial(_connected, alias), **keep)


def driver_of(wrapper: Any) -> str:
    """Return SQLAlchemy's name for the driver of one of Django's connections, or of their class.

    Raises:
        ImproperlyConfigured: There is none that `SQLStore` knows.
    """
    module = wrapper.Database.__name__
    if module not in DRIVERS:
        raise ImproperlyConfigured(
            f"TikTok's tokens have no lock on {module}: put them into PostgreSQL, MariaDB, MySQL or SQLite, "
            "by a database router, or set TIKTOK_OAUTH_STORE to another store."
        )
    return DRIVERS[module]


def dialect_of(wrapper: Any) -> Dialect:
    """Return SQLAlchemy's dialect for one of Django's connections."""
    return URL.create(driver_of(wrapper)).get_dialect()()


def _connected(alias: str) -> Any:
    """Return a new connection of the driver's, as Django makes them."""
    database = connections.settings[alias]
    # A pool of psycopg's would take it back.
    options = {name: value for name, value in database["OPTIONS"].items() if name != "pool"}
    settings = {**database, "OPTIONS": options, "AUTOCOMMIT": False}
    wrapper = load_backend(database["ENGINE"]).DatabaseWrapper(settings, alias)
    try:
        wrapper.connect()
    except Error as error:
        # The driver's, which SQLAlchemy knows.
        raise (error.__cause__ or error) from None
    connection, wrapper.connection = wrapper.connection, None
    return connection
