"""What a process remembers of its connections' refreshes, however many sessions and stores it makes."""

from __future__ import annotations

import concurrent.futures
import gc
import json
import threading
import weakref

import pytest
import sqlalchemy

from tiktok_oauth_session import (
    AccountKey,
    FileStore,
    MemoryStore,
    ReauthorizationRequired,
    TikTokToken,
    TokenError,
    TokenNotSaved,
)
from tiktok_oauth_session._connection.process_memory import ProcessMemory, memory
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


def test_failure__is_shared_by_all_who_waited(fake, make_session, clock, handle, key):
    """Of eight requests that wait for one refresh, all get its failure, and TikTok one request."""
    callers, all_there = 8, threading.Event()

    def wait_for_all(record):
        flight = memory().in_store(handle(), key).flight
        for _ in range(2000):
            if len(flight._news) == callers:
                all_there.set()
                return
            threading.Event().wait(0.01)

    def call(session):
        with pytest.raises(TokenError) as caught:
            session.get(USER_INFO)
        return caught.value

    clock.advance(7200)
    fake.fail("refresh", "error", error="invalid_client", times=None)
    fake.before("refresh", wait_for_all)
    sessions = [make_session(store=handle(), open_id=key.open_id, token_updater=None) for _ in range(callers)]
    with concurrent.futures.ThreadPoolExecutor(callers) as pool:
        errors = list(pool.map(call, sessions))

    assert all_there.is_set()
    assert ["invalid_client"] * callers == [error.error for error in errors]
    assert len({id(error) for error in errors}) == callers, "each caller has an error of its own"
    assert len(fake.requests_to("refresh")) == 1


def test_refused_app__is_of_one_secret(fake, make_session, clock, handle, key):
    """What TikTok says of a wrong secret holds for whoever has that secret, and for nobody else."""
    clock.advance(7200)
    options = {"store": handle(), "open_id": key.open_id, "token_updater": None}
    for _ in range(3):
        with pytest.raises(TokenError) as caught:
            make_session(**options, client_secret="fake-old-secret").get(USER_INFO)
    answer = make_session(**options).get(USER_INFO)

    assert "invalid_client" == caught.value.error
    assert 0 < caught.value.retry_after <= 30
    assert 200 == answer.status_code
    assert ["fake-old-secret", fake.client_secret] == [
        record.form["client_secret"] for record in fake.requests_to("refresh")
    ]


def test_storeless__mocks_are_forgotten(fake, make_session, issue, clock):
    """A session on a stand-in for TikTok begins with the token it is given, whatever others did with it."""
    token, told = issue(), []
    clock.advance(7200)
    first = make_session(token=token)
    first.get(USER_INFO)
    fake.fail("refresh", "body", body=json.dumps(fake.issue_token()).encode())
    second = make_session(token=token, token_updater=told.append)
    second.get(USER_INFO)

    assert [token["refresh_token"]] * 2 == [r.form["refresh_token"] for r in fake.requests_to("refresh")]
    assert [second.token] == told
    assert first.token != second.token


def test_storeless__ends_with_the_successor(fake, make_session, issue, clock):
    """What came for a token is remembered for as long as it lives itself."""
    token = issue()
    clock.advance(7200)
    make_session(token=token, as_if_network=True).get(USER_INFO)
    late = make_session(token=token, as_if_network=True)

    assert 200 == late.get(USER_INFO).status_code
    assert 1 == len(fake.requests_to("refresh"))

    clock.advance(7200)
    with pytest.raises(ReauthorizationRequired):
        make_session(token=token, as_if_network=True).get(USER_INFO)

    assert 2 == len(fake.requests_to("refresh"))


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


def test_memory__keeps_no_store_alive(fake):
    """What is remembered of a connection does not hold on to the store that it was in."""
    known, store = ProcessMemory(), MemoryStore()
    known.in_store(store, AccountKey(fake.client_key, "user"))
    gone = weakref.ref(store)
    del store
    gc.collect()

    assert gone() is None


def test_memory__remembers_so_many(fake, monkeypatch):
    """Those that were asked for last are remembered; the number is bounded."""
    monkeypatch.setattr("tiktok_oauth_session._connection.process_memory.REMEMBERED_CONNECTIONS", 2)
    known, store = ProcessMemory(), MemoryStore()
    keys = [AccountKey(fake.client_key, str(number)) for number in range(3)]
    first, second = (known.in_store(store, key) for key in keys[:2])
    known.in_store(store, keys[0])
    known.in_store(store, keys[2])

    assert first is known.in_store(store, keys[0])
    assert second is not known.in_store(store, keys[1])


def test_identity__default_is_the_handle():
    """A store that says nothing of others is one of its own."""
    store = MemoryStore()

    assert isinstance(store, TokenStore)
    assert store.identity == store.identity
    assert hash(store.identity) == hash(store.identity)
    assert store.identity != MemoryStore().identity


def test_memory__forgets_nothing_that_is_going_on(fake, make_session, issue, monkeypatch):
    """What a store has not taken yet is not forgotten, however many connections come after it."""
    monkeypatch.setattr("tiktok_oauth_session._connection.process_memory.REMEMBERED_CONNECTIONS", 2)
    told, token = [], issue()

    def refuse(token):
        told.append(token)
        if len(told) <= 2:
            # It is told again at once, since whatever cut it short may end the process.
            raise OSError("down")

    session = make_session(token=token, as_if_network=True, token_updater=refuse)
    with pytest.raises(TokenNotSaved):
        session.refresh_token()
    for number in range(5):
        memory().without_store(fake.client_key, TikTokToken(refresh_token=f"rft.fake-{number}"))

    assert 200 == session.get(USER_INFO).status_code
    assert told[0] == told[1] == told[2] == session.token
    assert 1 == len(fake.requests_to("refresh"))


def test_client_token__is_paced(fake, make_session, clock):
    """An app whose token cannot be renewed asks once, not at every call; what still works is used."""
    session = make_session(token_updater=None)
    session.fetch_client_token()
    fake.fail("client_token", "status", status=429, times=None)
    clock.advance(7200 - 30)
    working = [session.get(USER_INFO).json()["error"]["code"] for _ in range(5)]
    asked = len(fake.requests_to("client_token"))
    clock.advance(31)
    for _ in range(5):
        with pytest.raises(TokenError) as caught:
            session.get(USER_INFO)

    # A good token, but no user's.
    assert ["scope_not_authorized"] * 5 == working
    assert 2 == asked == len(fake.requests_to("client_token"))
    assert 0 < caught.value.retry_after
