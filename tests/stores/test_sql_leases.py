"""The lock of an account in a database that has a server: a lease."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sql_users
import sqlalchemy
from child_processes import ChildProcess
from locks import is_free
from sql_rows import execute, statements_of
from sqlalchemy import event
from sqlalchemy.pool import StaticPool

from tiktok_oauth_session import AccountKey, StoreError, TikTokToken, TokenError
from tiktok_oauth_session.stores import StoreConflict
from tiktok_oauth_session.stores.encrypted import EncryptedStore
from tiktok_oauth_session.stores.sql import SQLStore, keeper, leases
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, token

pytestmark = pytest.mark.slow

#: Seconds for what takes milliseconds.
PATIENCE_S = 20.0
#: Seconds of a lease where a test waits for its end.
SHORT_S = 1.0
USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
CIPHER_KEY = "a2V5IG9mIHRoaXMgdGVzdCwgMzIgYnl0ZXMgbG9uZyE="


@pytest.fixture
def engine(database_server, engines):
    """An engine for a database of each kind that has a server; no thread has renewed anything on it yet."""
    return engines(database_server)


@pytest.fixture
def store(engine):
    """A store with an account in it."""
    store = SQLStore(engine)
    store.save(KEY, token())
    return store


@pytest.fixture
def other(database_server, engines, store):
    """The same store, to another machine."""
    return SQLStore(engines(database_server))


@pytest.fixture
def short_leases(monkeypatch):
    """Leases that a test can outwait; to be asked for before a store has any."""
    monkeypatch.setattr(keeper, "LEASE_S", SHORT_S)
    monkeypatch.setattr(keeper, "RENEW_S", SHORT_S / 4)


def lease_rows(store):
    """Return the leases as they are in the database."""
    return execute(store._engine(), "SELECT account, holder, expires FROM tiktok_tokens_locks")


def noted(generation=1):
    """Return a token with a note that a refresh begins."""
    return TikTokToken(token(generation), refresh_started_at=1)


def note(store):
    """Write it down."""
    store.save(KEY, noted(), replacing=token().refresh_token)


def take_over(store, **changes):
    """Let the account's lease be somebody else's, behind the holder's back."""
    row = {"holder": "somebody else", "expires": 9e9, **changes}
    execute(store._engine(), "UPDATE tiktok_tokens_locks SET holder = :holder, expires = :expires", **row)


# --- how long a lease lasts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lease_s", "at_most"),
    [(2.0, 3.0), pytest.param(None, 20.0, marks=pytest.mark.long)],
    ids=["short", "real"],
)
def test_lease__of_a_killed_holder(store, database_server, lease_s, at_most):
    """The lease of a process that is killed ends by itself, in 20 s at most."""
    lasts = lease_s or keeper.LEASE_S
    with ChildProcess(sql_users.__file__, "hold", database_server.url, *filter(None, [lease_s])) as holder:
        holder.hear()
        free_before = is_free(store)
        killed = time.monotonic()
        holder.kill()
        with store.lock(KEY):
            waited = time.monotonic() - killed

    assert not free_before
    assert lasts * 0.5 < waited < at_most
    assert not store.lock_is_certain


def test_lease__renewed_while_its_holder_lives(short_leases, store, other):
    """A living holder keeps its lease for longer than one lasts."""
    with store.lock(KEY):
        with ThreadPoolExecutor(1) as pool:
            free = pool.submit(is_free, other, timeout=SHORT_S * 2.5).result(PATIENCE_S)
        note(store)

    assert not free
    assert noted() == store.load(KEY)


def test_lease__all_renewed_by_one_statement(short_leases, store, engine):
    """The thread that renews leases renews all of them at once."""
    keys = [AccountKey("key", f"user-{n}") for n in range(5)]
    renewed = threading.Event()

    def hold():
        with contextlib.ExitStack() as held:
            for key in keys:
                held.enter_context(store.lock(key))
            assert renewed.wait(PATIENCE_S)

    def note_renewal(connection, cursor, statement, parameters, context, executemany):
        # One may come while not all are held.
        if " IN (" in statement and len(parameters) == 1 + len(keys) * 2:
            renewed.set()

    event.listen(engine, "before_cursor_execute", note_renewal)
    sent = statements_of(engine, hold)
    event.remove(engine, "before_cursor_execute", note_renewal)
    renewals = [parameters for statement, parameters in sent if " IN (" in statement]

    assert 1 <= len(renewals) <= 2
    assert len(renewals[-1]) == 1 + len(keys) * 2


