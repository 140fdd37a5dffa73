"""The store in a SQL database."""

from __future__ import annotations

import collections
import itertools
import json
import logging
import math
import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
import sql_users
import sqlalchemy
from child_processes import ChildProcess
from locks import is_free
from servers import PASSWORD, SQLite
from sql_rows import assert_plan_uses, execute, fill, plan_of, statements_of
from sqlalchemy import event
from sqlalchemy.pool import NullPool, StaticPool

from tiktok_oauth_session import AccountKey, MemoryStore, StoreError, TikTokToken
from tiktok_oauth_session.stores import StoreConflict, sql
from tiktok_oauth_session.stores.sql import SQLStore, listing
from tiktok_oauth_session.stores.sql.table import OVERDUE
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, TokenStoreConformance, token

THREADS = 64
#: Seconds for what takes milliseconds.
PATIENCE_S = 20.0
IN_MEMORY = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
POOL_OF_ONE = {"pool_size": 1, "max_overflow": 0}
DAMAGED = ["", "{", "null", "[]", '"x"', '{"version": 1}', "[" * 100_000, '{"version":"1"}', "token"]


class TestSQLStore(TokenStoreConformance):
    """SQLStore keeps the promises of a store to those who have an engine each."""

    @pytest.fixture
    def store(self, database, connected):
        """Return an empty store."""
        # All of them now: threads ask for others at the same time.
        self.others = itertools.cycle([SQLStore(connected(database)) for _ in range(4)])
        return SQLStore(connected(database))

    def another(self, store):
        """Return another handle, as another machine would have it."""
        return next(self.others)


class InMemory:
    """A SQLite database that is gone with its engine."""

    @staticmethod
    def engine(**options):
        """Return a new engine, and with it a new database."""
        return sqlalchemy.create_engine("sqlite://", **options)


class TestSQLStoreOnOneEngine(TokenStoreConformance):
    """It keeps them to those who share an engine, in memory as well."""

    @pytest.fixture(params=["postgresql", "memory"])
    def store(self, request, engines, connected):
        """Return an empty store."""
        if request.param == "memory":
            self.engine = engines(InMemory, **IN_MEMORY)
            SQLStore(self.engine).create_tables()
        else:
            server = request.getfixturevalue(request.param)
            server.empty()
            self.engine = connected(server)
        return SQLStore(self.engine)

    def another(self, store):
        """Return another handle, as another part of the program would have it."""
        return SQLStore(self.engine)


@pytest.fixture
def engine(database, connected):
    """An engine for a database of each kind, with empty tables."""
    return connected(database)


@pytest.fixture
def store(engine):
    """An empty store in a database of each kind."""
    return SQLStore(engine)


@pytest.fixture
def bare_engine(bare_database, engines):
    """An engine for a database of each kind, without tables."""
    return engines(bare_database)


@pytest.fixture
def own_store(bare_engine):
    """An empty store on it, for what leaves the tables other than they were."""
    store = SQLStore(bare_engine)
    store.create_tables()
    return store


def everything(error):
    """Return all that anybody could ever see of an error, and of those that are attached to it."""
    seen, errors = [], [error]
    while errors:
        each = errors.pop()
        seen += [str(each), repr(each), "".join(traceback.format_exception(each)), repr(vars(each))]
        errors += [more for more in (each.__cause__, each.__context__) if more]
    return "\n".join([*seen, repr(pickle.dumps(error))])


def secret(generation=1):
    """Return a token that has a secret wherever it may be cut off."""
    return TikTokToken(act="act.example", **token(generation), note="rft.example")


def secrets_in(text):
    """Return the secrets of these tests that are in a text."""
    return [secret for secret in ("act.example", "rft.example", PASSWORD) if secret in text]


# --- rows -------------------------------------------------------------------------------------------


