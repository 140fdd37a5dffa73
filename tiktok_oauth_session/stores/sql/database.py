"""A database as `SQLStore` needs it: transactions, accounts' locks, errors of ours."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, Pool
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError as PoolTimeoutError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from tiktok_oauth_session._process import PerProcess
from tiktok_oauth_session.stores import KeyLocks
from tiktok_oauth_session.stores.private_directories import file_name
from tiktok_oauth_session.stores.private_files import lock_file
from tiktok_oauth_session.stores.sql.errors import NOT_PASSING, Kind, Trouble
from tiktok_oauth_session.stores.sql.statements import CLOCKS

log: logging.Logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: How often something is done anew that the database has undone.
UNDONE_TRIES = 3
#: Seconds from one look for a free connection to the next.
POOL_PAUSE_S = 0.05
#: What the name of the directory with a SQLite database's lock files has after the database's own.
LOCKS_SUFFIX = ".locks"


class Database:
    """An engine, for all stores that were made with it.

    Nobody keeps a connection for longer than a transaction of a statement or two takes.

    Args:
        engine: The caller's.

    Raises:
        ValueError: No lock is known for databases of its kind.
    """

    def __init__(self, engine: Engine) -> None:
        #: The name of SQLAlchemy's dialect.
        self.dialect: str = engine.dialect.name
        if self.dialect not in CLOCKS and self.dialect != "sqlite":
            known = ", ".join(sorted({*CLOCKS, "sqlite"}))
            raise ValueError(f"SQLStore has no lock for {self.dialect}; it has for {known}.")
        has_one_connection = isinstance(engine.pool, (StaticPool, SingletonThreadPool))
        #: Whether every thread may use it.
        self.any_thread: bool = not (has_one_connection or _is_in_memory(engine))
        # Where one message says it, so that a statement is one round trip, and no connection is another
        # transaction's as well.
        commits_itself = self.dialect == "postgresql" and not has_one_connection
        options = {"isolation_level": "AUTOCOMMIT"} if commits_itself else {}
        # The same pool as the caller's; but tokens are parameters, which SQLAlchemy shows in logs and errors.
        self._engine = engine.execution_options(**options)
        self._engine.hide_parameters = True
        self._callers_engine = engine
        self._key_locks: dict[str, KeyLocks] = {}
        if self.dialect == "sqlite" and engine.url.database:
            _tell_if_open_to_everybody(engine.url.database)
        self._process = PerProcess(functools.partial(_InProcess, self._engine))
        # Now: what the pool holds later belongs to this process.
        _ = self._process.value

    def key_locks(self, table_name: str) -> KeyLocks:
        """Return the locks between threads, the same ones to all stores on a table."""
        with _guard.value:
            return self._key_locks.setdefault(table_name, KeyLocks())

    @property
    def compares_rows_by_index(self) -> bool:
        """Whether ``(a, b) > (1, 2)`` is looked up in an index; MariaDB and MySQL need it spelt out."""
        return self.dialect not in ("mysql", "mariadb")

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
        deadline: float = 0.0,
        explain: Callable[[], str | None] = lambda: None,
    ) -> _T:
        """Do some work in a transaction of its own; once this returns, it is committed.

        If the connection turns out to be lost, it is done once more on a new one. So it has to be
        something that can be done twice.

        Args:
            doing: What it is, for the error.
            work: What to do.
            deadline: Until when to wait for the pool, whatever its own timeout (`time.monotonic`).
            explain: Looks for a better explanation than the database's.

        Raises:
            StoreError: The database did not do it.
        """
        tries = {Kind.LOST: 1, Kind.UNDONE: UNDONE_TRIES}
        while True:
            try:
                return self._transaction(work, deadline)
            except SQLAlchemyError as error:
                trouble = Trouble.of(error)
            # Out here, where SQLAlchemy's error is not attached to ours: it has the parameters.
            if not tries.get(trouble.kind):
                raise trouble.error(doing, self.where, explain() if trouble.kind in NOT_PASSING else None)
            tries[trouble.kind] -= 1

    def _transaction(self, work: Callable[[Connection], _T], deadline: float) -> _T:
        process = self._process.value
        with process.turn, self._lent(process, deadline) as connection, connection.begin():
            return work(connection)

    @contextlib.contextmanager
    def _lent(self, process: _InProcess, deadline: float) -> Iterator[Connection]:
        """Lend a connection from the pool, and let it connect anew next time if it turns out to be lost."""
        connection = self._from_pool(deadline)
        process.in_use.add(connection)
        try:
            yield connection
        except BaseException as error:
            # Where it was cut short, nobody knows what it would answer next.
            is_lost = isinstance(error, DBAPIError) and Trouble.of(error).kind is Kind.LOST
            if is_lost or not isinstance(error, SQLAlchemyError):
                connection.invalidate()
            raise
        finally:
            if process is self._process.value:
                # Else this is a forked child.
                process.in_use.discard(connection)
                connection.close()

    def _from_pool(self, deadline: float) -> Connection:
        while True:
            try:
                return self._engine.connect()
            except PoolTimeoutError:
                if time.monotonic() >= deadline:
                    raise
            # The pool may be one that does not wait.
            time.sleep(POOL_PAUSE_S)

    # --- locks of SQLite ---------------------------------------------------------------------------

    def file_locked(self, name: str, timeout: float) -> AbstractContextManager[bool]:
        """Hold the lock of a name against everybody who uses this SQLite database.

        Args:
            name: Which lock.
            timeout: Seconds to wait; 0 does not.

        Returns:
            A context manager that yields whether the lock could be had.

        Raises:
            StoreError: The database, or the directory with its lock files, failed.
        """
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


class _InProcess:
    """What one process has of a database."""

    def __init__(self, engine: Engine) -> None:
        _own_pool(engine)
        #: Not to be closed by a child that is forked meanwhile.
        self.in_use: set[Connection] = set()
        # Threads that share a connection share its transaction.
        shares = isinstance(engine.pool, (StaticPool, SingletonThreadPool))
        self.turn: AbstractContextManager[object] = threading.RLock() if shares else contextlib.nullcontext()


class _Databases:
    """The databases of this process, by engine, for as long as a store uses them."""

    def __init__(self) -> None:
        self._by_engine: weakref.WeakValueDictionary[int, Database] = weakref.WeakValueDictionary()

    def of(self, engine: Engine) -> Database:
        """Return an engine's database, the same one to everybody."""
        with _guard.value:
            # By id, which no other engine can have while the database lives and holds this one.
            found = self._by_engine.get(id(engine))
            if found is None:
                found = self._by_engine[id(engine)] = Database(engine)
            return found