def test_lease__renewal_fails(short_leases, store, other, engine, monkeypatch, caplog):
    """Whatever a renewal raises, as what hands out passwords may, the next one is tried."""
    failures = []

    def fail(connection, cursor, statement, parameters, context, executemany):
        if "holder" in statement and threading.current_thread().name == "tiktok-leases" and not failures:
            failures.append(statement)
            raise LookupError("no password today")

    monkeypatch.setattr(keeper, "RETRY_S", 0.01)
    event.listen(engine, "before_cursor_execute", fail)
    with store.lock(KEY):
        threading.Event().wait(SHORT_S * 2)
        assert not is_free(other)

    assert failures
    assert "could not be renewed" in caplog.text


def test_lease__no_thread_to_renew_it(store, other, monkeypatch):
    """Where no thread can be started, a lease outlasts a refresh without being renewed."""

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with other.lock(KEY):
        (row,) = lease_rows(store)

    assert keeper.UNKEPT_LEASE_S - 5 < row["expires"] - time.time() <= keeper.UNKEPT_LEASE_S + 1


def test_lease__by_the_databases_clock(store):
    """Its end is 18 s from now, to the fraction of a second; a released one is over."""
    began = time.time()
    with store.lock(KEY):
        (held,) = lease_rows(store)
    (released,) = lease_rows(store)

    assert keeper.LEASE_S <= held["expires"] - began < keeper.LEASE_S + 5
    assert held["expires"] % 1 > 0
    assert released["expires"] == 0


def test_lease__goes_with_its_account(store):
    """Of a deleted account nothing is left, and of one that comes back in the same block everything is."""
    with store.lock(KEY):
        store.delete(KEY)
    after_delete = lease_rows(store)
    store.save(KEY, token())
    with store.lock(KEY):
        store.delete(KEY)
        store.save(KEY, token(2))

    assert [] == after_delete
    assert token(2) == store.load(KEY)


# --- a lease that was lost --------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"expires": 0}], ids=["taken", "taken and released"])
def test_mark__lease_lost(store, other, changes, caplog):
    """Whoever was held up for too long is told so before a token is spent, and frees nobody's lock."""
    with store.lock(KEY):
        take_over(store, **changes)
        with pytest.raises(StoreConflict, match=r"lock of account .* was lost"):
            note(store)
    (row,) = lease_rows(store)

    assert token() == store.load(KEY)
    assert row["holder"] == "somebody else"
    assert is_free(other) == bool(changes)
    assert "lock was lost" in caplog.text


def test_mark__encrypted(store):
    """So is whoever holds an encrypted store's."""
    encrypted = EncryptedStore(store, CIPHER_KEY, accept_plain=True)
    encrypted.save(KEY, token())
    with encrypted.lock(KEY):
        note(encrypted)
        take_over(store)
        with pytest.raises(StoreConflict, match=r"lock of account .* was lost"):
            note(encrypted)


def test_mark__lease_lapsed(short_leases, store, monkeypatch):
    """A lease that nobody else has taken since it lapsed is renewed; one that somebody has is not."""
    monkeypatch.setattr(keeper.Keeper, "_renew", lambda *_: None)
    with store.lock(KEY):
        threading.Event().wait(SHORT_S * 1.5)
        note(store)
        threading.Event().wait(SHORT_S * 1.5)
        take_over(store)
        with pytest.raises(StoreConflict, match="was lost"):
            note(store)

    assert noted() == store.load(KEY)


def test_mark__another_token(store):
    """A mark on a token that is not there any more is a conflict that says so."""
    with store.lock(KEY):
        store.save(KEY, token(2), replacing=token().refresh_token)
        with pytest.raises(StoreConflict, match="another token now"):
            note(store)


def test_mark__needs_the_lock(store, other):
    """Without the lock a mark waits for whoever has it."""
    with ThreadPoolExecutor(1) as pool:
        with store.lock(KEY):
            waiting = pool.submit(note, other)
            threading.Event().wait(0.3)
            had_waited = not waiting.done()
        waiting.result(PATIENCE_S)

    assert had_waited
    assert noted() == store.load(KEY)


