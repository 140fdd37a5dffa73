"""Those who share a Redis, in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import redis
from child_processes import fork, hear, let_refreshes_end, say
from redis.backoff import NoBackoff
from redis.retry import Retry

from tiktok_oauth_session.stores import StoreConflict
from tiktok_oauth_session.stores.redis import RedisStore, leases
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, token


@contextlib.contextmanager
def opened(port):
    """Lend a store on a client of its own."""
    client = redis.Redis(port=port, retry=Retry(NoBackoff(), 0))
    try:
        yield RedisStore(client)
    finally:
        let_refreshes_end()
        client.close()


def opens(server):
    """Return how any process opens the store."""
    return f"import_module('redis_users').opened({server.port})"


def hold(port, lease_s):
    """Hold the account's lock until the end."""
    leases.LEASE_S, leases.RENEW_S = float(lease_s), float(lease_s) / 4
    with opened(int(port)) as store, store.lock(KEY):
        say(ready=True)
        signal.pause()


def hold_and_fork(port, how):
    """Hold the account's lock, and let a forked child try to use it, and leave the block."""
    store = RedisStore(redis.Redis(port=int(port)))
    store.save(KEY, token())
    with store.lock(KEY):
        child = fork(how)
        if child:
            os.waitpid(child, 0)
            say(who="parent", marked=mark(store), connection=store._client.client_id())
            hear()
        else:
            leases.LEASE_S, leases.RENEW_S = 0.4, 0.1
            with store.try_lock(KEY) as held:
                marked = mark(store)
            own_renewed = is_renewed(store, int(port))
    if not child:
        connection = store._client.client_id()
        say(who="child", held=held, marked=marked, own_renewed=own_renewed, connection=connection)
        os._exit(0)


def mark(store):
    """Tell whether a note about the stored token can be saved."""
    try:
        store.save(KEY, token(), replacing=token().refresh_token)
    except StoreConflict:
        return False
    return True


def is_renewed(store, port):
    """Tell whether a lock of this process's own outlives its first lease."""
    with opened(port) as other, store.lock(NEIGHBOUR), other.try_lock(NEIGHBOUR, timeout=1.0) as taken:
        return not taken


if __name__ == "__main__":
    {each.__name__: each for each in (hold, hold_and_fork)}[sys.argv[1]](*sys.argv[2:])
