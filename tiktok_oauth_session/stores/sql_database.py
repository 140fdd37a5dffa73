"""A database as `SQLStore` needs it: transactions that last, locks that die with their connection, our errors."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from tiktok_oauth_session.errors import StoreError
from tiktok_oauth_session.forks import after_fork_in_child
from tiktok_oauth_session.stores import KeyLocks
from tiktok_oauth_session.stores.private_files import file_name, lock_file
from tiktok_oauth_session.stores.sql_locks import LOCKS, Lock
from tiktok_oauth_session.stores.sql_trouble import Kind, Trouble

log = logging.getLogger(__name__)

_T = TypeVar("_T")

#: How often a transaction is begun anew after the database has undone it.
UNDONE_TRIES = 3
#: What is appended to a SQLite file's name to get that of the directory with its lock files.
LOCKS_SUFFIX = ".locks"

# What a forked child inherited of connections. They are the parent's: nothing here may ever close them.
_inherited: list[object] = []


class Database:
    """An engine, for all stores that were made with it.

    A thread that holds a lock does everything on the connection that the lock lives on, so that the
    pool need never give it a second one: however small it is, whoever has a connection can finish.

    Args:
        engine: The caller's.

    Raises:
        ValueError: No lock is known for databases of its kind.
    """

    def __init__(self, engine: Engine) -> None:
        options: dict[str, Any] = {}
        if engine.dialect.name == "postgresql":
            # An engine with AUTOCOMMIT would forget a lock's timeout, which is the transaction's.
            options["isolation_level"] = "READ COMMITTED"
        # The same pool; but tokens are parameters, and parameters are shown in logs and errors.
        self.engine = engine.execution_options(**options)
        self.engine.hide_parameters = True
        self.lock_kind: type[Lock] | None = LOCKS.get(engine.dialect.name)
        if self.lock_kind is None and engine.dialect.name != "sqlite":
            known = ", ".join(sorted({*LOCKS, "sqlite"}))
            raise ValueError(f"SQLStore has no lock for {engine.dialect.name}; it has for {known}.")
        self._start()
        after_fork_in_child(self, Database._forget)

    def _start(self) -> None:
        self._thread = threading.local()
        self._in_use: set[Connection] = set()
        self._guard = threading.Lock()
        self._key_locks: dict[str, KeyLocks] = {}
        # A SQLite database in memory has one connection for all threads, and one transaction.
        self._alone: AbstractContextManager[object] = contextlib.nullcontext()
        if isinstance(self.engine.pool, (StaticPool, SingletonThreadPool)):
            self._alone = threading.RLock()

    def _forget(self) -> None:
        _inherited.append((self._in_use, self._thread, self.engine.pool))
        if not isinstance(self.engine.pool, (StaticPool, SingletonThreadPool)):
            self.engine.dispose(close=False)
        self._start()

    def key_locks(self, table_name: str) -> KeyLocks:
        """Return the locks between threads, the same ones to all stores on a table."""
        with self._guard:
            return self._key_locks.setdefault(table_name, KeyLocks())

    @functools.cached_property
    def lock_files(self) -> Path | None:
        """The directory with a SQLite database's lock files; None if it is in memory.

        Raises:
            StoreError: SQLite could not say where it is.
        """
        rows = self.run("say where it is", lambda connection: list(connection.exec_driver_sql(_WHERE)))
        file = next((row[2] for row in rows if row[1] == "main"), "")
        return Path(os.path.realpath(file) + LOCKS_SUFFIX) if file else None

    # --- transactions ------------------------------------------------------------------------------

    def run(
        self,
        doing: str,
        work: Callable[[Connection], _T],
        *,
        explain: Callable[[], str | None] = lambda: None,
    ) -> _T:
        """Do some work in a transaction of its own; once this returns, it is committed.

        If the connection turns out to be lost, it is done once more on a new one; so it has to be such
        that doing it twice does no harm.

        Args:
            doing: What could not be done, for the error.
            work: What to do.
            explain: Looks for a better explanation than the database's.

        Raises:
            StoreError: The database did not do it.
        """
        tries = {Kind.LOST: 1, Kind.UNDONE: UNDONE_TRIES}
        while True:
            try:
                return self._transaction(work)
            except SQLAlchemyError as error:
                trouble = Trouble.of(error)
            # Out here, where no error of SQLAlchemy's is attached to ours: it has the parameters.
            if not tries.get(trouble.kind):
                raise trouble.error(doing, self.where, explain() if trouble.kind is Kind.OTHER else None)
            tries[trouble.kind] -= 1

    def _transaction(self, work: Callable[[Connection], _T]) -> _T:
        with self._alone, self._connection() as connection:
            try:
                with connection.begin():
                    return work(connection)
            except DBAPIError as error:
                if Trouble.of(error).kind is Kind.LOST:
                    # No-op if SQLAlchemy saw it, too. The next `begin` makes a new one.
                    connection.invalidate()
                raise

    @property
    def where(self) -> str:
        """The database's address, without password and options."""
        return self.engine.url.set(query={}).render_as_string(hide_password=True)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Lend the connection of the lock that this thread holds, or else one from the pool."""
        mine: Connection | None = getattr(self._thread, "connection", None)
        if mine is not None:
            yield mine
            return
        in_use = self._in_use
        connection = self.engine.connect()
        in_use.add(connection)
        try:
            yield connection
        finally:
            if in_use is self._in_use:
                in_use.discard(connection)
                connection.close()

    # --- locks -------------------------------------------------------------------------------------

    def locked(self, name: str, timeout: float) -> AbstractContextManager[bool]:
        """Hold the lock of a name against everybody who uses this database.

        Args:
            name: Which lock.
            timeout: Seconds to wait; 0 does not.

        Returns:
            A context manager that yields whether the lock could be had.
        """
        if self.lock_kind is not None:
            return self._locked_in_database(self.lock_kind(name), timeout)
        if self.lock_files is None:
            # One process, and its threads are excluded already.
            return contextlib.nullcontext(enter_result=True)
        path = self.lock_files / f"{file_name(name)}.lock"
        return lock_file(path, timeout, root=path.parent)

    @contextlib.contextmanager
    def _locked_in_database(self, lock: Lock, timeout: float) -> Iterator[bool]:
        with contextlib.ExitStack() as held:
            if not self._acquired(lock, timeout, held):
                held.close()
                yield False
                return
            yield True

    def _acquired(self, lock: Lock, timeout: float, held: contextlib.ExitStack) -> bool:
        """Take a lock on this thread's connection; what gives both back goes onto `held`."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            with contextlib.ExitStack() as undo:
                try:
                    connection = undo.enter_context(self._kept())
                except PoolTimeoutError:
                    pass
    # placeholder