def test_save__columns(store, engine):
    """A row says whose token it is, when both of its parts expire, and how often it was written."""
    began = time.time()
    store.save(KEY, TikTokToken(token(), refresh_expires_at=2_100_000_000))
    store.save(KEY, TikTokToken(token(2, expires_at=2_000_000_000.25), refresh_expires_at=2_100_000_000))
    (row,) = execute(engine, "SELECT * FROM tiktok_tokens")

    assert (row["client_key"], row["open_id"]) == KEY
    assert (row["expires_at"], row["refresh_expires_at"]) == (2_000_000_000.25, 2_100_000_000)
    assert row["version"] == 2
    assert began <= row["updated_at"] <= time.time()
    assert json.loads(row["document"])["version"] == 1
    assert "rft.example" not in row["refresh_token_digest"]


@pytest.mark.parametrize(
    ("items", "expires_at", "refresh_expires_at"),
    [
        ({"refresh_token": "r"}, OVERDUE, None),
        ({"refresh_token": "r", "refresh_expires_at": 7}, OVERDUE, 7),
        ({"refresh_token": "", "refresh_expires_at": 7}, None, None),
        ({"refresh_expires_at": 7, "expires_at": 5}, 5, None),
    ],
    ids=["refreshable", "refreshable, its end known", "not refreshable", "not refreshable, but it ends"],
)
def test_save__unknown_expiries(items, expires_at, refresh_expires_at):
    """What nobody knows is null, but for a token that can be refreshed and so counts as expired."""
    engine = sqlalchemy.create_engine("sqlite://", **IN_MEMORY)
    store = SQLStore(engine)
    store.create_tables()
    store.save(KEY, TikTokToken(access_token="a", **items))
    (row,) = execute(engine, "SELECT expires_at, refresh_expires_at FROM tiktok_tokens")
    engine.dispose()

    assert (expires_at, refresh_expires_at) == tuple(row.values())


@pytest.mark.parametrize(
    "open_id",
    [
        "null\0character",
        "half a pair \ud83c",
        "back\\slash",
        "\\0000",
        "",
        "space",
        "space ",
        "no-break space\u00a0",
        "one \u00e9",
        "two e\u0301",
    ],
)
def test_save__hardest_keys(store, open_id):
    """Not even what a database cannot hold in a text is special in a key."""
    others = {"space", "space ", "Space", "one e", "one \u0065\u0301", "\0", "\\0000", "\\"} - {open_id}
    for each in others:
        store.save(AccountKey(f"key {each}", each), token(2))
    key = AccountKey(f"key {open_id}", open_id)
    store.save(key, token())

    assert token() == store.load(key)
    assert [key] == list(store.keys(key.client_key))
    assert {key, *(AccountKey(f"key {each}", each) for each in others)} == set(store.keys())


def test_save__not_json(store):
    """A token that is not JSON is refused, and the one before stays."""
    store.save(KEY, token())
    with pytest.raises(StoreError, match="not JSON"):
        store.save(KEY, TikTokToken(token(2), note={1, 2}))

    assert token() == store.load(KEY)


@pytest.mark.parametrize("document", DAMAGED, ids=range(len(DAMAGED)))
def test_load__damaged(store, engine, document):
    """A damaged row is an error at every look until the next login, and the others go on."""
    store.save(KEY, token(expires_at=1000))
    store.save(NEIGHBOUR, token(2, expires_at=2000))
    execute(engine, "UPDATE tiktok_tokens SET document = :d WHERE open_id = :o", d=document, o=KEY.open_id)

    for _ in range(2):
        with pytest.raises(StoreError, match=f"{KEY.open_id} is damaged: a new login"):
            store.load(KEY)
    assert token(2, expires_at=2000) == store.load(NEIGHBOUR)
    assert {KEY, NEIGHBOUR} == set(store.keys())
    assert [KEY, NEIGHBOUR] == list(store.expiring(3000))

    store.save(KEY, token(3))

    assert token(3) == store.load(KEY)


