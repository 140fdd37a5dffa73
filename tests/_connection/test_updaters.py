"""Sessions whose only store is a token_updater: what TikTok gave reaches it, however their caller ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from child_processes import PATIENCE_S, ChildProcess, hear, say

from tiktok_oauth_session import LOGIN_KIT, MemoryStore, TikTokOAuth2Session, TikTokToken, TokenNotSaved
from tiktok_oauth_session.testing import FakeTikTok

USER_INFO = "/v2/user/info/?fields=open_id"
#: Seconds that the updater takes.
UPDATE_S = 0.1


class TimeLimit(Exception):
    """What a job's time limit raises."""


# --- in the other process ---------------------------------------------------------------------------


def write(path):
    """Return an updater that takes its time."""

    def update(token):
        say(updating=True)
        time.sleep(UPDATE_S)
        Path(path).write_text(json.dumps(token))

    return update


def daemon_thread(session, url):
    """Refresh in a thread that nobody waits for, and come to the end."""
    threading.Thread(target=session.get, args=(url,), daemon=True).start()
    hear()


def job(session, url):
    """Refresh as a job that is cut short, in a process that ends with it."""

    def limit(*_):
        raise TimeLimit

    signal.signal(signal.SIGALRM, limit)
    try:
        session.get(url)
    except (TimeLimit, TokenNotSaved):
        # The second where the limit cut the updater short: it cannot be told from an error of the updater's.
        os._exit(0)
    os._exit(1)


def terminated(session, url):
    """Refresh in the main thread, which SIGTERM ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    session.get(url)


ROLES = {each.__name__: each for each in (daemon_thread, job, terminated)}


def run(role, url, token, path):
    """Be a process that ends."""
    session = TikTokOAuth2Session(
        FakeTikTok().client_key,
        client_secret=FakeTikTok().client_secret,
        token=token,
        token_updater=write(path),
        platform=LOGIN_KIT.at(url),
    )
    session.trust_env = False
    ROLES[role](session, url + USER_INFO)


# --- in the test ------------------------------------------------------------------------------------


def hear_all(child):
    """Hear a process out, until it ends."""
    while True:
        child.hear()


def interrupt(child, role):
    """End a process the way that its role is about."""
    if role == "daemon_thread":
        child.say(end=True)
    else:
        os.kill(child.pid, signal.SIGALRM if role == "job" else signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs signals")
@pytest.mark.parametrize("moment", ["while the reply travels", "in the updater"])
@pytest.mark.parametrize("role", ROLES)
def test_updater__of_a_process_that_ends(tmp_path, role, moment):
    """A process ends only when the updater has taken the token that it spent another one for."""
    fake, path = FakeTikTok(), tmp_path / "token.json"
    token = TikTokToken.from_reply(fake.issue_token(), requested_at=time.time() - 8000)
    arrived, over = threading.Event(), threading.Event()

    def hang(_):
        arrived.set()
        over.wait(PATIENCE_S)

    if moment == "while the reply travels":
        fake.after("refresh", hang)
    with fake.serve() as server, ChildProcess(__file__) as child:
        child.say(role=role, url=server.url, token=token, path=str(path))
        if moment == "in the updater":
            assert {"updating": True} == child.hear()

            interrupt(child, role)
        else:
            assert arrived.wait(PATIENCE_S)

            interrupt(child, role)
            threading.Event().wait(UPDATE_S)
            over.set()
        with pytest.raises(EOFError, match="ended with 0"):
            hear_all(child)

    assert fake.is_alive(json.loads(path.read_text())["refresh_token"])
    assert 1 == len(fake.requests_to("refresh"))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals")
def test_lock_held_by_the_caller__interrupted(fake, make_session, issue):
    """Who holds the account's lock refreshes in its own thread, and is held back there just the same."""

    def limit(*_):
        raise TimeLimit

    store, token = MemoryStore(), issue()
    session = make_session(token=token, store=store)
    key = next(store.keys())
    fake.after("refresh", lambda record: threading.Event().wait(0.3))
    before = signal.signal(signal.SIGALRM, limit)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with store.lock(key), pytest.raises(TimeLimit):
            session.refresh_token()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert fake.is_alive(store.load(key).refresh_token)
    assert 1 == len(fake.requests_to("refresh"))


if __name__ == "__main__":
    run(**hear())