@pytest.mark.parametrize("replacing", [None, token().refresh_token], ids=["login", "refresh"])
def test_save__needs_no_lock(store, other, replacing):
    """A login waits for no refresh, and a new token is saved by whoever spent the old one."""
    with other.lock(KEY), ThreadPoolExecutor(1) as pool:
        before = other.load(KEY)
        pool.submit(store.save, KEY, token(2), replacing=replacing).result(PATIENCE_S)
        after = other.load(KEY)

    assert [token(1), token(2)] == [before, after]


def test_refresh__lease_lost(store, fake, issue, make_session):
    """A session that loses its lease between lock and mark spends nothing."""

    class HeldUp(SQLStore):
        def load(self, key):
            loaded = super().load(key)
            if self.is_locked_here(key):
                take_over(self)
            return loaded

    expired = TikTokToken(issue(), expires_at=time.time() - 1)
    key = AccountKey(fake.client_key, expired.open_id)
    store.save(key, expired)
    session = make_session(store=HeldUp(store._engine()), open_id=key.open_id, token_updater=None)
    with contextlib.suppress(TokenError, StoreError):
        session.get(USER_INFO)

    assert [] == fake.requests_to("refresh")
    assert expired.refresh_token == store.load(key).refresh_token


# --- statements that are slow, lost or interrupted --------------------------------------------------


@contextlib.contextmanager
def row_locked(engine, *statements):
    """Keep everybody else's statements from an account's lease, and do some in the same transaction."""
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT holder FROM tiktok_tokens_locks FOR UPDATE"))
        for statement, parameters in statements:
            connection.execute(statement, parameters)
        yield
        connection.commit()


def test_take__blocked(store, other, engine, monkeypatch):
    """A lease whose UPDATE was blocked until it was over was never had; the next try may have it."""
    assert is_free(store)
    monkeypatch.setattr(keeper, "LEASE_S", 0.3)
    sent = threading.Event()
    event.listen(other._database._callers_engine, "before_cursor_execute", lambda *_: sent.set())
    for timeout, expected in ((0.0, False), (PATIENCE_S, True)):
        sent.clear()
        with ThreadPoolExecutor(1) as pool:
            with row_locked(engine):
                had = pool.submit(is_free, other, timeout=timeout)
                assert sent.wait(PATIENCE_S)
                threading.Event().wait(0.6)
            answer = had.result(PATIENCE_S)

        assert expected == answer
        assert is_free(store)


def test_take__what_it_loads_is_never_old(store, other, engine, monkeypatch):
    """A take that was blocked by somebody who took, saved and released loads what they saved."""
    monkeypatch.setattr(leases, "LOADED_S", PATIENCE_S)
    assert is_free(store)
    theirs = SQLStore(engine)
    row = sqlalchemy.update(theirs.table).values(refresh_token_digest="theirs", document="{}")
    lease = sqlalchemy.text("UPDATE tiktok_tokens_locks SET holder = 'theirs', expires = 0")
    loaded = []

    def take_and_load():
        with other.lock(KEY):
            loaded.append(other._document(KEY))

    with ThreadPoolExecutor(1) as pool:
        with row_locked(engine, (row, {}), (lease, {})):
            taking = pool.submit(take_and_load)
            threading.Event().wait(0.3)
        taking.result(PATIENCE_S)

    assert ["{}"] == loaded


def test_load__in_the_lock(store, other, engine):
    """The first load in a lock may have come with it; every later one, and one after a save, is new."""
    with store.lock(KEY):
        first = store.load(KEY)
        other.save(KEY, token(2), replacing=token().refresh_token)
        second = store.load(KEY)
    with store.lock(KEY):
        store.save(KEY, token(3))
        third = store.load(KEY)
    with store.lock(KEY), ThreadPoolExecutor(1) as pool:
        pool.submit(store.save, KEY, token(4), replacing=token(3).refresh_token).result(PATIENCE_S)
        fourth = store.load(KEY)

    assert [token(1), token(2), token(3), token(4)] == [first, second, third, fourth]


@pytest.mark.parametrize("first_time", [True, False])
def test_take__answer_lost(store, other, engine, monkeypatch, first_time):
    """A lease that was taken, and whose answer was lost with the connection, is ours."""
    key = NEIGHBOUR if first_time else KEY
    assert first_time or is_free(store)
    commit, cuts = engine.dialect.do_commit, []

    def commit_and_lose(connection):
        commit(connection)
        if not cuts and any(row["expires"] > time.time() for row in lease_rows(other)):
            cuts.append(connection)
            connection.dbapi_connection.close()
            raise engine.dialect.dbapi.OperationalError(2013, "Lost connection")

    monkeypatch.setattr(engine.dialect, "do_commit", commit_and_lose)
    with store.try_lock(key) as held:
        others = is_free(other, key)

    assert len(cuts) == 1
    assert held
    assert not others
    assert is_free(other, key)