@pytest.mark.parametrize(
    ("name", "value"), [("access_token", 12345), ("access_token", {"a": "text"}), ("refresh_token", ["text"])]
)
def test_load__token_is_no_text(store, engine, name, value):
    """A row in which an access or a refresh token is anything but a text is damaged."""
    store.save(KEY, token())
    (row,) = execute(engine, "SELECT document FROM tiktok_tokens")
    content = json.loads(row["document"])
    content["token"][name] = value
    execute(engine, "UPDATE tiktok_tokens SET document = :d", d=json.dumps(content))

    with pytest.raises(StoreError, match=f"{KEY.open_id} is damaged: a new login"):
        store.load(KEY)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"version": 2}, "later version .* update"), ({"open_id": "other"}, "token of another account")],
    ids=["later version", "copied"],
)
def test_load__not_ours(store, engine, change, complaint):
    """A row of a later version, or with somebody else's token in it, is an error that says so."""
    store.save(KEY, token())
    (row,) = execute(engine, "SELECT document FROM tiktok_tokens")
    changed = json.dumps({**json.loads(row["document"]), **change})
    execute(engine, "UPDATE tiktok_tokens SET document = :d", d=changed)

    with pytest.raises(StoreError, match=complaint) as caught:
        store.load(KEY)
    assert KEY.open_id in str(caught.value)


# --- the table --------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["load", "save", "delete", "keys", "expiring"])
def test_table__missing(bare_engine, use):
    """Without a table, every error says how to make it."""
    store = SQLStore(bare_engine)
    uses = {
        "load": lambda: store.load(KEY),
        "save": lambda: store.save(KEY, token()),
        "delete": lambda: store.delete(KEY),
        "keys": lambda: list(store.keys()),
        "expiring": lambda: list(store.expiring(1)),
    }

    with pytest.raises(StoreError, match=r"no table tiktok_tokens: call SQLStore.create_tables\(\)"):
        uses[use]()


@pytest.mark.parametrize("use", ["lock", "mark", "delete"])
def test_table__of_leases_missing(database_server, connected, use):
    """Nor without that of the leases."""
    engine = connected(database_server)
    store = SQLStore(engine)
    store.save(KEY, token())
    # It makes the other one anew for the next test.
    database_server.clear()
    store.table.create(engine)
    uses = {
        "lock": lambda: is_free(store, KEY),
        "mark": lambda: store.save(KEY, token(), replacing=token().refresh_token),
        "delete": lambda: store.delete(KEY),
    }
    with pytest.raises(StoreError, match=r"no table tiktok_tokens_locks: call SQLStore.create_tables\(\)"):
        uses[use]()
    store.create_tables()
    store.save(KEY, token())
    uses[use]()


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (
            "account VARCHAR(64), document TEXT",
            "tiktok_tokens lacks client_key, open_id, expires_at, .* Migrate",
        ),
        (None, "tiktok_tokens requires tenant: .* Migrate"),
    ],
    ids=["older", "later"],
)
@pytest.mark.parametrize("use", ["save", "create_tables"])
def test_table__of_another_version(bare_engine, columns, complaint, use):
    """A table of another version is an error that says what to do, and is left as it is."""
    store = SQLStore(bare_engine)
    if columns:
        execute(bare_engine, f"CREATE TABLE tiktok_tokens ({columns})")
    else:
        later = sql.token_table(sqlalchemy.MetaData())
        later.append_column(sqlalchemy.Column("tenant", sqlalchemy.Integer, nullable=False))
        later.create(bare_engine)

    with pytest.raises(StoreError, match=complaint) as caught:
        store.save(KEY, token()) if use == "save" else store.create_tables()
    assert [] == secrets_in(everything(caught.value))
    assert [] == execute(bare_engine, "SELECT * FROM tiktok_tokens")


def test_create_tables__again(store):
    """Making tables that are there changes nothing."""
    store.save(KEY, token())
    store.create_tables()

    assert token() == store.load(KEY)


