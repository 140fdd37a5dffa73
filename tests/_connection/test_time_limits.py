"""Time limits that fall into a refresh, at random moments of many: what TikTok gave is kept."""

from __future__ import annotations

import random
import signal

import pytest
from child_processes import SHARED, ChildProcess, hear, say
from scenarios import USER_INFO, assert_kept, call, connect, session_on
from servers import require_module

from tiktok_oauth_session import FileStore

SEED = 20_261_125
#: Seconds after which a time limit cuts a call off at the latest.
LATEST_S = 0.06


class TimeLimitExceeded(Exception):
    """What the handler of a job queue raises."""


# --- in the other process ---------------------------------------------------------------------------


def cut_off(session, url, seconds):
    """Call the API under a time limit; tell whether it was cut off."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            session.get(url + USER_INFO)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Exception:  # noqa: BLE001 - a limit that falls into the middle of something has many faces
        return True
    return False


def call_under_time_limits(url, directory, open_ids):
    """Call the API for each account under a time limit of its own, and then without any."""

    def alarm(*_):
        raise TimeLimitExceeded

    signal.signal(signal.SIGALRM, alarm)
    store, dice = FileStore(directory), random.Random(SEED)
    sessions = [session_on(url, store, open_id) for open_id in open_ids]
    cut = sum(cut_off(session, url, dice.uniform(1e-6, LATEST_S)) for session in sessions)
    # With new ones, as the next job would: one that falls into the moment at which urllib3 gives a connection
    # back leaves the pool of that session locked for ever. The accounts are the same.
    others = [session_on(url, store, open_id) for open_id in open_ids]
    say(cut=cut, again=[repr(call(session, url)) for session in others])


# --- in the test ------------------------------------------------------------------------------------


def interrupt_at_random(fake, url, store, count, script):
    """Let a process be interrupted at a random moment of each of many refreshes."""
    keys = [connect(fake, store, left=-1) for _ in range(count)]
    with ChildProcess(script) as child:
        child.say(url=url, directory=str(store.directory), open_ids=[key.open_id for key in keys])
        heard = child.hear(timeout=60 + count)

    assert ["200"] * count == heard["again"]
    assert_kept(fake, store, keys)
    assert count / 4 < heard["cut"], "hardly anybody was interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
def test_time_limit__by_a_signal(fake, url, store, count):
    """A signal handler that raises at random moments, as RQ's and Celery's do, costs no account."""
    interrupt_at_random(fake, url, store, count, __file__)


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.long)])
def test_time_limit__of_gevent(fake, url, store, count):
    """Neither does a `gevent.Timeout` in a process that gevent has patched."""
    require_module("gevent")
    interrupt_at_random(fake, url, store, count, SHARED / "gevent_users.py")


if __name__ == "__main__":
    call_under_time_limits(**hear())
