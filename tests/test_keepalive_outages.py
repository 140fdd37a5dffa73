"""keep-alive while TikTok is down, and where a refresh prolongs nothing."""

from __future__ import annotations

import bisect
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, TikTokToken
from tiktok_oauth_session.keepalive import keep_alive
from tiktok_oauth_session.testing import FakeTikTok

DAY_S = 86_400
#: So many that tries which nobody counts would show.
WORKERS = 32
#: Seconds for what takes one.
PATIENCE_S = 20.0
#: How much more than the rate a busy machine may let through in one second.
JITTER = 1.25
#: Requests a second, at most, while TikTok is down, and those that find out.
WHILE_DOWN_PER_S, FINDING_OUT = 0.5, 10


def connect(fake, store, count):
    """Let so many users log in whose refresh tokens are about to end; return their accounts."""
    keys, now = [], time.time()
    for _ in range(count):
        user = fake.add_user()
        # As from a login a year ago.
        refresh_token = {"refresh_expires_in": 365 * DAY_S, "refresh_expires_at": now + 10 * DAY_S}
        token = {**fake.issue_token(user=user), "expires_at": now - 1, **refresh_token}
        keys.append(AccountKey(fake.client_key, user.open_id))
        store.save(keys[-1], TikTokToken(token))
    return keys


def run(fake, store, **options):
    """Keep them alive."""
    secrets = {"client_key": fake.client_key, "client_secret": fake.client_secret}
    return keep_alive(store, **secrets, adapter=fake.adapter(), **{"rate": 10_000, **options})


def most_in_a_second(moments):
    """Return how many of these moments lie in one second, at most."""
    return max(bisect.bisect_left(moments, at + 1.0) - n for n, at in enumerate(moments))


@pytest.mark.parametrize(
    ("count", "rate", "down_s"), [(100, 20, 4.0), pytest.param(2000, 50, 30.0, marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    ("kind", "details"),
    [
        pytest.param("refuse", {}, id="refused"),
        pytest.param("status", {"status": 503}, id="503", marks=pytest.mark.long),
    ],
)
def test_keep_alive__tiktok_is_down(fake, kind, details, count, rate, down_s):
    """While TikTok is down it is left alone, nobody's rate is exceeded, and then all are refreshed."""
    store = MemoryStore()
    keys = connect(fake, store, count)
    begins_at, down = count // 4, []

    def go_down(_):
        if len(fake.requests_to("refresh")) == begins_at:
            fake.fail("refresh", kind, times=None, **details)
            down.append(time.time())
            threading.Timer(down_s, come_back).start()

    def come_back():
        fake.heal()
        down.append(time.time())

    fake.before("refresh", go_down)
    summary = run(fake, store, workers=WORKERS, rate=rate)
    if summary.refreshed < count:
        # What was not worth waiting for is due in the next run.
        summary = run(fake, store, workers=WORKERS, rate=rate)
    moments = sorted(record.at for record in fake.requests_to("refresh"))
    while_down = [at for at in moments if down[0] < at < down[1]]

    assert FINDING_OUT + WHILE_DOWN_PER_S * down_s >= len(while_down)
    assert JITTER * rate >= most_in_a_second(moments)
    assert {} == summary.failed
    assert {True} == {fake.is_alive(store.load(key).refresh_token) for key in keys}
    assert count == len([record for record in fake.requests_to("refresh") if record.committed])
    assert fake.reuse_attempts == 0


def test_keep_alive__nothing_is_prolonged():
    """Refresh tokens that a refresh prolongs by nothing are not refreshed in every run."""
    fake, store = FakeTikTok(refresh_lifetime=10 * DAY_S), MemoryStore()
    keys = connect(fake, store, 20)
    runs = [run(fake, store) for _ in range(3)]

    assert len(keys) == len(fake.requests_to("refresh"))
    assert [len(keys), 0, 0] == [each.refreshed for each in runs]


def test_keep_alive__nothing_is_prolonged_by_two(tmp_path):
    """Nor by a run that begins when another one is half done."""
    fake = FakeTikTok(refresh_lifetime=10 * DAY_S)
    keys = connect(fake, FileStore(tmp_path), 20)
    half_done = threading.Event()

    def begin_the_other(_):
        if len(fake.requests_to("refresh")) == len(keys) // 2:
            half_done.set()

    fake.before("refresh", begin_the_other)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, fake, FileStore(tmp_path), workers=1, rate=20)
        assert half_done.wait(PATIENCE_S)
        runs = [run(fake, FileStore(tmp_path)), first.result()]

    assert len(keys) == len(fake.requests_to("refresh"))
    assert len(keys) == sum(each.refreshed for each in runs)
