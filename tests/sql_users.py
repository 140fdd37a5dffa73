"""Those who share a database, in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import sqlalchemy
from child_processes import fork, hear, let_refreshes_end, say
from sqlalchemy import event

from tiktok_oauth_session.stores.sql import SQLStore, keeper
from tiktok_oauth_session.testing.conformance import KEY, token


@contextlib.contextmanager
def opened(url, **options):
    """Lend a store on an engine of its own."""
    engine = sqlalchemy.create_engine(url, **options)
    try:
        yield SQLStore(engine)
    finally:
        let_refreshes_end()
        engine.dispose()


def hold(url, lease_s=None):
    """Hold the account's lock until the end; a lease for so many seconds, if it is one."""
    if lease_s:
        keeper.LEASE_S, keeper.RENEW_S = float(lease_s), float(lease_s) / 4
    with opened(url) as store, store.lock(KEY):
        say(ready=True)
        signal.pause()


def hold_and_fork(url, how):
    """Hold the account's lock, and let a forked child try to take it, use the store, and leave the block."""
    engine = sqlalchemy.create_engine(url)
    wires = []
    event.listen(engine, "checkout", lambda wire, *_: wires.append(wire))
    store = SQLStore(engine)
    store.save(KEY, token(1))
    with engine.connect(), engine.connect():
        # Two connections for the pool.
        pass
    pool, child = engine.pool, 0
    with store.lock(KEY):
        child = fork(how)
        if child:
            os.waitpid(child, 0)
            store.save(KEY, token(2), replacing=token(1).refresh_token)
            say(loaded=generation(store))
            hear()
        else:
            inherited, errors = wires[:], []
            wires.clear()
            sys.unraisablehook = lambda error: errors.append(str(error.exc_value))
            with store.try_lock(KEY) as held:
                loaded = generation(store)
    if not child:
        shared = [repr(wire) for wire in wires if wire in inherited]
        say(held=held, loaded=loaded, errors=errors, own_pool=engine.pool is not pool, shared=shared)
        os._exit(0)
    with opened(url) as other, other.try_lock(KEY) as free:
        say(free=free)
    engine.dispose()


def generation(store):
    """Return which of the tests' tokens is stored."""
    return next((n for n in (1, 2) if store.load(KEY) == token(n)), None)


if __name__ == "__main__":
    {each.__name__: each for each in (hold, hold_and_fork)}[sys.argv[1]](*sys.argv[2:])
