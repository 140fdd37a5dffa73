"""What a process remembers of its connections' refreshes, however many sessions and stores it makes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import threading
import weakref

import pytest
import sqlalchemy

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, TokenError
from tiktok_oauth_session._connection.process_memory import Flights
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.stores.encrypted import EncryptedStore
from tiktok_oauth_session.stores.redis import RedisStore
from tiktok_oauth_session.stores.sql import SQLStore

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
CIPHER_KEY = "a2V5IG9mIHRoaXMgdGVzdCwgMzIgYnl0ZXMgbG9uZyE="


class ByHand(MemoryStore):
    """A store that somebody wrote without a thought of hashes."""

    __hash__ = None

    def __eq__(self, other):
        return self is other


@pytest.fixture(params=["memory", "by hand", "file", "encrypted", "sql"])
def handle(request, tmp_path):
    """Makes one handle after another on the same tokens, as for one request each."""
    if request.param in ("memory", "by hand"):
        shared = {"memory": MemoryStore, "by hand": ByHand}[request.param]()
        yield lambda: shared
    elif request.param == "sql":
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/tokens.sqlite")
        SQLStore(engine).create_tables()
        yield lambda: SQLStore(engine)
        engine.dispose()
    else:
        yield {
            "file": lambda: FileStore(tmp_path),
            "encrypted": lambda: EncryptedStore(FileStore(str(tmp_path)), CIPHER_KEY),
        }[request.param]


@pytest.fixture
def key(fake, issue, handle):
    """A connection in the store."""
    token = issue()
    key = AccountKey(fake.client_key, token.open_id)
    handle().save(key, token)
    return key


def test_pause__holds_for_every_session(fake, make_session, clock, handle, key):
    """After a failure in the advisory window no request of a web application tries again for a while."""
    fake.fail("refresh", "error", error="invalid_request", times=None)
    clock.advance(7200 - 300)
    for number in range(5):
        session = make_session(store=handle(), open_id=key.open_id, token_updater=None)
        assert 200 == session.get(USER_INFO).status_code
        del session
        if number == 0:
            # Once, for it takes long: nothing is left of the first request.
            gc.collect()

    assert len(fake.requests_to("refresh")) == 1


def test_pause__is_of_one_account(fake, make_session, issue, clock, handle, key):
    """The neighbour in the same store is refreshed all the same."""
    neighbour = issue(user=fake.add_user().open_id)
    handle().save(AccountKey(fake.client_key, neighbour.open_id), neighbour)
    clock.advance(7200 - 300)
    fake.fail("refresh", "error", error="invalid_request")
    for open_id in (key.open_id, neighbour.open_id):
        session = make_session(store=handle(), open_id=open_id, token_updater=None)
        assert 200 == session.get(USER_INFO).status_code

    assert [False, True] == [record.committed for record in fake.requests_to("refresh")]


def test_pause__ends_with_a_login(fake, make_session, clock, handle, key, log_in):
    """What failed before a new login says nothing of the token that came with it."""
    clock.advance(7200 - 300)
    fake.fail("refresh", "error", error="invalid_request")
    make_session(store=handle(), open_id=key.open_id, token_updater=None).get(USER_INFO)
    log_in(make_session(store=handle(), token_updater=None))
    clock.advance(7200 - 300)
    make_session(store=handle(), open_id=key.open_id, token_updater=None).get(USER_INFO)

    assert [False, True] == [record.committed for record in fake.requests_to("refresh")]


def test_failure__is_shared_by_all_who_waited(fake, make_session, clock, handle, key, monkeypatch):
    """Of eight requests that wait for one refresh, all get its failure, and TikTok one request."""
    callers, waiting, all_there = 8, set(), threading.Event()

    def seen(store):
        lock = store.lock

        def arrive(key):
            waiting.add(threading.get_ident())
            if len(waiting) == callers:
                all_there.set()
            return lock(key)

        monkeypatch.setattr(store, "lock", arrive)
        return store

    def call(session):
        with pytest.raises(TokenError) as caught:
            session.get(USER_INFO)
        return caught.value

    clock.advance(7200)
    fake.fail("refresh", "error", error="invalid_client", times=None)
    fake.before("refresh", lambda record: all_there.wait(20))
    shared = handle()
    one_handle = handle() is shared
    with contextlib.ExitStack() as stack:
        stores = [seen(shared)] * callers if one_handle else [seen(handle()) for _ in range(callers)]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(callers))
        sessions = [make_session(store=s, open_id=key.open_id, token_updater=None) for s in stores]
        errors = list(pool.map(call, sessions))

    assert all_there.is_set()
    assert ["invalid_client"] * callers == [error.error for error in errors]
    assert len({id(error) for error in errors}) == callers, "each caller has an error of its own"
    assert len(fake.requests_to("refresh")) == 1


def test_identity__of_different_tokens(tmp_path):
    """Stores that share nothing have nothing in common, even one after the other in the same memory."""
    seen = set()
    for number in range(50):
        seen.add(MemoryStore().identity)
        seen.add(FileStore(tmp_path / str(number)).identity)

    assert len(seen) == 100


def test_identity__of_two_redis_handles(redis_client):
    """Handles on one client and prefix are one store to the process; another prefix is another store."""
    one, other = (RedisStore(redis_client, prefix=prefix) for prefix in ("app:", "other:"))

    assert one.identity == RedisStore(redis_client, prefix="app:").identity
    assert one.identity != other.identity


def test_flights__keep_no_store_alive(fake):
    """What is remembered of a connection does not hold on to the store that it was in."""
    flights, store = Flights(), MemoryStore()
    flights.of(store, AccountKey(fake.client_key, "user"))
    gone = weakref.ref(store)
    del store
    gc.collect()

    assert gone() is None


def test_flights__remember_so_many(fake, monkeypatch):
    """Those that were asked for last are remembered; the number is bounded."""
    monkeypatch.setattr("tiktok_oauth_session._connection.process_memory.REMEMBERED_CONNECTIONS", 2)
    flights, store = Flights(), MemoryStore()
    keys = [AccountKey(fake.client_key, str(number)) for number in range(3)]
    first, second = (flights.of(store, key) for key in keys[:2])
    flights.of(store, keys[0])
    flights.of(store, keys[2])

    assert first is flights.of(store, keys[0])
    assert second is not flights.of(store, keys[1])


def test_identity__default_is_the_handle():
    """A store that says nothing of others is one of its own."""
    store = MemoryStore()

    assert isinstance(store, TokenStore)
    assert store.identity == store.identity
    assert hash(store.identity) == hash(store.identity)
    assert store.identity != MemoryStore().identity
