"""Tokens in a SQL database, for all machines that reach it."""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

try:
    from sqlalchemy import (
        Column,
        Connection,
        Double,  # noqa: F401 - SQLAlchemy 1 has none
        Engine,
        Insert,
        MetaData,
        RowMapping,
        Select,
        Table,
        Update,
    )
except ImportError as _missing:
    raise ImportError("SQLStore needs SQLAlchemy 2: pip install tiktok-oauth-session[sql]") from _missing

from tiktok_oauth_session.errors import StoreConflict, StoreError
from tiktok_oauth_session.stores import LOCK_TIMEOUT_S, TokenStore, check_replacing, required
from tiktok_oauth_session.stores.sql import listing
from tiktok_oauth_session.stores.sql.database import databases
from tiktok_oauth_session.stores.sql.errors import RowRefused
from tiktok_oauth_session.stores.sql.leases import leases_of
from tiktok_oauth_session.stores.sql.statements import token_statements
from tiktok_oauth_session.stores.sql.table import (
    TABLE_NAME,
    account_of,
    create,
    difference,
    digest,
    is_there,
    key_of,
    opened,
    row_of,
    shared_table,
    storable,
    token_table,
)
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

__all__ = ["SQLStore", "metadata", "token_table"]

_T = TypeVar("_T")

#: How often to try both to change a row and to add it, while others add and delete it.
SAVE_TRIES = 3
#: How often to try to make the table while others make it.
CREATE_TRIES = 5

#: The tables under their usual names, for Alembic, as one of the `target_metadata`.
metadata: MetaData = MetaData()
token_table(metadata)