def test_create_tables__adds_what_was_cut_short(bare_engine):
    """A table whose indexes were never made gets them."""
    table = sql.token_table(sqlalchemy.MetaData())
    expected = {index.name for index in table.indexes}
    table.indexes.clear()
    table.create(bare_engine)
    SQLStore(bare_engine).create_tables()

    made = sqlalchemy.inspect(bare_engine).get_indexes("tiktok_tokens")
    assert expected == {index["name"] for index in made}


def test_create_tables__at_the_same_time(bare_database, engines):
    """Many that make the tables at the same moment all find them made."""
    stores = [SQLStore(engines(bare_database)) for _ in range(8)]
    barrier = threading.Barrier(len(stores))

    def create(store):
        barrier.wait()
        store.create_tables()
        store.save(KEY, token())

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(create, stores))

    assert token() == stores[0].load(KEY)


def test_create_tables__the_other_one_comes_next(bare_database, engines):
    """Whoever was faster with the first table has not made the second one yet: that is no trouble."""
    engine, others = engines(bare_database), engines(bare_database)
    made = []

    @event.listens_for(engine, "before_cursor_execute")
    def be_faster(connection, cursor, statement, *_):
        if not made and statement.strip().startswith("CREATE TABLE tiktok_tokens "):
            made.append(statement)
            with others.begin() as elsewhere:
                elsewhere.exec_driver_sql(statement)

    store = SQLStore(engine)
    store.create_tables()
    store.save(KEY, token())

    assert made
    assert token() == store.load(KEY)


def test_metadata__for_migrations(bare_engine):
    """The metadata that a migration imports describes the table that the store uses."""
    sql.metadata.create_all(bare_engine)
    store = SQLStore(bare_engine)
    store.save(KEY, token())
    mine = sqlalchemy.MetaData()

    with store.lock(KEY):
        assert token() == store.load(KEY)
    assert store.table is store.metadata.tables["tiktok_tokens"]
    assert sql.token_table(mine, "other") is mine.tables["other"]
    assert {"other", "other_locks"} == set(mine.tables)


def test_table_name__two_stores(bare_engine):
    """Two tables hold two sets of tokens, and have two sets of locks."""
    here, there = SQLStore(bare_engine), SQLStore(bare_engine, table_name='odd "name"; --')
    for store in (here, there):
        store.create_tables()
    here.save(KEY, token())
    with here.lock(KEY), ThreadPoolExecutor(1) as pool:
        pool.submit(there.save, KEY, token(2)).result(PATIENCE_S)

    assert token() == here.load(KEY)
    assert token(2) == there.load(KEY)


# --- listing ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "index"),
    [
        ("expiring", "ix_tiktok_tokens_expires_at"),
        ("refresh_expiring", "ix_tiktok_tokens_refresh_expires_at"),
    ],
)
def test_expiring__by_index(own_store, bare_engine, method, index):
    """What expires next is looked up in an index, page after page."""
    fill(bare_engine, 20_000)
    execute(bare_engine, "ANALYZE TABLE tiktok_tokens" if bare_engine.dialect.name == "mysql" else "ANALYZE")
    listed = statements_of(
        bare_engine,
        lambda: list(itertools.islice(getattr(own_store, method)(30_000), listing.PAGE_LENGTH + 1)),
    )
    plans = [plan_of(bare_engine, *each) for each in listed if "ORDER BY" in each[0]]

    assert len(plans) == 2
    for plan in plans:
        assert_plan_uses(index, plan)


def test_expiring__reads_no_more_than_is_asked_for(own_store, bare_engine):
    """Whoever takes the first few of many makes the database read one page."""
    fill(bare_engine, 5_000)
    taken = []
    sent = statements_of(
        bare_engine, lambda: taken.extend(itertools.islice(own_store.expiring(math.inf), 10))
    )

    assert [AccountKey("key", f"user-{n}") for n in range(1, 11)] == taken
    assert len([statement for statement, _ in sent if "tiktok_tokens" in statement]) == 1


