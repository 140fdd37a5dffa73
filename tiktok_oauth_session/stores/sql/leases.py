"""The lock of an account as a lease: a row that says who holds it, and until when by the database's clock."""

from __future__ import annotations

import contextlib
import enum
import functools
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator

from sqlalchemy import Connection, Table

from tiktok_oauth_session._process import PerProcess
from tiktok_oauth_session.errors import StoreError
from tiktok_oauth_session.stores.sql.database import Database
from tiktok_oauth_session.stores.sql.errors import RowRefused
from tiktok_oauth_session.stores.sql.keeper import LOST, Keeper, Lease
from tiktok_oauth_session.stores.sql.statements import CLOCKS, LeaseStatements, lease_statements

log: logging.Logger = logging.getLogger(__name__)

#: Seconds from one look at a lease that another process holds to the next: at first, and at most.
POLL_S = (0.02, 0.25)
#: Seconds for which what was loaded along with a lease is good for a load that follows at once.
LOADED_S = 0.1

# Not the module's: a child that is forked in C would go on with the numbers of its parent.
_random = random.SystemRandom()


class Found(enum.Enum):
    """What a try to take a lease found."""

    FREE = "it is ours now"
    HELD = "somebody else has it"
    ABSENT = "nobody ever had it"


class Leases:
    """The leases of one table's accounts, for all stores on it that have one engine.

    Args:
        database: Where they are.
        tokens: The table of tokens that they belong to.
    """

    def __init__(self, database: Database, tokens: Table) -> None:
        self._database = database
        #: What is said about them.
        self.statements: LeaseStatements = lease_statements(tokens, database.dialect)
        self._loads_along = database.dialect == "postgresql"
        self._keeper = PerProcess(Keeper)

    @contextlib.contextmanager
    def held(
        self, doing: str, account: str, timeout: float, *, explain: Callable[[], str | None]
    ) -> Iterator[bool]:
        """Hold an account's lease against everybody who uses this database; yield whether it could be had.

        Args:
            doing: What it is for, for the error.
            account: The primary key.
            timeout: Seconds to wait; 0 does not.
            explain: Looks for a better explanation than the database's.

        Raises:
            StoreError: The database failed.
        """
        lease = Lease(account)
        try:
            self._keeper.value.expect(lease, self._renew)
            yield self._taken(doing, lease, time.monotonic() + timeout, explain)
        finally:
            if lease.pid == os.getpid():
                # Else this is a forked child, and the lease is its parent's.
                self._leave(lease)

    def of(self, account: str) -> Lease | None:
        """Return the lease of an account that this process has, or waits for."""
        return self._keeper.value.of(account)

    def loaded(self, account: str) -> tuple[str | None, ...]:
        """Return what was stored when this process took the lease; nothing if that is too long ago."""
        lease = self.of(account)
        if lease is None or lease.age > LOADED_S:
            return ()
        loaded, lease.loaded = lease.loaded, ()
        return loaded

    def is_renewed(self, lease: Lease) -> bool:
        """Tell whether a lease is nobody else's, and has most of its time left; renew it for that.

        Raises:
            StoreError: The database failed.
        """
        return lease.is_had and (not lease.is_due or self._renew([lease]))

    # --- taking ------------------------------------------------------------------------------------

    def _taken(self, doing: str, lease: Lease, deadline: float, explain: Callable[[], str | None]) -> bool:
        run = functools.partial(self._database.run, doing, deadline=deadline, explain=explain)
        pause, longest = POLL_S
        looks = False
        while not self._attempted(lease, run, looks=looks):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_random.uniform(0.5, 1.0) * pause, left))
            pause = min(pause * 1.5, longest)
            # PostgreSQL's way to take it neither writes nor waits for anything while it is held.
            looks = not self._loads_along
        return True

    def _attempted(self, lease: Lease, run: Callable[..., Found], *, looks: bool) -> bool:
        lease.is_unsettled = True
        try:
            found = run(functools.partial(self._look if looks else self._take, lease))
            if looks and found is Found.FREE:
                found = run(functools.partial(self._take, lease))
            if found is Found.ABSENT:
                found = self._added(lease, run)
        except StoreError:
            # Where only the answer was lost, it is ours.
            self._keeper.value.leave(lease)
            lease.is_unsettled = False
            raise
        lease.is_had, lease.is_unsettled = found is Found.FREE, False
        # What a blocked statement returns may be over.
        return not lease.is_over

    def _added(self, lease: Lease, run: Callable[..., Found]) -> Found:
        try:
            return run(functools.partial(self._add, lease))
        except RowRefused:
            # Somebody else was faster, or an earlier try of ours whose answer was lost.
            return run(functools.partial(self._take, lease))

    def _take(self, lease: Lease, connection: Connection) -> Found:
        statements, parameters = self.statements, _parameters(lease)
        lease.began_at = time.monotonic()
        if self._loads_along:
            row = connection.execute(statements.take_and_load, parameters).first()
            if row is None or row[0] is None:
                return Found.ABSENT if row is None else Found.HELD
            lease.loaded = (row[1],)
            return Found.FREE
        if connection.execute(statements.take, parameters).rowcount:
            # In the same transaction, and as of now: what it reads is that of its first SELECT.
            lease.loaded = (connection.scalar(statements.load, {"of": lease.account}),)
            return Found.FREE
        return Found.ABSENT if self._look(lease, connection) is Found.ABSENT else Found.HELD

    def _look(self, lease: Lease, connection: Connection) -> Found:
        is_held = connection.scalar(self.statements.is_held, {"of": lease.account})
        if is_held is None:
            return Found.ABSENT
        return Found.HELD if is_held else Found.FREE

    def _add(self, lease: Lease, connection: Connection) -> Found:
        lease.began_at = time.monotonic()
        connection.execute(self.statements.add_lease, _parameters(lease))
        return Found.FREE

    def _leave(self, lease: Lease) -> None:
        self._keeper.value.forget(lease)
        if not (lease.is_had or lease.is_unsettled):
            return
        statement = self.statements.delete_lease if lease.is_obsolete else self.statements.release
        parameters = {"of": lease.account, "me": lease.holder}
        try:
            freed = self._database.run("free a lock", lambda c: c.execute(statement, parameters).rowcount)
        except BaseException as error:
            self._keeper.value.leave(lease)
            if not isinstance(error, StoreError):
                raise
            log.warning("the lock of an account ends by itself in some seconds: %s", error)
        else:
            if lease.is_had and not freed:
                log.warning(LOST)

    def _renew(self, leases: list[Lease]) -> bool:
        """Let leases begin anew that nobody else has taken; tell whether that is all of them."""
        seconds = max(lease.seconds for lease in leases)
        parameters = {
            "accounts": [lease.account for lease in leases],
            "holders": [lease.holder for lease in leases],
            "seconds": seconds,
        }

        def renew(connection: Connection) -> tuple[float, int]:
            sent = time.monotonic()
            return sent, connection.execute(self.statements.renew, parameters).rowcount

        sent, renewed = self._database.run("renew locks", renew)
        if renewed < len(leases):
            return False
        for lease in leases:
            lease.began_at, lease.seconds, lease.loaded = max(sent, lease.began_at), seconds, ()
        return True


def _parameters(lease: Lease) -> dict[str, object]:
    return {"of": lease.account, "me": lease.holder, "seconds": lease.seconds}


# Of those that a store uses. By id, which no other database can have while the leases live and hold this one.
_known: weakref.WeakValueDictionary[tuple[int, str], Leases] = weakref.WeakValueDictionary()
_guard = PerProcess(threading.Lock)


def leases_of(database: Database, tokens: Table) -> Leases | None:
    """Return the leases of a table's accounts, the same ones to all stores on it; None if it has none."""
    if database.dialect not in CLOCKS:
        return None
    with _guard.value:
        found = _known.get((id(database), tokens.name))
        if found is None:
            found = _known[id(database), tokens.name] = Leases(database, tokens)
        return found