def test_take__interrupted(store, other, engine):
    """Ctrl-C while a lease is taken leaves none behind."""

    def interrupt(connection, cursor, statement, parameters, context, executemany):
        if "SET holder" in statement:
            event.remove(engine, "after_cursor_execute", interrupt)
            raise KeyboardInterrupt

    assert is_free(store)
    event.listen(engine, "after_cursor_execute", interrupt)
    with pytest.raises(KeyboardInterrupt), store.lock(KEY):
        pass

    assert is_free(other)
    assert is_free(store)


def test_release__fails(short_leases, store, other, monkeypatch, caplog):
    """A lease that cannot be released ends by itself, and until then its own process takes it up at once."""

    def lock_and_fail():
        with monkeypatch.context() as broken, store.lock(KEY):
            note(store)
            broken.setattr(store._leases.statements, "release", sqlalchemy.text("SELECT no_such_column"))

    lock_and_fail()
    seen = [is_free(other), is_free(other, timeout=SHORT_S * 2)]
    lock_and_fail()
    seen += [is_free(other), is_free(store), is_free(other)]

    assert [False, True, False, True, True] == seen
    assert noted() == store.load(KEY)
    assert "ends by itself" in caplog.text


@pytest.mark.parametrize("when", ["taken", "freed"])
def test_lock__server_goes_away(store, engine, database_server, monkeypatch, when):
    """Whoever could not take or free a lock since the server went away has it at once when that is back."""
    commit = engine.dialect.do_commit

    def commit_and_go_away(connection):
        commit(connection)
        monkeypatch.undo()
        connection.dbapi_connection.close()
        database_server.stop()
        raise engine.dialect.dbapi.OperationalError(2013, "Lost connection")

    assert is_free(store)
    if when == "taken":
        monkeypatch.setattr(engine.dialect, "do_commit", commit_and_go_away)
        with pytest.raises(StoreError, match="Call again when the database"):
            is_free(store)
    else:
        with store.lock(KEY):
            database_server.stop()
    database_server.start()
    (row,) = lease_rows(store)

    assert row["expires"] > time.time()
    assert is_free(store)


def test_lock__connections_cut(store, other, database_server):
    """No connection is the lock's: every one may be cut between any two statements."""
    with store.lock(KEY):
        for use in (
            lambda: store.load(KEY),
            lambda: note(store),
            lambda: store.save(KEY, token(2), replacing=token().refresh_token),
        ):
            database_server.cut()
            use()
            assert not is_free(other)
        database_server.cut()

    assert token(2) == store.load(KEY)
    assert is_free(other)


# --- how many statements ----------------------------------------------------------------------------


def refresh(store):
    """Do what a refresh does to a store."""
    with store.lock(KEY):
        now = store.load(KEY)
        store.save(KEY, TikTokToken(now, refresh_started_at=1), replacing=now.refresh_token)
        store.save(KEY, token(2), replacing=now.refresh_token)


def test_refresh__statements(store, engine):
    """Lock and load, mark, save and unlock are a transaction each; PostgreSQL needs no COMMIT for it."""
    assert is_free(store)
    transactions, own_transactions = [], []

    def commit(connection):
        transactions.append(connection)
        if getattr(connection.connection, "autocommit", None) is not True:
            own_transactions.append(connection)

    event.listen(engine, "commit", commit)
    sent = statements_of(engine, lambda: refresh(store))

    assert (len(sent), len(own_transactions)) == {"postgresql": (4, 0), "mysql": (5, 4)}[engine.dialect.name]
    assert len(transactions) == 4
    assert token(2) == store.load(KEY)


def test_lock__waiting_threads(store, other, engine):
    """Of 64 threads that wait for another process, one asks the database, and by looking only."""
    assert is_free(store)
    waiting, looks = threading.Barrier(65), threading.Semaphore(0)

    def wait():
        waiting.wait()
        return is_free(other, timeout=PATIENCE_S)

    def see_four_looks():
        waiting.wait()
        # Whenever a busy machine comes to them; and then for whoever else might look.
        assert all(looks.acquire(timeout=PATIENCE_S) for _ in range(4))
        time.sleep(0.3)

    event.listen(other._engine(), "before_cursor_execute", lambda *_: looks.release())

    with ThreadPoolExecutor(64) as pool:
        with store.lock(KEY):
            waits = [pool.submit(wait) for _ in range(64)]
            sent = statements_of(other._engine(), see_four_looks)
        assert [True] * 64 == [each.result() for each in waits]

    # One looks after 10, 15, 22 ms and so on at least.
    assert 4 <= len(sent) <= 20