def test_expiring__late_page_of_mariadb(mariadb, engines):
    """In MariaDB, too, a page begins in the index where the last one ended."""
    mariadb.clear()
    engine = engines(mariadb)
    store = SQLStore(engine)
    store.create_tables()
    fill(engine, 20_000)
    sent = statements_of(engine, lambda: list(itertools.islice(store.expiring(math.inf), 15_001)))
    with engine.begin() as connection:
        connection.exec_driver_sql("FLUSH STATUS")
        connection.exec_driver_sql(*sent[-1]).all()
        ((_, rows_read),) = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read_next'")

    assert int(rows_read) <= listing.PAGE_LENGTH


def test_expiring__in_pages(store, monkeypatch):
    """Every account comes once, soonest first, also where many expire at the same moment."""
    monkeypatch.setattr(listing, "PAGE_LENGTH", 3)
    model = MemoryStore()
    moments = [None, 1000, 1000.1, 1000.1 + 1e-7, 1e9 / 3, 4_000_000_000]
    for number, moment in enumerate(moments * 4):
        each = TikTokToken(token(number, expires_at=moment))
        if moment:
            each["refresh_expires_at"] = moment * 2
        for kept_in in (store, model):
            kept_in.save(AccountKey("key", f"user-{number}"), each)
    moment_of = {key: model.load(key).expires_at or -math.inf for key in model.keys()}  # noqa: SIM118 - a method

    for before in (-math.inf, 0, 1000, 1000.05, 1000.2, 5e9, math.inf):
        for each in ("expiring", "refresh_expiring"):
            expected = list(getattr(model, each)(before))
            listed = list(getattr(store, each)(before))

            assert collections.Counter(expected) == collections.Counter(listed)
            assert [moment_of[key] for key in expected] == [moment_of[key] for key in listed]
    assert set(model.keys()) == set(store.keys())
    assert len(moments) * 4 == len(list(store.keys("key")))


def test_expiring__keeps_no_connection(database, engines):
    """Between two pages a listing keeps no connection from those who work on what it lists."""
    store = SQLStore(engines(database, **POOL_OF_ONE))
    store.save(KEY, token(expires_at=1000))
    store.save(NEIGHBOUR, token(expires_at=2000))
    done = []
    for key in store.expiring(3000):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(store.save, key, token(5)).result(PATIENCE_S)
        done.append(key)

    assert [KEY, NEIGHBOUR] == done


# --- locks ------------------------------------------------------------------------------------------


def count_up(store, keys):
    """Let 64 threads add one to each account's count in turn, under its lock."""
    for key in keys:
        store.save(key, TikTokToken(token(), count=0))

    def add(number):
        key = keys[number % len(keys)]
        with store.lock(key):
            now = store.load(key)
            store.save(key, TikTokToken(now, count=now["count"] + 1), replacing=now.refresh_token)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(add, range(THREADS)))
    return sum(store.load(key)["count"] for key in keys)


@pytest.mark.parametrize("accounts", [1, 5, 64])
def test_lock__pool_of_one(database, engines, accounts):
    """A pool of one connection is enough for 64 threads, on one account and on many."""
    store = SQLStore(engines(database, **POOL_OF_ONE, pool_timeout=PATIENCE_S))

    assert THREADS == count_up(store, [AccountKey("key", f"user-{n}") for n in range(accounts)])


def test_lock__one_connection_for_all_threads(engines):
    """In memory, where all threads have one connection, none of them ends another one's transaction."""
    store = SQLStore(engines(InMemory, **IN_MEMORY))
    store.create_tables()

    assert THREADS == count_up(store, [AccountKey("key", f"user-{n}") for n in range(THREADS)])


