"""keep-alive while TikTok is down, and where a refresh prolongs nothing."""

from __future__ import annotations

import bisect
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from requests.adapters import HTTPAdapter

from tiktok_oauth_session import LOGIN_KIT, AccountKey, FileStore, MemoryStore, TikTokToken
from tiktok_oauth_session.keepalive import keep_alive
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.tokens import REFRESH_TRIES

pytestmark = pytest.mark.slow

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
    return keep_alive(store, **secrets, **{"adapter": fake.adapter(), "rate": 10_000, **options})


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


class Counting(HTTPAdapter):
    """Notes when it is asked to send something."""

    def __init__(self, **options):
        super().__init__(**options)
        self.moments = []

    def send(self, *args, **options):
        self.moments.append(time.time())
        return super().send(*args, **options)


@pytest.mark.parametrize(
    ("count", "rate", "down_s"), [(100, 40, 4.0), pytest.param(2000, 50, 30.0, marks=pytest.mark.long)]
)
def test_keep_alive__server_is_down(fake, count, rate, down_s):
    """While connections are refused, few are tried, no account is marked, and then all are refreshed."""
    store, adapter, down, marked = MemoryStore(), Counting(pool_maxsize=WORKERS), [], []
    keys = connect(fake, store, count)

    def go_down(_):
        if len(fake.requests_to("refresh")) == count // 4:
            down.append(time.time())
            server.stop_listening()
            threading.Timer(down_s, come_back).start()

    def come_back():
        marked.extend(key for key in keys if REFRESH_TRIES in store.load(key))
        down.append(time.time())
        server.start_listening()

    fake.before("refresh", go_down)
    with fake.serve() as server:
        options = {"adapter": adapter, "platform": LOGIN_KIT.at(server.url)}
        summary = run(fake, store, workers=WORKERS, rate=rate, **options)
    while_down = [at for at in adapter.moments if down[0] < at < down[1]]

    assert FINDING_OUT + WHILE_DOWN_PER_S * down_s >= len(while_down)
    assert JITTER * rate >= most_in_a_second(sorted(adapter.moments))
    assert [] == marked
    assert (count, {}, "") == (summary.refreshed, summary.failed, summary.stopped)
    assert {True} == {fake.is_alive(store.load(key).refresh_token) for key in keys}
    assert fake.reuse_attempts == 0


def test_keep_alive__busy_with_one(fake):
    """An account that TikTok has no time for is tried again in the same run, when TikTok says."""
    store = MemoryStore()
    keys = connect(fake, store, 5)
    fake.fail("refresh", "status", status=429, retry_after=1)
    summary = run(fake, store, workers=1)
    moments = [record.at for record in fake.requests_to("refresh")]

    assert (len(keys), {}, "") == (summary.refreshed, summary.failed, summary.stopped)
    assert len(keys) + 1 == len(moments)
    assert moments[-1] - moments[0] >= 1.0


def test_keep_alive__busy_for_long(fake):
    """A pause that no run waits for is a failure, told with the reason, and the others are refreshed."""
    store = MemoryStore()
    keys = connect(fake, store, 5)
    fake.fail("refresh", "status", status=503, retry_after=600)
    summary = run(fake, store, workers=1)

    assert (4, 1, "") == (summary.refreshed, len(summary.failed), summary.stopped)
    assert "temporarily_unavailable" in "".join(summary.failed.values())
    assert len(keys) == len(fake.requests_to("refresh"))


def test_keep_alive__busy_with_all(fake):
    """When TikTok asks for a longer pause than a run waits for, the run ends and says so."""
    store = MemoryStore()
    keys = connect(fake, store, 20)
    fake.fail("refresh", "status", status=503, retry_after=600, times=None)
    stop = threading.Event()
    summary = run(fake, store, workers=4, stop=stop)

    assert "asks not to be asked for 600 s" in summary.stopped
    assert stop.is_set()
    assert len(fake.requests_to("refresh")) <= FINDING_OUT
    assert len(keys) > summary.done == len(summary.failed) == len(fake.requests_to("refresh"))


def test_keep_alive__stopped_while_down(fake):
    """A run that is told to stop while TikTok is down does so, and tells who got no answer."""
    store, stop = MemoryStore(), threading.Event()
    keys = connect(fake, store, 20)
    fake.fail("refresh", "refuse", times=None)
    fake.before("refresh", lambda _: len(fake.requests_to("refresh")) == 8 and stop.set())
    summary = run(fake, store, workers=4, stop=stop)

    assert "told to stop" == summary.stopped
    assert summary.done == len(summary.failed) < len(keys)
    assert all("nothing was sent" in why for why in summary.failed.values())


@pytest.mark.parametrize(("access_left", "is_replayed"), [(-1, True), (3600, False)])
def test_keep_alive__unclear(fake, access_left, is_replayed, monkeypatch):
    """What may have been spent is sent again in the same run only where there is nothing left to lose."""
    monkeypatch.setattr("tiktok_oauth_session.keepalive.REPLAY_AFTER_S", 0.1)
    store = MemoryStore()
    (key,) = connect(fake, store, 1)
    store.save(key, TikTokToken(store.load(key), expires_at=time.time() + access_left))
    fake.fail("refresh", "html")
    summary = run(fake, store)

    assert (is_replayed, not is_replayed) == (summary.refreshed == 1, key in summary.failed)
    assert 1 + is_replayed == len(fake.requests_to("refresh"))


def test_keep_alive__nothing_is_prolonged():
    """Refresh tokens that a refresh prolongs by nothing are not refreshed in every run, which says so."""
    fake, store = FakeTikTok(refresh_lifetime=10 * DAY_S), MemoryStore()
    keys = connect(fake, store, 20)
    runs = [run(fake, store) for _ in range(3)]

    assert len(keys) == len(fake.requests_to("refresh"))
    assert [len(keys), 0, 0] == [each.refreshed for each in runs]
    assert [0, len(keys), len(keys)] == [each.left_to_others for each in runs]
    ends = {key: store.load(key)["refresh_expires_at"] for key in keys}
    assert [ends] * 3 == [each.not_prolonged for each in runs]


def test_keep_alive__prolonged(fake):
    """Of what is prolonged nothing is said."""
    store = MemoryStore()
    connect(fake, store, 3)

    assert {} == run(fake, store).not_prolonged


def test_keep_alive__access_token_of_what_is_not_prolonged():
    """An access token that is about to end is refreshed nevertheless, where that is wanted."""
    fake, store = FakeTikTok(refresh_lifetime=10 * DAY_S), MemoryStore()
    (key,) = connect(fake, store, 1)
    run(fake, store)
    store.save(key, TikTokToken(store.load(key), expires_at=time.time() + 600))
    runs = [run(fake, store), run(fake, store, access_within=900)]

    assert [0, 1] == [each.refreshed for each in runs]
    assert 2 == len(fake.requests_to("refresh"))


def test_keep_alive__parts(fake):
    """Runs that look after a part each refresh every account, once."""
    store = MemoryStore()
    keys = connect(fake, store, 20)
    runs = [run(fake, store, part=(n, 2)) for n in range(2)]

    assert len(keys) == sum(each.due for each in runs) == sum(each.refreshed for each in runs)
    assert all(each.due for each in runs)
    assert len(keys) == len(fake.requests_to("refresh"))


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
