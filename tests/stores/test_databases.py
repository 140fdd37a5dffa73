"""Many processes, accounts and accidents on one SQL database."""

from __future__ import annotations

import itertools
import signal
import statistics
import sys
import time

import pytest
import scenarios
from servers import MariaDB, PostgreSQL, SQLite, own_server
from shared_stores import open_database
from sql_rows import assert_plan_uses, execute, fill, plan_of, statements_of

from tiktok_oauth_session._connection.connection import OUTCOME_S
from tiktok_oauth_session._connection.single_flight import HOLD_BACK_S
from tiktok_oauth_session._http.deadline import deadline_of
from tiktok_oauth_session._http.transport import TOKEN_TIMEOUT_S
from tiktok_oauth_session.stores import LOCK_TIMEOUT_S
from tiktok_oauth_session.stores.redis import leases as redis_leases
from tiktok_oauth_session.stores.sql import SQLStore, keeper

MILLION = 1_000_000
#: Seconds in which the next 1,000 of them have to be found.
FOUND_WITHIN_S = 0.050
#: How often that is measured, where whatever else the machine does disturbs it.
MOST_ROUNDS = 10


@pytest.mark.parametrize("leases", [keeper, redis_leases], ids=["sql", "redis"])
def test_lease__unkept(leases):
    """A lease that nobody renews outlasts the longest refresh, and nobody who waits gives up before it ends.

    A request has its deadline, its late reply is waited for, and so is a save that fails.
    """
    longest = deadline_of(TOKEN_TIMEOUT_S) + OUTCOME_S + 2 * HOLD_BACK_S

    assert longest < leases.UNKEPT_LEASE_S
    assert leases.LEASE_S + leases.UNKEPT_LEASE_S < LOCK_TIMEOUT_S


@pytest.mark.slow
def test_refresh__eight_processes(database, fake, tiktok):
    """8 processes of 8 threads on one database and an expired token: 1 request, 64 answers, no reuse."""
    scenarios.assert_one_refresh(open_database(database), fake, tiktok)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        pytest.param(PostgreSQL, signal.SIGINT, id="postgresql-stopped"),
        pytest.param(PostgreSQL, signal.SIGKILL, id="postgresql-killed"),
        pytest.param(MariaDB, signal.SIGTERM, id="mariadb-stopped"),
        pytest.param(MariaDB, signal.SIGKILL, id="mariadb-killed"),
    ],
)
@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
def test_refresh__restart(fake, tiktok, count, kind, how):
    """A restart of the database in the middle of many refreshes costs errors that say so, and no account."""
    with own_server(kind) as server:
        errors = scenarios.assert_restart_loses_nothing(
            open_database(server),
            fake,
            tiktok,
            stop=lambda: server.stop(how),
            start=server.start,
            count=count,
        )

    assert_clear(errors)


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
def test_refresh__sqlite_not_to_be_had(fake, tiktok, count, tmp_path):
    """So does a SQLite file that somebody else keeps to themselves for a while."""
    database = SQLite(tmp_path / "tokens.db", timeout=0.1)
    errors = scenarios.assert_restart_loses_nothing(
        open_database(database), fake, tiktok, stop=database.stop, start=database.start, count=count
    )

    assert_clear(errors)


def assert_clear(errors):
    """See that whoever was told of an outage was told what to do."""
    texts = {str(error) for error in errors}
    sys.stdout.write(f"{len(errors)} calls were told, such as: {sorted(texts)[:3]}\n")

    assert texts
    assert [] == [text for text in texts if "Call again when the database at" not in text]


@pytest.mark.slow
@pytest.mark.parametrize("when", scenarios.LOST_LOCKS)
def test_refresh__lock_of_the_holder_lost(database, fake, tiktok, when):
    """When the lock is lost during a refresh, no second refresh token is spent and no newer token lost."""
    scenarios.assert_left_alone(open_database(database), fake, tiktok, database.lose_locks, when)


@pytest.mark.slow
@pytest.mark.parametrize("disturb", ["cut", "restart"])
def test_refresh__connections_lost(database_server, fake, tiktok, disturb):
    """A lock survives every connection that its holder has, and the server."""
    scenarios.assert_undisturbed(
        open_database(database_server), fake, tiktok, getattr(database_server, disturb)
    )


@pytest.mark.slow
@pytest.mark.parametrize("accounts", [1, pytest.param(64, marks=pytest.mark.long)])
def test_refresh__behind_pgbouncer(pgbouncer, postgresql, fake, tiktok, accounts):
    """Behind a proxy that lends connections for one transaction: 1 request for each account, all answered."""
    postgresql.empty()
    opens_it = f"import_module('sql_users').opened({pgbouncer.url!r}, **{pgbouncer.options!r})"
    scenarios.assert_one_refresh(opens_it, fake, tiktok, accounts=accounts)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_expiring__of_a_million(kind, request, tmp_path, engines):
    """The next 1,000 of 1,000,000 accounts to expire are found by an index, in under 50 ms."""
    database = SQLite(tmp_path / "tokens.db") if kind == "sqlite" else request.getfixturevalue(kind)
    if kind != "sqlite":
        database.clear()
    engine = engines(database)
    store = SQLStore(engine)
    store.create_tables()
    began = time.monotonic()
    fill(engine, MILLION)
    execute(engine, "ANALYZE")
    filled_s = time.monotonic() - began
    middle = MILLION / 2
    for _ in range(MOST_ROUNDS):
        seconds, found = [], []
        for _ in range(9):
            began = time.perf_counter()
            found = list(itertools.islice(store.expiring(middle), 1000))
            seconds.append(time.perf_counter() - began)
        if statistics.median(seconds) < FOUND_WITHIN_S:
            break
    sent = statements_of(engine, lambda: list(itertools.islice(store.expiring(middle), 1001)))
    plans = [plan_of(engine, *each) for each in sent if "ORDER BY" in each[0]]
    sys.stdout.write(
        f"{kind}: filled in {filled_s:.0f} s; the next 1,000: first {seconds[0] * 1000:.1f} ms, median "
        f"{statistics.median(seconds) * 1000:.1f} ms\n"
    )

    assert [f"user-{n}" for n in range(1, 1001)] == [key.open_id for key in found]
    assert len(plans) == 2
    for plan in plans:
        assert_plan_uses("ix_tiktok_tokens_expires_at", plan)
    assert statistics.median(seconds) < FOUND_WITHIN_S
