"""Tokens in a SQL database, for all machines that reach it."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

try:
    from sqlalchemy import (
        Column,
        ColumnElement,
        Connection,
        Double,  # noqa: F401 - SQLAlchemy 1 has none
        Engine,
        MetaData,
        RowMapping,
        Table,
        and_,
        insert,
        literal,
        or_,
        select,
        tuple_,
        type_coerce,
        update,
    )
except ImportError as error:
    raise ImportError("SQLStore needs SQLAlchemy 2: pip install tiktok-oauth-session[sql]") from error

from tiktok_oauth_session.errors import StoreError
from tiktok_oauth_session.stores import LOCK_TIMEOUT_S, TokenStore, check_replacing, required
from tiktok_oauth_session.stores.sql.database import databases
from tiktok_oauth_session.stores.sql.errors import RowRefused
from tiktok_oauth_session.stores.sql.table import (
    TABLE_NAME,
    Document,
    account_of,
    create,
    difference,
    digest,
    key_of,
    opened,
    row_of,
    storable,
    token_table,
)
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

__all__ = ["SQLStore", "metadata", "token_table"]

_T = TypeVar("_T")

#: How many accounts are asked for at once when they are listed.
PAGE_LENGTH = 1000
#: How often to try both to change a row and to add it, while others add and delete it.
SAVE_TRIES = 3
#: How often to try to make the table while others make it.
CREATE_TRIES = 5

#: The table under its usual name, for Alembic: one of the `target_metadata`.
metadata = MetaData()
token_table(metadata)


class SQLStore(TokenStore):
    """Keeps tokens in a table of PostgreSQL, MariaDB, MySQL or SQLite.

    The engine is the caller's and never closed here. A refresh keeps one connection for as long as it
    takes: give the store an engine of its own, whose pool has a connection for each refresh that may
    be under way at the same time. With fewer, refreshes wait for each other.

    A save is a transaction of its own. The lock of an account is the server's and dies with the
    connection that holds it: PostgreSQL's advisory locks, ``GET_LOCK`` of MariaDB and MySQL. When that
    connection is cut during a refresh, what was refreshed is saved on another one, unless somebody
    else has saved meanwhile. SQLite could only lock its whole file while TikTok is asked, so there it
    is a lock of the operating system on a file in the directory ``<database>.locks``; and a SQLite
    database in memory has none but those between its process's threads.

    Not behind a proxy that lends a connection for a transaction only (PgBouncer's ``pool_mode =
    transaction``), nor with several servers of a Galera cluster at once: their locks exclude nobody.

    No token is in any error or log record, not even with ``echo=True``. Whoever can read the database
    can read the tokens: see `tiktok_oauth_session.stores.encrypted`. A SQLite file is as readable as
    the process's umask lets it be.

    Args:
        engine: As `sqlalchemy.create_engine` makes it.
        table_name: The table. `create_tables` makes it, or a migration (`metadata`).

    Raises:
        TypeError: The engine is none, or an asynchronous one.
        ValueError: It is for another kind of database.
    """

    def __init__(self, engine: Engine, *, table_name: str = TABLE_NAME) -> None:
        if not isinstance(engine, Engine):
            raise TypeError(
                f"SQLStore needs an engine of sqlalchemy.create_engine, not {type(engine).__name__}."
            )
        #: The table and what it belongs to.
        self.metadata = MetaData()
        self.table: Table = token_table(self.metadata, table_name)
        self._database = databases.of(engine)
        self._locks = self._database.key_locks(table_name)
        self._engine = weakref.ref(engine)

    def __repr__(self) -> str:
        """Show where, and no password."""
        return f"{type(self).__name__}({self._database.where!r}, table_name={self.table.name!r})"

    def create_tables(self) -> None:
        """Make the table and its indexes, if they are not there.

        Raises:
            StoreError: They cannot be made, or a table of that name is there and is another one.
        """
        describe = functools.partial(difference, self.table)
        for tries_left in reversed(range(CREATE_TRIES)):
            try:
                self._run("make its table", functools.partial(create, self.table))
            except StoreError:
                # If there is a table now, somebody else is making it, and its indexes next.
                if not tries_left or self._run("describe its table", describe):
                    raise
            else:
                break
        if trouble := self._run("describe its table", describe):
            raise StoreError(trouble)

    # --- the contract ------------------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        """The engine and the table."""
        return self._engine, self.table.name

    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return the account's token.

        Raises:
            StoreError: The database cannot be read, or the row is damaged. It stays where it is, and stays
                an error, until a new login is saved.
        """
        key = AccountKey(*key)
        document = self._document(key)
        return None if document is None else opened(key, document)

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep the account's token.

        Raises:
            StoreConflict: Another token is stored.
            StoreError: It could not be written. A damaged row is overwritten.
        """
        key = AccountKey(*key)
        row = row_of(key, token)
        with self.lock(key):
            if replacing is None:
                self._put(key, row)
            else:
                self._swap(key, row, replacing)

    def delete(self, key: AccountKey) -> None:
        """Forget the account."""
        key = AccountKey(*key)
        statement = self.table.delete().where(self.table.c.account == account_of(key))
        with self.lock(key):
            self._run(f"delete account {key.open_id}", lambda connection: connection.execute(statement))

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude all other threads, processes and machines."""
        return required(self._held(AccountKey(*key), LOCK_TIMEOUT_S), AccountKey(*key))

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Exclude all others, unless somebody is in already."""
        return self._held(AccountKey(*key), timeout)

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts, damaged ones included."""
        account = self.table.c.account
        ours = [] if client_key is None else [self.table.c.client_key == storable(client_key)]
        page = self._page(account, where=ours)
        while page:
            # Again here: to MariaDB and MySQL, texts are the same whatever spaces they end with.
            yield from (key for key in map(key_of, page) if client_key in (None, key.client_key))
            page = self._page(account, where=[*ours, account > page[-1]["account"]])

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts that expire, soonest first. Reads no more of them than are asked for."""
        return self._due(self.table.c.expires_at, before)

    def refresh_expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts whose refresh token expires, soonest first. Reads as `expiring` does."""
        return self._due(self.table.c.refresh_expires_at, before)

    # --- locks -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _held(self, key: AccountKey, timeout: float) -> Iterator[bool]:
        deadline = time.monotonic() + timeout
        between_threads = self._locks.of(key)
        # Of all threads that wait here, one waits in the database.
        with between_threads.held(timeout=timeout) as held:
            if not held or between_threads.depth > 1:
                yield held
                return
            name = f"{self.table.name}:{account_of(key)}"
            left = max(deadline - time.monotonic(), 0.0)
            with self._database.locked(f"lock account {key.open_id}", name, left) as held_by_us:
                yield held_by_us

    # --- rows --------------------------------------------------------------------------------------

    def _document(self, key: AccountKey) -> str | None:
        document = type_coerce(self.table.c.document, Document())
        statement = select(document).where(self.table.c.account == account_of(key))
        return self._run(f"load account {key.open_id}", lambda connection: connection.scalar(statement))

    def _put(self, key: AccountKey, row: dict[str, Any]) -> None:
        doing = f"save account {key.open_id}"
        for _ in range(SAVE_TRIES):
            # Two transactions, whatever the engine's isolation level makes of one with two statements.
            if self._run(doing, functools.partial(self._updated, row)):
                return
            try:
                self._run(doing, functools.partial(self._insert, row))
            except RowRefused as error:
                # Somebody else may have been faster.
                refused = error
            else:
                return
        raise refused

    def _updated(self, row: dict[str, Any], connection: Connection, *, replacing: str | None = None) -> bool:
        table = self.table.c
        statement = update(self.table).where(table.account == row["account"])
        if replacing is not None:
            statement = statement.where(table.refresh_token_digest == digest(replacing))
        return connection.execute(statement.values(**row, version=table.version + 1)).rowcount > 0

    def _insert(self, row: dict[str, Any], connection: Connection) -> None:
        connection.execute(insert(self.table).values(**row, version=1))

    def _swap(self, key: AccountKey, row: dict[str, Any], replacing: str) -> None:
        tries = 0

        def swap(connection: Connection) -> bool:
            nonlocal tries
            tries += 1
            return self._updated(row, connection, replacing=replacing)

        if self._run(f"save account {key.open_id}", swap):
            return
        stored = self._document(key)
        if tries > 1 and stored == row["document"]:
            # The first try was committed, and its answer lost with the connection.
            return
        check_replacing(key, None if stored is None else TikTokToken(), replacing)

    def _due(self, column: Column[Any], before: float) -> Iterator[AccountKey]:
        account = self.table.c.account
        # Not all databases have an infinity.
        due = column < min(max(before, -sys.float_info.max), sys.float_info.max)
        page = self._page(column, account, where=[due])
        while page:
            yield from map(key_of, page)
            page = self._page(column, account, where=[due, self._after(column, page[-1])])

    def _after(self, column: Column[Any], last: RowMapping) -> ColumnElement[bool]:
        account = self.table.c.account
        moment, name = last[column.name], last["account"]
        if self._database.compares_rows_by_index:
            return tuple_(column, account) > tuple_(literal(moment), literal(name))
        return or_(column > moment, and_(column == moment, account > name))

    def _page(self, *order: Column[Any], where: list[ColumnElement[bool]]) -> Sequence[RowMapping]:
        columns = dict.fromkeys([*order, self.table.c.account, self.table.c.client_key, self.table.c.open_id])
        statement = select(*columns).where(*where).order_by(*order).limit(PAGE_LENGTH)
        return self._run("list accounts", lambda connection: connection.execute(statement).mappings().all())

    # --- the table ---------------------------------------------------------------------------------

    def _run(self, doing: str, work: Callable[[Connection], _T]) -> _T:
        return self._database.run(doing, work, explain=self._explanation)

    def _explanation(self) -> str | None:
        """Look for what is wrong with the table."""
        with contextlib.suppress(StoreError):
            return self._database.run("describe its table", functools.partial(difference, self.table))
        return None
