"""Refreshing with a store in Redis: many callers, lost leases, a server that goes away."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis_users
from child_processes import ChildProcess
from redis_server import PATIENCE_S
from redis_users import call, session_on

from tiktok_oauth_session import AccountKey, ReauthorizationRequired, StoreError, TikTokToken, TokenNotSaved
from tiktok_oauth_session.stores.redis import RedisStore
from tiktok_oauth_session.testing import FakeTikTok

#: Seconds of a lease that is meant to be lost.
SHORT_LEASE_S = 0.3


@pytest.fixture
def fake():
    """A TikTok whose clock is the machine's."""
    return FakeTikTok()


@pytest.fixture
def server(fake):
    """Serve it."""
    with fake.serve() as running:
        yield running


def expired(fake, store):
    """Save the token of a new user, which has just expired; return their open_id and it."""
    open_id = fake.add_user().open_id
    issued = TikTokToken.from_reply(fake.issue_token(user=open_id), requested_at=time.time() - 8000)
    store.save(AccountKey(fake.client_key, open_id), issued)
    return open_id, issued


class HeldUp:
    """TikTok holds up the first refresh, before or after it spends the refresh token, until told."""

    def __init__(self, fake, moment):
        self.arrived, self.go_on = threading.Event(), threading.Event()
        getattr(fake, moment)("refresh", self)

    def __call__(self, record):
        if not self.arrived.is_set():
            self.arrived.set()
            assert self.go_on.wait(PATIENCE_S)


def two_with_a_short_lease(url, client, open_id):
    """Return two sessions of one account on stores of their own, which lose their locks."""
    stores = (RedisStore(client, lease=SHORT_LEASE_S) for _ in range(2))
    return [session_on(url, store, open_id) for store in stores]


def test_refresh__lease_ends_before_the_reply(fake, server, redis_client):
    """A reply that comes after the lease is saved all the same, whatever others made of the delay."""
    store = RedisStore(redis_client)
    open_id, old = expired(fake, store)
    slow, other = two_with_a_short_lease(server.url, redis_client, open_id)
    reply = HeldUp(fake, "after")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, slow, server.url)
        assert reply.arrived.wait(PATIENCE_S)
        meanwhile = call(other, server.url)
        reply.go_on.set()
        answer = first.result(PATIENCE_S)

    sent = [request.form["refresh_token"] for request in fake.requests_to("refresh")]
    newest = store.load(AccountKey(fake.client_key, open_id))
    assert isinstance(meanwhile, ReauthorizationRequired), "TikTok's word, until the reply comes"
    assert answer == 200
    assert [old.refresh_token] * 2 == sent, "no second refresh token was spent"
    assert fake.is_alive(newest.refresh_token)
    assert [200, 200] == [call(session, server.url) for session in (slow, other)]
    assert len(fake.requests_to("refresh")) == 2


def test_refresh__overtaken_after_the_lease(fake, server, redis_client):
    """Who hangs longer than the lease, and is overtaken, uses the newer token and overwrites nothing."""
    store = RedisStore(redis_client)
    open_id, _ = expired(fake, store)
    slow, other = two_with_a_short_lease(server.url, redis_client, open_id)
    request = HeldUp(fake, "before")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, slow, server.url)
        assert request.arrived.wait(PATIENCE_S)
        answers = [call(other, server.url)]
        newer = store.load(AccountKey(fake.client_key, open_id))
        request.go_on.set()
        answers.append(first.result(PATIENCE_S))

    assert [200, 200] == answers
    assert newer == store.load(AccountKey(fake.client_key, open_id))
    assert fake.is_alive(newer.refresh_token)
    assert slow.token == newer
    assert fake.reuse_attempts == 1, "the one request that was under way"


def test_refresh__server_full(fake, server, redis_client):
    """A Redis that is full is found out before the refresh token is spent; with room again, all is well."""
    store = RedisStore(redis_client)
    open_id, _ = expired(fake, store)
    session = session_on(server.url, store, open_id)
    redis_client.config_set("maxmemory", 1)
    try:
        full = call(session, server.url)
    finally:
        redis_client.config_set("maxmemory", 0)

    assert isinstance(full, StoreError)
    assert [] == fake.requests_to("refresh")
    assert call(session, server.url) == 200


def test_refresh__eight_processes(fake, server, redis_server, redis_client):
    """Eight processes of eight threads and an expired token cause one token request and lose no call."""
    open_id, _ = expired(fake, RedisStore(redis_client))
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                ChildProcess(redis_users.__file__, "call_at_once", redis_server.port, server.url, open_id)
            )
            for _ in range(8)
        ]
        assert [{"ready": 8}] * 8 == [process.hear(timeout=60) for process in processes]
        for process in processes:
            process.say(go=True)
        answers = [answer for process in processes for answer in process.hear(timeout=60)["answers"]]

    assert [200] * 64 == answers
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
def test_refresh__server_restarted(fake, server, redis_servers, count, how, caplog):
    """A restart of Redis in the middle of many refreshes costs errors that say so, and no account."""
    redis_server = redis_servers()
    with redis_server.client() as client:
        store = RedisStore(client)
        accounts = [expired(fake, store)[0] for _ in range(count)]
        sessions = [session_on(server.url, store, open_id) for open_id in accounts]
        refreshes = itertools.count()

        def stop_at_half(_):
            # Here a refresh token has been spent, and the new one is not saved.
            if next(refreshes) == count // 2:
                redis_server.stop(how)

        fake.after("refresh", stop_at_half)
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(lambda session: call(session, server.url), sessions))
        failed = [n for n, outcome in enumerate(outcomes) if outcome != 200]
        unsaved = [n for n in failed if isinstance(outcomes[n], TokenNotSaved)]

        redis_server.start()
        again = [call(sessions[n], server.url) for n in failed]
        stored = [store.load(AccountKey(fake.client_key, open_id)) for open_id in accounts]

    assert {True} == {isinstance(outcomes[n], StoreError) for n in failed}
    assert unsaved, "nobody was caught in the window"
    assert {True} == {fake.is_alive(outcomes[n].token["refresh_token"]) for n in unsaved}
    assert [200] * len(failed) == again
    assert [True] * count == [fake.is_alive(each["refresh_token"]) for each in stored]
    assert count == len(fake.requests_to("refresh"))
    assert fake.reuse_attempts == 0
