"""Those who share a Redis: sessions, and what they do in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import redis
from child_processes import hear, say

from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session
from tiktok_oauth_session.stores.redis import RedisStore
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.testing.conformance import KEY

USER_INFO = "/v2/user/info/?fields=open_id"


@contextlib.contextmanager
def opened(port):
    """Lend a store on a client of its own."""
    with redis.Redis(port=port) as client:
        yield RedisStore(client)


def session_on(url, store, open_id):
    """Return a session that talks to a served fake."""
    session = TikTokOAuth2Session(
        FakeTikTok().client_key,
        client_secret=FakeTikTok().client_secret,
        store=store,
        open_id=open_id,
        platform=LOGIN_KIT.at(url),
    )
    session.trust_env = False
    return session


def call(session, url):
    """Call the API; return the status, or the error."""
    try:
        return session.get(url + USER_INFO).status_code
    except Exception as error:  # noqa: BLE001 - the outcome under test
        return error


def hold(port, lease):
    """Hold the account's lock until the end."""
    store = RedisStore(redis.Redis(port=int(port)), lease=float(lease))
    with store.lock(KEY):
        say(began=time.time())
        signal.pause()


def hold_and_fork(port):
    """Hold the account's lock, and let a forked child try to take it."""
    store = RedisStore(redis.Redis(port=int(port)))
    with store.lock(KEY):
        child = os.fork()
        if not child:
            with store.try_lock(KEY) as held:
                say(child_held=held)
            os._exit(0)
        os.waitpid(child, 0)
        with store.try_lock(KEY) as held:
            say(parent_held=held)


def call_at_once(port, url, open_id):
    """Call the API from eight threads when the test says so."""
    # One client for all threads, a store and a session for each: none of them knows of another.
    client = redis.Redis(port=int(port))
    sessions = [session_on(url, RedisStore(client), open_id) for _ in range(8)]
    say(ready=len(sessions))
    hear()
    with ThreadPoolExecutor(len(sessions)) as pool:
        answers = list(pool.map(lambda session: call(session, url), sessions))
    say(answers=[answer if isinstance(answer, int) else repr(answer) for answer in answers])


if __name__ == "__main__":
    {each.__name__: each for each in (hold, hold_and_fork, call_at_once)}[sys.argv[1]](*sys.argv[2:])