class SQLStore(TokenStore):
    """Keeps tokens in a table of PostgreSQL, MariaDB, MySQL or SQLite.

    The engine is the caller's and never closed here. It may be the one that the application itself uses:
    nobody keeps a connection, a transaction or anything of a session between two statements, least of all
    while TikTok is asked. So a proxy that lends a connection for one transaction will do as well
    (PgBouncer's ``pool_mode = transaction``, where psycopg needs ``prepare_threshold=None``).

    A save is a transaction of its own. The lock of an account is a lease: a row in the table
    ``<table_name>_locks`` that says who has it and until when, by the database's clock. Its holder renews
    it every 5 s, and it ends by itself 18 s after the holder was killed. It survives lost connections and
    a restart of the database. A holder that is held up for longer than that is told so by `StoreConflict`
    when it notes that a refresh begins, before anything is spent; and if it is held up later, by the
    compare-and-swap at its save.

    SQLite could only lock its whole file while TikTok is asked, so there it is a lock of the operating
    system on a file in the directory ``<database>.locks``, free as soon as its holder dies; and a SQLite
    database in memory has none but those between its process's threads.

    No token is in any error or log record, not even with ``echo=True``. Whoever can read the database
    can read the tokens: see `tiktok_oauth_session.stores.encrypted`. A SQLite file is as readable as
    the process's umask lets it be; of one that everybody may read or change a warning is logged, once.

    Args:
        engine: As `sqlalchemy.create_engine` makes it.
        table_name: The table of tokens. `create_tables` makes it and that of the leases, or a migration
            (`metadata`) does.

    Raises:
        TypeError: The engine is none, or an asynchronous one.
        ValueError: It is for another kind of database.
    """

    def __init__(self, engine: Engine, *, table_name: str = TABLE_NAME) -> None:
        if not isinstance(engine, Engine):
            raise TypeError(
                f"SQLStore needs an engine of sqlalchemy.create_engine, not {type(engine).__name__}."
            )
        #: The table of tokens, and what it belongs to.
        self.table: Table = shared_table(table_name)
        self.metadata: MetaData = self.table.metadata
        self._statements = token_statements(self.table)
        self._database = databases.of(engine)
        self._locks = self._database.key_locks(table_name)
        self._leases = leases_of(self._database, self.table)
        self._engine = weakref.ref(engine)
        self.any_thread: bool = self._database.any_thread
        self.lock_is_certain: bool = self._leases is None

    def __repr__(self) -> str:
        """Show where, and no password."""
        return f"{type(self).__name__}({self._database.where!r}, table_name={self.table.name!r})"

    def create_tables(self) -> None:
        """Make the tables and their indexes, if they are not there.

        Raises:
            StoreError: They cannot be made, or a table of such a name is there and is another one.
        """
        begun = functools.partial(is_there, self.table)
        for tries_left in reversed(range(CREATE_TRIES)):
            try:
                self._run("make its tables", functools.partial(create, self.table))
            except StoreError:
                # If the first is there now, others are making them: the other one next, and the indexes.
                if not tries_left or not self._run("look for its table", begun):
                    raise
            else:
                break
        if trouble := self._run("describe its tables", functools.partial(difference, self.table)):
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
        """Keep the account's token. Waits for nobody's lock, but for one case.

        With `replacing` the token's own refresh token it is a note about that token, which needs the
        account's lock, and takes it for that long unless the calling thread holds it. Whoever does, and was
        held up, learns here that it is somebody else's by now.

        Raises:
            StoreConflict: Another token is stored, or the lock is lost.
            StoreError: It could not be written. A damaged row is overwritten.
        """
        key = AccountKey(*key)
        row = row_of(key, token)
        if replacing is None:
            self._put(key, row)
        elif row["refresh_token_digest"] != digest(replacing):
            self._swap(key, row, replacing)
        else:
            with self.lock(key):
                self._mark(key, row, replacing)

    def delete(self, key: AccountKey) -> None:
        """Forget the account, and its lease with it."""
        key = AccountKey(*key)
        doing, parameters = f"delete account {key.open_id}", {"of": account_of(key)}
        with self.lock(key):
            self._run(doing, lambda c: c.execute(self._statements.delete, parameters), key=key)
            if self._leases and (lease := self._leases.of(parameters["of"])):
                lease.is_obsolete = True

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude all other threads, processes and machines."""
        return required(self._held(AccountKey(*key), LOCK_TIMEOUT_S), AccountKey(*key))

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Exclude all others, unless somebody is in already."""
        return self._held(AccountKey(*key), timeout)

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts, damaged ones included."""
        ours = [] if client_key is None else [self.table.c.client_key == storable(client_key)]
        keys = map(key_of, listing.rows(self._fetch, self.table, ours))
        # Again here: to MariaDB and MySQL, texts are the same whatever spaces they end with.
        return (key for key in keys if client_key in (None, key.client_key))

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts that expire, soonest first. Reads no more of them than are asked for."""
        return self._due(self.table.c.expires_at, before)

    def refresh_expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts whose refresh token expires, soonest first. Reads as `expiring` does."""
        return self._due(self.table.c.refresh_expires_at, before)

    def require_writable(self, client_key: str) -> None:
        """Find out whether a row could be written.

        Raises:
            StoreError: The tables are not there, may not be written, or the database cannot be reached.
        """
        # No account's digest is empty.
        row = {**row_of(AccountKey(client_key, ""), TikTokToken()), "of": ""}
        self._run("write accounts", lambda connection: connection.execute(self._statements.put, row))

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
            with self._held_by_process(key, max(deadline - time.monotonic(), 0.0)) as held_by_us:
                yield held_by_us

    def _held_by_process(self, key: AccountKey, timeout: float) -> AbstractContextManager[bool]:
        account = account_of(key)
        if self._leases is None:
            return self._database.file_locked(f"{self.table.name}:{account}", timeout)
        doing = f"lock account {key.open_id}"
        return self._leases.held(doing, account, timeout, explain=self._explanation)

    # --- rows --------------------------------------------------------------------------------------

    def _document(self, key: AccountKey) -> str | None:
        account = account_of(key)
        loaded = self._leases.loaded(account) if self._leases else ()
        if loaded:
            return loaded[0]
        doing, parameters = f"load account {key.open_id}", {"of": account}
        document: str | None = self._run(
            doing, lambda c: c.scalar(self._statements.load, parameters), key=key
        )
        return document

    def _write(self, key: AccountKey, statement: Update | Insert, row: dict[str, Any]) -> int:
        """Write a row; return how many it was."""
        doing, parameters = f"save account {key.open_id}", {**row, "of": row["account"]}
        return self._run(doing, lambda c: c.execute(statement, parameters).rowcount, key=key)

    def _put(self, key: AccountKey, row: dict[str, Any]) -> None:
        for _ in range(SAVE_TRIES):
            # Two transactions, whatever the engine's isolation level makes of one with two statements.
            if self._write(key, self._statements.put, row):
                return
            try:
                self._write(key, self._statements.add, row)
            except RowRefused as error:
                # Somebody else may have been faster.
                refused = error
            else:
                return
        raise refused

    def _swap(self, key: AccountKey, row: dict[str, Any], replacing: str) -> None:
        parameters = {**row, "of": row["account"], "spent": digest(replacing)}
        tries = 0

        def swap(connection: Connection) -> int:
            nonlocal tries
            tries += 1
            return connection.execute(self._statements.swap, parameters).rowcount

        if self._run(f"save account {key.open_id}", swap, key=key):
            return
        stored = self._document(key)
        if tries > 1 and stored == row["document"]:
            # The first try was committed, and its answer lost with the connection.
            return
        check_replacing(key, None if stored is None else TikTokToken(), replacing)

    def _mark(self, key: AccountKey, row: dict[str, Any], replacing: str) -> None:
        lease = self._leases.of(row["account"]) if self._leases else None
        if self._leases is None or lease is None:
            self._swap(key, row, replacing)
            return
        row = {**row, "spent": digest(replacing), "me": lease.holder}
        if self._leases.is_renewed(lease) and self._write(key, self._leases.statements.mark, row):
            # The statement, too, may have been blocked until the lease was over.
            if not lease.is_over:
                return
        else:
            stored = self._document(key)
            check_replacing(key, None if stored is None else opened(key, stored), replacing)
        raise StoreConflict(
            f"The lock of account {key.open_id} was lost: this process was held up for longer than it lasts."
        )

    def _due(self, column: Column[Any], before: float) -> Iterator[AccountKey]:
        by_index = self._database.compares_rows_by_index
        due = listing.due_rows(self._fetch, self.table, column, before, compares_rows_by_index=by_index)
        return map(key_of, due)

    def _fetch(self, query: Select[Any]) -> Sequence[RowMapping]:
        return self._run("list accounts", lambda connection: connection.execute(query).mappings().all())

    # --- the tables --------------------------------------------------------------------------------

    def _run(self, doing: str, work: Callable[[Connection], _T], *, key: AccountKey | None = None) -> _T:
        """Do something in a transaction.

        Args:
            doing: What it is, for the error.
            work: What to do.
            key: The account that it is about. Whoever holds its lock waits for the pool as long as for a
                lock, since what they have to save may be the only copy.
        """
        deadline = 0.0
        if key is not None:
            if self.is_locked_here(key):
                deadline = time.monotonic() + LOCK_TIMEOUT_S
            if self._leases and (lease := self._leases.of(account_of(key))):
                # It may be changed now.
                lease.loaded = ()
        return self._database.run(doing, work, deadline=deadline, explain=self._explanation)

    def _explanation(self) -> str | None:
        """Look for what is wrong with the tables."""
        with contextlib.suppress(StoreError):
            return self._database.run("describe its tables", functools.partial(difference, self.table))
        return None