def test_lock__waits_for_the_pool(database_server, engines):
    """Whoever takes a lock, or has it, waits for the pool, for longer than the pool would let them."""
    engine = engines(database_server, **POOL_OF_ONE, pool_timeout=0.05)
    store = SQLStore(engine)

    def busy():
        """Take the only connection for a while, as an application that shares the engine does."""
        began, connection = time.monotonic(), engine.connect()
        threading.Timer(0.3, connection.close).start()
        return began

    began = [busy()]
    with store.lock(KEY):
        waited = [time.monotonic() - began[0]]
        for use in (lambda: store.load(KEY), lambda: store.save(KEY, token())):
            began.append(busy())
            use()
            waited.append(time.monotonic() - began[-1])

    assert all(0.3 <= each < PATIENCE_S for each in waited)
    assert token() == store.load(KEY)


def test_load__pool_exhausted(database, engines):
    """Without a free connection the error says who has them, also where somebody would rather not wait."""
    engine = engines(database, **POOL_OF_ONE, pool_timeout=0.05)
    store = SQLStore(engine)
    uses = [lambda: store.load(KEY)]
    if not isinstance(database, SQLite):
        # Whose locks are files'.
        uses.append(lambda: is_free(store, KEY))
    with engine.connect():
        for use in uses:
            with pytest.raises(
                StoreError, match=r"pool had no connection free to .* whoever else uses the engine"
            ):
                use()


def test_lock__two_accounts(database, engines):
    """A thread that holds two locks needs one connection at a time, and frees each lock in its turn."""
    store = SQLStore(engines(database, **POOL_OF_ONE))
    other = SQLStore(engines(database))

    def free():
        with ThreadPoolExecutor(1) as pool:
            return [pool.submit(is_free, other, key).result(PATIENCE_S) for key in (KEY, NEIGHBOUR)]

    with store.lock(KEY):
        with store.lock(NEIGHBOUR), store.lock(KEY):
            store.save(KEY, token())
            store.save(NEIGHBOUR, token(2))
            both_held = free()
        one_held = free()

    assert [[False, False], [False, True], [True, True]] == [both_held, one_held, free()]


def test_lock__timeout(store, database, engines, monkeypatch):
    """A lock that is not free in time is an error that says so, and leaves no lock and no timeout behind."""
    monkeypatch.setattr(sql, "LOCK_TIMEOUT_S", 0.2)
    other = SQLStore(engines(database))
    with store.lock(KEY):
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"lock of account .* was not free"):
            other.delete(KEY)
        waited = time.monotonic() - began

    assert 0.2 <= waited < PATIENCE_S
    assert is_free(other, KEY)
    assert is_free(store, KEY)


@pytest.mark.parametrize(
    "options", [{"isolation_level": "AUTOCOMMIT"}, {"poolclass": NullPool}], ids=["autocommit", "no pool"]
)
def test_lock__any_engine(database, engines, monkeypatch, options):
    """Locks and saves are the same on an engine that commits by itself, and on one without a pool."""
    monkeypatch.setattr(sql, "LOCK_TIMEOUT_S", 0.2)
    store, other = (SQLStore(engines(database, **options)) for _ in range(2))
    with store.lock(KEY):
        store.save(KEY, token())
        store.save(KEY, token(2), replacing=token().refresh_token)
        with pytest.raises(StoreError, match="was not free"):
            other.delete(KEY)
    with pytest.raises(StoreConflict):
        other.save(KEY, token(3), replacing=token().refresh_token)

    assert token(2) == other.load(KEY)
    assert is_free(other, KEY)


def test_pool__connections_cut(database_server, engines):
    """Connections that were cut while they lay in the pool are replaced without anybody noticing."""
    store = SQLStore(engines(database_server))
    store.save(KEY, token())
    for use in (lambda: store.load(KEY), lambda: store.save(KEY, token(2)), lambda: is_free(store, KEY)):
        database_server.cut()
        use()

    assert token(2) == store.load(KEY)


def test_sqlite__holder_killed(tmp_path, engines):
    """The lock of a process that is killed is free at once, where it is the operating system's."""
    database = SQLite(tmp_path / "tokens.db")
    store = SQLStore(engines(database))
    with ChildProcess(sql_users.__file__, "hold", database.url) as holder:
        holder.hear()
        free_before = is_free(store, KEY)
        killed = time.monotonic()
        holder.kill()
        with store.lock(KEY):
            waited = time.monotonic() - killed

    assert not free_before
    assert waited < 1.0
    assert store.lock_is_certain


