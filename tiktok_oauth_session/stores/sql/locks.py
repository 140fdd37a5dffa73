"""Locks that a database server keeps for a connection, and frees when that ends."""

from __future__ import annotations

import abc
import hashlib
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, cast, func, select, true
from sqlalchemy.exc import DBAPIError

from tiktok_oauth_session.stores.sql.errors import code_of

#: What PostgreSQL says when a lock was not free in time.
LOCK_NOT_AVAILABLE = "55P03"
#: Characters of a lock's name in MariaDB and MySQL, which allow 64.
NAME_LENGTH = 48


class Lock(abc.ABC):
    """A lock of the server's, by name.

    Args:
        name: What it locks, different in all apps that share the database.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @abc.abstractmethod
    def acquire(self, connection: Connection, timeout: float) -> bool:
        """Take it; return whether it could be had.

        Args:
            connection: What is to hold it, outside of all transactions.
            timeout: Seconds to wait; 0 does not.
        """

    @abc.abstractmethod
    def release(self, connection: Connection) -> None:
        """Free it."""


class AdvisoryLock(Lock):
    """PostgreSQL's, of the session and not of the transaction. Each of its databases has its own.

    Source: https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
    """

    def acquire(self, connection: Connection, timeout: float) -> bool:
        """Take it."""
        with connection.begin():
            if connection.scalar(select(func.pg_try_advisory_lock(self._number))):
                return True
        if not timeout:
            return False
        try:
            with connection.begin():
                self._wait(connection, max(int(timeout * 1000), 1))
        except DBAPIError as error:
            if code_of(error) == LOCK_NOT_AVAILABLE:
                return False
            raise
        return True

    def _wait(self, connection: Connection, timeout_ms: int) -> None:
        # Both until the transaction ends. A limit for statements would cut the wait short.
        connection.execute(select(func.set_config("statement_timeout", "0", true())))
        # In one statement: on an engine with AUTOCOMMIT, that is the transaction.
        limited = select(func.set_config("lock_timeout", str(timeout_ms), true())).offset(0).subquery()
        connection.execute(select(func.pg_advisory_lock(self._number)).select_from(limited))

    def release(self, connection: Connection) -> None:
        """Free it."""
        with connection.begin():
            connection.execute(select(func.pg_advisory_unlock(self._number)))

    @property
    def _number(self) -> ColumnElement[int]:
        digest = hashlib.sha256(self._name.encode()).digest()
        return cast(int.from_bytes(digest[:8], "big", signed=True), BigInteger)


class NamedLock(Lock):
    """MariaDB's and MySQL's. A server has one set of names for all its databases, so ours is in the name.

    Source: https://mariadb.com/docs/server/reference/sql-functions/secondary-functions/miscellaneous-functions/get_lock
    """

    def acquire(self, connection: Connection, timeout: float) -> bool:
        """Take it."""
        with connection.begin():
            return bool(connection.scalar(self._call(func.get_lock, timeout)))

    def release(self, connection: Connection) -> None:
        """Free it."""
        with connection.begin():
            connection.execute(self._call(func.release_lock))

    def _call(self, function: Any, *arguments: object) -> Select[Any]:
        names = func.concat(func.coalesce(func.database(), ""), ":", self._name)
        return select(
            function(func.left(func.concat("tiktok:", func.sha2(names, 256)), NAME_LENGTH), *arguments)
        )


#: By the name of SQLAlchemy's dialect.
LOCKS: dict[str, type[Lock]] = {"postgresql": AdvisoryLock, "mysql": NamedLock, "mariadb": NamedLock}