def test_lock__waiting_threads_give_up(store, other):
    """Each of 64 threads that wait for another process is told in its own time that there is no lock."""
    assert is_free(store)
    with store.lock(KEY), ThreadPoolExecutor(64) as pool:
        waits = [pool.submit(is_free, other, timeout=0.5) for _ in range(64)]

        assert [False] * 64 == [each.result(PATIENCE_S) for each in waits]


def test_refresh__waiting_sessions(store, engine, fake, issue, make_session):
    """64 sessions of a process that all need a new token cost the database one refresh."""
    expired = TikTokToken(issue(), expires_at=time.time() - 1)
    key = AccountKey(fake.client_key, expired.open_id)
    store.save(key, expired)
    calls = threading.Semaphore(0)

    def call(session):
        calls.release()
        return session.get(USER_INFO).status_code

    def answer_when_all_wait(_):
        assert all(calls.acquire(timeout=PATIENCE_S) for _ in range(64))
        threading.Event().wait(0.3)

    fake.before("refresh", answer_when_all_wait)
    sessions = [make_session(store=store, open_id=key.open_id, token_updater=None) for _ in range(64)]
    assert {expired.refresh_token} == {session.token["refresh_token"] for session in sessions}
    with ThreadPoolExecutor(64) as pool:
        answers = []
        sent = statements_of(engine, lambda: answers.extend(pool.map(call, sessions)))

    assert [200] * 64 == answers
    assert len(fake.requests_to("refresh")) == 1
    assert 4 <= len(sent) <= 10


# --- whose connections ------------------------------------------------------------------------------


def test_refresh__application_has_all_connections_but_one(
    database_server, engines, fake, issue, make_session
):
    """On an engine that the application shares, one connection is enough for 8 refreshes at once."""
    engine = engines(database_server, pool_size=5, max_overflow=0, pool_timeout=PATIENCE_S)
    store = SQLStore(engine)
    sessions = []
    for _ in range(8):
        expired = TikTokToken(issue(user=fake.add_user().open_id), expires_at=time.time() - 1)
        store.save(AccountKey(fake.client_key, expired.open_id), expired)
        sessions.append(make_session(store=store, open_id=expired.open_id, token_updater=None))
    with contextlib.ExitStack() as applications, ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            applications.enter_context(engine.connect())
        answers = list(pool.map(lambda session: session.get(USER_INFO).status_code, sessions))

    assert [200] * 8 == answers
    assert len(fake.requests_to("refresh")) == 8


def test_refresh__holds_no_connection(store, engine, fake, issue, make_session):
    """While TikTok is asked, the pool has all its connections."""
    expired = TikTokToken(issue(), expires_at=time.time() - 1)
    store.save(AccountKey(fake.client_key, expired.open_id), expired)
    in_use = []
    fake.before("refresh", lambda record: in_use.append(engine.pool.checkedout()))
    make_session(store=store, open_id=expired.open_id, token_updater=None).get(USER_INFO)

    assert [0] == in_use


@pytest.mark.parametrize(
    ("options", "any_thread"),
    [({}, True), ({"poolclass": StaticPool}, False)],
    ids=["usual", "one connection"],
)
def test_any_thread(database_server, engines, options, any_thread):
    """A store whose threads would share one connection says so, and its leases are leases all the same."""
    store, other = SQLStore(engines(database_server, **options)), SQLStore(engines(database_server))
    store.save(KEY, token())
    with store.lock(KEY):
        note(store)
        free = is_free(other)

    assert any_thread == store.any_thread
    assert not free


def test_isolation__as_the_application_wants(database_server, engines, caplog):
    """Whatever isolation level the engine has, a refresh is as good, and the application keeps its level."""
    caplog.set_level(logging.WARNING)
    for level in ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"):
        engine = engines(database_server, isolation_level=level)
        store = SQLStore(engine)
        store.save(KEY, token())
        refresh(store)
        with engine.connect() as connection:
            assert level == connection.get_isolation_level()
        assert token(2) == store.load(KEY)

    assert caplog.text == ""
