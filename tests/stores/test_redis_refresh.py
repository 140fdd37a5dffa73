"""Many processes, accounts and accidents on one Redis."""

from __future__ import annotations

import signal
import sys

import pytest
import scenarios
from redis_users import opens

from tiktok_oauth_session import StoreError
from tiktok_oauth_session.stores.redis import RedisStore

LOCKS = "tiktok-oauth:lock:*"


@pytest.mark.slow
def test_refresh__eight_processes(fake, tiktok, redis_server, redis_client):
    """8 processes of 8 threads on one Redis and an expired token: 1 request, 64 answers, no reuse."""
    scenarios.assert_one_refresh(opens(redis_server), fake, tiktok)

    assert [] == redis_client.keys(LOCKS), "a lock outlived its holder's refresh"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
def test_refresh__restart(fake, tiktok, redis_servers, count, how):
    """A restart of Redis between mark and save costs errors that say so, and no account."""
    server = redis_servers()
    errors = scenarios.assert_restart_loses_nothing(
        opens(server), fake, tiktok, stop=lambda: server.stop(how), start=server.start, count=count
    )
    texts = {str(error) for error in errors}
    sys.stdout.write(f"{len(errors)} calls were told, such as: {sorted(texts)[:3]}\n")

    assert texts
    assert [] == [text for text in texts if "Check that the server runs" not in text]


@pytest.mark.slow
@pytest.mark.parametrize("when", scenarios.LOST_LOCKS)
def test_refresh__lease_lost(fake, tiktok, redis_server, redis_client, when):
    """When the lock is lost during a refresh, no second refresh token is spent and no newer token lost."""

    def cut():
        assert 1 == redis_client.delete(*redis_client.keys(LOCKS))

    scenarios.assert_left_alone(opens(redis_server), fake, tiktok, cut, when)


def test_refresh__lease_lost_before_the_mark(fake, tiktok, redis_client):
    """A holder whose lease lapsed before it could mark the account spends nothing."""

    class HeldUp(RedisStore):
        def save(self, key, token, *, replacing=None):
            if token.refresh_token == replacing:
                assert 1 == redis_client.delete(*redis_client.keys(LOCKS))
            super().save(key, token, replacing=replacing)

    store = HeldUp(redis_client)
    key = scenarios.connect(fake, store, left=-1)
    before = store.load(key)
    scenarios.call(scenarios.session_on(tiktok, store, key.open_id), tiktok)

    assert [] == fake.requests_to("refresh")
    assert before == store.load(key)
    assert 200 == scenarios.call(scenarios.session_on(tiktok, RedisStore(redis_client), key.open_id), tiktok)
    assert fake.reuse_attempts == 0


def test_refresh__server_full(fake, tiktok, redis_client):
    """A Redis that is full is found out before the refresh token is spent; with room again, all is well."""
    store = RedisStore(redis_client)
    session = scenarios.session_on(tiktok, store, scenarios.connect(fake, store, left=-1).open_id)
    redis_client.config_set("maxmemory", 1)
    try:
        full = scenarios.call(session, tiktok)
    finally:
        redis_client.config_set("maxmemory", 0)

    assert isinstance(full, StoreError)
    assert [] == fake.requests_to("refresh")
    assert 200 == scenarios.call(session, tiktok)
