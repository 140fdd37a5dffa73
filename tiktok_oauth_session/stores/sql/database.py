"""A database as `SQLStore` needs it: transactions, locks that die with their holder, errors of ours."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from tiktok_oauth_session._process import after_fork_in_child
from tiktok_oauth_session.stores import KeyLocks
from tiktok_oauth_session.stores.private_directories import file_name
from tiktok_oauth_session.stores.private_files import lock_file
from tiktok_oauth_session.stores.sql.errors import NOT_PASSING, Kind, Trouble
from tiktok_oauth_session.stores.sql.locks import LOCKS, Lock, NamedLock

log = logging.getLogger(__name__)

_T = TypeVar("_T")

#: How often something is done anew that the database has undone.
UNDONE_TRIES = 3
#: What the name of the directory with a SQLite database's lock files has after the database's own.
LOCKS_SUFFIX = ".locks"

# The connections that a forked child inherited. They are the parent's: nothing here may ever close them.
_inherited: list[object] = []


class Database:
    """An engine, for all stores that were made with it.

    A thread that holds a lock does everything on the connection that the lock lives on. It never
    needs a second one, so whoever has one can finish, however small the pool is.

    Args:
        engine: The caller's.

    Raises:
        ValueError: No lock is known for databases of its kind.
    """

    def __init__(self, engine: Engine) -> None:
        self._lock_type = LOCKS.get(engine.dialect.name)
        if self._lock_type is None and engine.dialect.name != "sqlite":
            known = ", ".join(sorted({*LOCKS, "sqlite"}))
            raise ValueError(f"SQLStore has no lock for {engine.dialect.name}; it has for {known}.")
        # The same pool as the caller's; but tokens are parameters, which SQLAlchemy shows in logs and errors.
        self._engine = engine.execution_options()
        self._engine.hide_parameters = True
        self._callers_engine = engine
        self._one_connection = isinstance(engine.pool, (StaticPool, SingletonThreadPool))
        self._start()
        after_fork_in_child(self, Database._forget)

    def _start(self) -> None:
        self._guard = threading.Lock()
        self._key_locks: dict[str, KeyLocks] = {}
        self._thread = threading.local()
        self._in_use: set[Connection] = set()
        # Threads that share a connection share its transaction.
        self._turn: AbstractContextManager[object] = (
            threading.RLock() if self._one_connection else contextlib.nullcontext()
        )

    def _forget(self) -> None:
        _inherited.append((self._thread, self._in_use, self._engine.pool))
        if not self._one_connection:
            self._engine.dispose(close=False)
        self._start()

    def key_locks(self, table_name: str) -> KeyLocks:
        """Return the locks between threads, the same ones to all stores on a table."""
        with self._guard:
            return self._key_locks.setdefault(table_name, KeyLocks())

    @property
    def compares_rows_by_index(self) -> bool:
        """Whether ``(a, b) > (1, 2)`` is looked up in an index; MariaDB and MySQL need it spelt out."""
        return self._lock_type is not NamedLock

    @property
    def where(self) -> str:
        """The database's address, without password and options."""
        return self._engine.url.set(query={}).render_as_string(hide_password=True)

    # --- transactions ------------------------------------------------------------------------------

    def run(
        self,
        doing: str,
        work: Callable[[Connection], _T],
        *,
        explain: Callable[[], str | None] = lambda: None,
    ) -> _T:
        """Do some work in a transaction of its own; once this returns, it is committed.

        If the connection turns out to be lost, it is done once more on a new one. So it has to be
        something that can be done twice.

        Args:
            doing: What it is, for the error.
            work: What to do.
            explain: Looks for a better explanation than the database's.

        Raises:
            StoreError: The database did not do it.
        """
        return self._patiently(doing, lambda: self._transaction(work), explain)

    def _transaction(self, work: Callable[[Connection], _T]) -> _T:
        with self._turn, self._connection() as connection, _given_up_if_lost(connection), connection.begin():
            return work(connection)

    def _patiently(
        self, doing: str, attempt: Callable[[], _T], explain: Callable[[], str | None] = lambda: None
    ) -> _T:
        tries = {Kind.LOST: 1, Kind.UNDONE: UNDONE_TRIES}
        while True:
            try:
                return attempt()
            except SQLAlchemyError as error:
                trouble = Trouble.of(error)
            # Out here, where SQLAlchemy's error is not attached to ours: it has the parameters.
            if not tries.get(trouble.kind):
                raise trouble.error(doing, self.where, explain() if trouble.kind in NOT_PASSING else None)
            tries[trouble.kind] -= 1

    @contextlib.contextmanager
    def _connection(self, deadline: float = 0.0) -> Iterator[Connection]:
        """Lend the connection of the lock that this thread holds, or else one from the pool.

        Args:
            deadline: Until when to wait for the pool, whatever its own timeout (`time.monotonic`).
        """
        mine: Connection | None = getattr(self._thread, "connection", None)
        if mine is not None:
            yield mine
            return
        in_use, connection = self._in_use, self._from_pool(deadline)
        in_use.add(connection)
        try:
            yield connection
        finally:
            if in_use is self._in_use:
                in_use.discard(connection)
                connection.close()

    def _from_pool(self, deadline: float) -> Connection:
        while True:
            try:
                return self._engine.connect()
            except PoolTimeoutError:
                if time.monotonic() >= deadline:
                    raise

    # --- locks -------------------------------------------------------------------------------------

    def locked(self, doing: str, name: str, timeout: float) -> AbstractContextManager[bool]:
        """Hold the lock of a name against everybody who uses this database.

        Args:
            doing: What it is for, for the error.
            name: Which lock.
            timeout: Seconds to wait; 0 does not.

        Returns:
            A context manager that yields whether the lock could be had.

        Raises:
            StoreError: The database, or the directory with its lock files, failed.
        """
        if self._lock_type is not None:
            return self._locked(doing, self._lock_type(name), timeout)
        if self._lock_files is None:
            # It is this process's alone, whose threads are excluded already.
            return contextlib.nullcontext(enter_result=True)
        return lock_file(self._lock_files / f"{file_name(name)}.lock", timeout, root=self._lock_files)

    @functools.cached_property
    def _lock_files(self) -> Path | None:
        """The directory with a SQLite database's lock files; None if it is in memory."""
        rows = self.run("say where it is", lambda c: c.exec_driver_sql("PRAGMA database_list").all())
        file = next((file for _, schema, file in rows if schema == "main"), "")
        return Path(os.path.realpath(file) + LOCKS_SUFFIX) if file else None

    @contextlib.contextmanager
    def _locked(self, doing: str, lock: Lock, timeout: float) -> Iterator[bool]:
        deadline = time.monotonic() + timeout
        held = self._patiently(doing, lambda: self._acquired(lock, deadline))
        if held is None:
            yield False
            return
        with held:
            yield True

    def _acquired(self, lock: Lock, deadline: float) -> ExitStack | None:
        """Take a lock; return what frees it, and gives its connection back."""
        with ExitStack() as held:
            connection = held.enter_context(self._kept(deadline))
            left = max(deadline - time.monotonic(), 0.0)
            with _given_up_if_lost(connection):
                acquired = lock.acquire(connection, left)
            if not acquired:
                return None
            held.callback(self._release, lock, connection, _wire(connection), self._in_use)
            return held.pop_all()

    @contextlib.contextmanager
    def _kept(self, deadline: float) -> Iterator[Connection]:
        """Let this thread do everything on one connection, until its first lock ends."""
        thread = self._thread
        if getattr(thread, "connection", None) is not None:
            yield thread.connection
            return
        with self._connection(deadline) as connection:
            thread.connection = connection
            try:
                yield connection
            finally:
                thread.connection = None

    def _release(self, lock: Lock, connection: Connection, wire: object, in_use: set[Connection]) -> None:
        if in_use is not self._in_use:
            # In a forked child. The lock is its parent's.
            return
        if connection.invalidated or _wire(connection) is not wire:
            log.warning("the connection that held an account's lock was cut, and the lock was lost with it")
            return
        try:
            lock.release(connection)
        except BaseException as error:
            # The lock ends with the connection, and must not come back with it from the pool.
            connection.invalidate()
            if not isinstance(error, SQLAlchemyError):
                raise


