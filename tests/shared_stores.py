"""Stores that processes share: how any of them opens one, as an expression for `scenarios.opened`."""

from __future__ import annotations

import redis_users
import sql_users
from servers import SQLite

#: What a process that dies holds no lock of.
FILES = ("file", "sqlite")
#: What is locked by leases.
SERVERS = ("postgresql", "mariadb", "redis")


def open_file(directory):
    """Return how any process opens a store of files."""
    store = f"import_module('tiktok_oauth_session').FileStore({str(directory)!r})"
    return f"import_module('contextlib').nullcontext({store})"


def open_database(database, options=""):
    """Make the table; return how any process opens the store in a database.

    Args:
        database: One of those in `servers`.
        options: What the address ends with.
    """
    url = database.url + options
    with sql_users.opened(url) as store:
        store.create_tables()
    return f"import_module('sql_users').opened({url!r})"


def open_new(kind, request):
    """Return how any process opens a store of a kind, which is new and empty.

    Args:
        kind: One of `FILES` and `SERVERS`.
        request: That of the test.
    """
    directory = request.getfixturevalue("tmp_path")
    if kind == "file":
        return open_file(directory / "tokens")
    if kind == "redis":
        request.getfixturevalue("redis_client")
        return redis_users.opens(request.getfixturevalue("redis_server"))
    if kind == "sqlite":
        return open_database(SQLite(directory / "tokens.db"))
    server = request.getfixturevalue(kind)
    server.clear()
    return open_database(server)
