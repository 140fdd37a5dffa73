"""A store whose engine the application uses as well: it takes little, and waits long for a save."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from child_processes import let_refreshes_end
from scenarios import assert_kept, call, connect, session_on

from tiktok_oauth_session import TokenNotSaved
from tiktok_oauth_session.stores.sql import SQLStore

POOL_SIZE, CALLERS = 15, 8
#: Seconds that TikTok takes: all callers one after the other wait longer than the pool lets them.
SLOW_S = 0.5
#: Seconds in which a new token is saved once it can be.
SAVED_WITHIN_S = 15.0
#: Seconds for which the pool lets somebody wait.
POOL_TIMEOUT_S = 2.0
#: Seconds in which nobody has waited for the pool.
AT_ONCE_S = 1.0


@pytest.fixture(params=["postgresql", pytest.param("mariadb", marks=pytest.mark.long)])
def engine(request, engines):
    """The engine of the application."""
    server = request.getfixturevalue(request.param)
    server.clear()
    yield engines(server, pool_size=POOL_SIZE, max_overflow=0, pool_timeout=POOL_TIMEOUT_S)
    let_refreshes_end()


@pytest.fixture
def store(engine):
    """The store on it."""
    store = SQLStore(engine)
    store.create_tables()
    return store


@contextlib.contextmanager
def held(engine, count):
    """Hold so many of its connections; yield what lets them go."""
    with contextlib.ExitStack() as connections:
        for _ in range(count):
            connections.enter_context(engine.connect())
        yield connections.close


@pytest.fixture
def tiktok(fake):
    """A TikTok that takes its time: what is held meanwhile, others do not have."""
    fake.before("refresh", lambda record: threading.Event().wait(SLOW_S))
    with fake.serve() as running:
        yield running.url


@pytest.mark.parametrize("accounts", [1, CALLERS])
def test_pool__one_connection_left(fake, tiktok, engine, store, accounts):
    """With all connections but one in use, callers with expired tokens are all answered."""
    keys = [connect(fake, store, left=-1) for _ in range(accounts)]
    with ThreadPoolExecutor(CALLERS) as pool, held(engine, POOL_SIZE - 1):
        sessions = [session_on(tiktok, store, keys[n % accounts].open_id) for n in range(CALLERS)]
        answers = list(pool.map(lambda session: call(session, tiktok), sessions))

    assert [200] * CALLERS == answers
    assert_kept(fake, store, keys)


def test_pool__handlers_that_hold_one_each(fake, tiktok, engine, store):
    """So are handlers each of whom holds a connection while it calls, if one is left."""
    keys = [connect(fake, store, left=-1) for _ in range(POOL_SIZE - 1)]
    everybody = threading.Barrier(POOL_SIZE - 1)

    def handle(key):
        session = session_on(tiktok, store, key.open_id)
        with engine.connect():
            everybody.wait()
            return call(session, tiktok)

    with ThreadPoolExecutor(POOL_SIZE - 1) as pool:
        answers = list(pool.map(handle, keys))

    assert [200] * (POOL_SIZE - 1) == answers
    assert_kept(fake, store, keys)


@pytest.mark.slow
def test_pool__taken_while_the_reply_travels(fake, tiktok, engine, store):
    """A save outlasts a pool that has no connection for longer than its own timeout; nobody has to call."""
    key = connect(fake, store, left=-1)
    with contextlib.ExitStack() as connections:
        over = threading.Timer(2 * POOL_TIMEOUT_S, connections.close)

        def take(_):
            # One may be held by the refresh itself.
            with contextlib.suppress(Exception):
                while True:
                    connections.enter_context(engine.connect())
            over.start()

        fake.after("refresh", take)
        answer = call(session_on(tiktok, store, key.open_id), tiktok)
        over.join()
    deadline = time.monotonic() + SAVED_WITHIN_S
    while not fake.is_alive(store.load(key).refresh_token) and time.monotonic() < deadline:
        threading.Event().wait(0.05)

    assert answer == 200 or isinstance(answer, TokenNotSaved)
    assert_kept(fake, store, [key])


@pytest.mark.parametrize("left", [300, 7000], ids=["due", "fresh"])
def test_pool__no_connection_and_a_token_that_works(fake, tiktok, engine, store, left):
    """While the token works nobody waits for the pool, though a refresh is due."""
    key = connect(fake, store, left=left)
    session = session_on(tiktok, store, key.open_id)
    authorized = session.authorized
    with held(engine, POOL_SIZE):
        began = time.monotonic()
        answer = call(session, tiktok)
        took = time.monotonic() - began

    assert authorized
    assert 200 == answer
    assert took < AT_ONCE_S
    assert fake.reuse_attempts == 0