databases: _Databases = _Databases()

# Of this module's registries.
_guard = PerProcess(threading.RLock)
# The process whose connections a pool holds.
_owners: weakref.WeakKeyDictionary[Pool, int] = weakref.WeakKeyDictionary()
# Pools that a forked child inherited. Their connections are the parent's: nothing here may ever close them.
_inherited: list[Pool] = []


def _own_pool(engine: Engine) -> None:
    """In a forked child: let the engine have a pool of connections that are not its parent's as well."""
    with _guard.value:
        pool, pid = engine.pool, os.getpid()
        # A database in memory is its connection, and a child has a copy of it.
        if _owners.setdefault(pool, pid) != pid and not _is_in_memory(engine):
            _inherited.append(pool)
            engine.dispose(close=False)
            _owners[engine.pool] = pid


# The SQLite files that were told of.
_told: set[str] = set()


def _tell_if_open_to_everybody(file: str) -> None:
    """Warn, once, of a SQLite file that everybody may read or change. A group may share it."""
    # What is no file, or none yet, SQLite will say.
    with contextlib.suppress(OSError, ValueError):
        # On Windows, who may is what the file's access control list says.
        if hasattr(os, "geteuid") and Path(file).stat().st_mode & stat.S_IRWXO and file not in _told:
            _told.add(file)
            log.warning(
                "%s and the tokens in it are open to every user of this machine. Run: chmod o-rwx %s",
                file,
                file,
            )


def _is_in_memory(engine: Engine) -> bool:
    """Tell whether a SQLite database is gone with its connections."""
    database = engine.url.database or ":memory:"
    in_memory = database.startswith((":memory:", "file::memory:")) or engine.url.query.get("mode") == "memory"
    return engine.dialect.name == "sqlite" and in_memory