@pytest.mark.slow
@pytest.mark.parametrize("how", ["by Python", "in C"])
def test_fork__child_inherits_neither_lock_nor_connection(store, database, how):
    """A child forked under the lock cannot take it, and its end neither frees it nor disturbs its parent."""
    with ChildProcess(sql_users.__file__, "hold_and_fork", database.url, how) as process:
        child, parent = process.hear(), process.hear()
        free_under_the_lock = is_free(store, KEY)
        process.say(go=True)
        after = process.hear()

    assert {"held": False, "loaded": 1, "errors": [], "own_pool": True, "shared": []} == child
    assert {"loaded": 2} == parent
    assert not free_under_the_lock
    assert {"free": True} == after


def test_mariadb__dialect_of_its_own(mariadb):
    """The dialect that SQLAlchemy names after MariaDB is as good as that named after MySQL."""
    mariadb.clear()
    engine = sqlalchemy.create_engine(mariadb.url.replace("mysql", "mariadb", 1))
    store = SQLStore(engine)
    store.create_tables()
    store.save(KEY, token())
    with store.lock(KEY):
        store.save(KEY, token(2), replacing=token().refresh_token)
    listed = list(store.expiring(math.inf))
    engine.dispose()

    assert [KEY] == listed


def test_sqlite__lock_files(tmp_path, engines):
    """The lock files of a SQLite database are beside it, private, and found by whatever name it is opened."""
    database = SQLite(tmp_path / "tokens.db")
    (tmp_path / "link.db").symlink_to(database.path)
    store = SQLStore(engines(database))
    with store.lock(KEY), ThreadPoolExecutor(1) as pool:
        free = pool.submit(is_free, SQLStore(engines(SQLite(tmp_path / "link.db"))), KEY).result(PATIENCE_S)
    directory = tmp_path / "tokens.db.locks"
    (file,) = directory.iterdir()

    assert not free
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_sqlite__busy(tmp_path, engines):
    """A SQLite file that somebody else is writing to is waited for."""
    database = SQLite(tmp_path / "tokens.db")
    store = SQLStore(engines(database, connect_args={"timeout": 0.05}))
    store.create_tables()
    tries = []

    def let_go(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("UPDATE"):
            tries.append(statement)
            if len(tries) == 2:
                database.start()

    event.listen(store._database._callers_engine, "before_cursor_execute", let_go)
    database.stop()
    store.save(KEY, token())

    assert token() == store.load(KEY)
    assert len(tries) == 2


@pytest.mark.parametrize("replacing", [None, token().refresh_token])
def test_save__answer_to_the_commit_lost(database_server, engines, monkeypatch, replacing):
    """A save that was committed, and whose answer was lost with the connection, is no conflict."""
    engine = engines(database_server)
    store = SQLStore(engine)
    store.save(KEY, token())
    commit, cuts = engine.dialect.do_commit, []

    def commit_and_lose(connection):
        commit(connection)
        if not cuts and database_server.ask("SELECT version FROM tiktok_tokens") == [(2,)]:
            cuts.append(connection)
            connection.dbapi_connection.close()
            raise engine.dialect.dbapi.OperationalError(2013, "Lost connection")

    monkeypatch.setattr(engine.dialect, "do_commit", commit_and_lose)
    store.save(KEY, token(2), replacing=replacing)

    assert len(cuts) == 1
    assert token(2) == store.load(KEY)


# --- secrets ----------------------------------------------------------------------------------------


def refuse(store, engine):
    """Let the database refuse the next row, and quote it, as PostgreSQL does."""
    execute(engine, "DROP TABLE tiktok_tokens")
    table = sql.token_table(sqlalchemy.MetaData())
    table.append_constraint(sqlalchemy.CheckConstraint("version > 5"))
    table.create(engine)
    store.save(KEY, secret())


def too_few_columns(store, engine):
    """Let the statement fail."""
    execute(engine, "ALTER TABLE tiktok_tokens DROP COLUMN version")
    store.save(KEY, secret())


def wrong_password(store, engine):
    """Let nobody in."""
    engine.dispose()
    if engine.dialect.name == "sqlite":
        url = engine.url.set(database="/nowhere/tokens.db")
    else:
        url = engine.url.set(username="nobody")
    SQLStore(sqlalchemy.create_engine(url)).save(KEY, secret())


@pytest.mark.parametrize("accident", [refuse, too_few_columns, wrong_password])
def test_errors__show_no_secret(own_store, bare_engine, accident, caplog):
    """No error, nothing attached to it, and no log record holds a token or a password."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreError) as caught:
        accident(own_store, bare_engine)

    assert [] == secrets_in(everything(caught.value) + caplog.text)
    assert caught.value.__context__ is None


def test_logs__show_no_secret(database, engines, caplog):
    """Not even an engine that logs all it does logs a token."""
    caplog.set_level(logging.DEBUG)
    engine = engines(database, echo="debug")
    store = SQLStore(engine)
    store.save(KEY, secret())
    store.save(KEY, secret(2), replacing=token().refresh_token)
    with pytest.raises(StoreConflict):
        store.save(KEY, secret(2), replacing="rft.example-spent")
    with store.lock(KEY):
        store.load(KEY)
    list(store.expiring(math.inf))

    assert "UPDATE tiktok_tokens" in caplog.text
    assert "<a token>" in caplog.text
    assert [] == secrets_in(caplog.text)
    assert not engine.hide_parameters, "the caller's own statements are logged as the caller wants"


def test_repr__shows_where(store, database):
    """The repr says where the tokens are, and shows no password."""
    shown = repr(store)

    assert "tiktok_tokens" in shown
    assert database.url.partition("?")[0].replace(PASSWORD, "***") in shown


# --- making one -------------------------------------------------------------------------------------


def test_init__no_engine():
    """Whoever passes a URL is told what an engine is."""
    with pytest.raises(TypeError, match="create_engine, not str"):
        SQLStore("sqlite://")


def test_init__unknown_database():
    """A database whose locks nobody knows is refused."""
    engine = sqlalchemy.create_engine("sqlite://")
    engine.dialect.name = "firebird"

    with pytest.raises(
        ValueError, match="no lock for firebird; it has for mariadb, mysql, postgresql, sqlite"
    ):
        SQLStore(engine)


def test_import__without_sqlalchemy():
    """Without SQLAlchemy the import says which command installs it."""
    line = "import sys; sys.modules['sqlalchemy'] = None; import tiktok_oauth_session.stores.sql"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False)

    assert "ImportError: SQLStore needs SQLAlchemy 2: pip install tiktok-oauth-session[sql]" in done.stderr


def test_sqlite__is_a_database_that_other_programs_open(tmp_path, engines):
    """What a store keeps in a SQLite file is there for every other program."""
    store = SQLStore(engines(SQLite(tmp_path / "tokens.db")))
    store.create_tables()
    store.save(KEY, token())
    other = sqlite3.connect(tmp_path / "tokens.db")
    (row,) = other.execute("SELECT open_id FROM tiktok_tokens")
    other.close()

    assert (KEY.open_id,) == row


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o660, False), (0o644, True), (0o602, True)])
def test_sqlite__open_to_everybody(tmp_path, engines, caplog, mode, is_told):
    """A file that is there keeps its mode; that everybody may read or change it is told of, once."""
    path = tmp_path / "tokens.db"
    path.touch()
    path.chmod(mode)
    for _ in range(2):
        SQLStore(engines(SQLite(path))).create_tables()

    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    words = f"{path} and the tokens in it are open to every user of this machine. Run: chmod o-rwx {path}"
    assert ([("WARNING", words)] if is_told else []) == told
    assert mode == stat.S_IMODE(path.stat().st_mode)