class _Databases:
    """The databases of this process, by engine, for as long as a store uses them."""

    def __init__(self) -> None:
        self._by_engine: weakref.WeakValueDictionary[int, Database] = weakref.WeakValueDictionary()
        self._forget()
        after_fork_in_child(self, _Databases._forget)

    def _forget(self) -> None:
        self._guard = threading.Lock()

    def of(self, engine: Engine) -> Database:
        """Return an engine's database, the same one to everybody."""
        with self._guard:
            # By id, which no other engine can have while the database lives and holds this one.
            found = self._by_engine.get(id(engine))
            if found is None:
                found = self._by_engine[id(engine)] = Database(engine)
            return found


databases = _Databases()


@contextlib.contextmanager
def _given_up_if_lost(connection: Connection) -> Iterator[None]:
    """Make a connection connect anew when it is next used, if what it is used for shows that it is lost."""
    try:
        yield
    except DBAPIError as error:
        if Trouble.of(error).kind is Kind.LOST:
            connection.invalidate()
        raise
    except SQLAlchemyError:
        raise
    except BaseException:
        # Cut short: nobody knows what it would answer next.
        connection.invalidate()
        raise


def _wire(connection: Connection) -> object:
    """Return what a lock really lives on: a `Connection` survives it."""
    return connection.connection.dbapi_connection
