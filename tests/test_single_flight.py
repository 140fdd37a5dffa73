"""One refresh, whoever asks: threads, sessions, processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    FileStore,
    MemoryStore,
    TikTokOAuth2Session,
    TikTokToken,
)
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.testing import FakeServer, FakeTikTok

THREADS = 64
PROCESSES = 8
THREADS_EACH = 8

Make = Callable[..., TikTokOAuth2Session]


def issued(fake: FakeTikTok, *, left: float) -> TikTokToken:
    """Return a token of a user that TikTok knows and that has so many seconds left."""
    reply = fake.issue_token()
    return TikTokToken({**reply, "expires_at": time.time() + left, "expires_in": 7200})


def saved(fake: FakeTikTok, store: TokenStore, *, left: float) -> AccountKey:
    """Put such a token into a store."""
    token = issued(fake, left=left)
    key = AccountKey(fake.client_key, str(token.open_id))
    store.save(key, token)
    return key


def session_on(fake: FakeTikTok, base: str, **options: object) -> TikTokOAuth2Session:
    """Return a session that talks to a served fake."""
    return TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        platform=LOGIN_KIT.at(base),
        **options,  # type: ignore[arg-type]
    )


def call_from_threads(sessions: list[TikTokOAuth2Session], url: str) -> list[int | BaseException]:
    """Let every session make a call at the same moment; return statuses or what was raised."""
    barrier = threading.Barrier(len(sessions))

    def call(session: TikTokOAuth2Session) -> int | BaseException:
        barrier.wait()
        try:
            return session.get(url, params={"fields": "open_id"}).status_code
        except Exception as error:  # noqa: BLE001 - the outcome under test
            return error

    with ThreadPoolExecutor(len(sessions)) as pool:
        return list(pool.map(call, sessions))


def test_threads__one_session(fake_tiktok: FakeTikTok, tiktok_server: FakeServer) -> None:
    """64 threads with one session and an expired token cause one token request and lose no call."""
    store = MemoryStore()
    key = saved(fake_tiktok, store, left=-1)
    session = session_on(fake_tiktok, tiktok_server.url, store=store, open_id=key.open_id)

    answers = call_from_threads([session] * THREADS, f"{tiktok_server.url}/v2/user/info/")

    assert [200] * THREADS == answers
    assert len(fake_tiktok.requests_to("refresh")) == 1
    assert len(fake_tiktok.requests_to("user_info")) == THREADS
    fake_tiktok.assert_no_token_reuse()


@pytest.mark.parametrize("kind", ["memory", "file", "updater", "nothing"])
def test_threads__a_session_each(
    fake_tiktok: FakeTikTok, tiktok_server: FakeServer, tmp_path: Path, kind: str
) -> None:
    """So do 64 threads with a session each, sharing a store, or only the token they were given."""
    kept: list[TikTokToken] = []
    if kind in ("memory", "file"):
        store = MemoryStore() if kind == "memory" else FileStore(tmp_path)
        key = saved(fake_tiktok, store, left=-1)
        options: dict[str, object] = {"store": store, "open_id": key.open_id}
    else:
        options = {"token": issued(fake_tiktok, left=-1)}
        if kind == "updater":
            options["token_updater"] = kept.append
    sessions = [session_on(fake_tiktok, tiktok_server.url, **options) for _ in range(THREADS)]

    answers = call_from_threads(sessions, f"{tiktok_server.url}/v2/user/info/")

    assert [200] * THREADS == answers
    assert len(fake_tiktok.requests_to("refresh")) == 1
    assert {session.token["refresh_token"] for session in sessions} == {
        json.loads(fake_tiktok.requests_to("refresh")[0].body)["refresh_token"]
    }
    assert len(kept) == (1 if kind == "updater" else 0)
    fake_tiktok.assert_no_token_reuse()


_WORKER = """
import json, sys, threading, time
from tiktok_oauth_session import LOGIN_KIT, FileStore, TikTokOAuth2Session

base, key, secret, directory, open_id, threads = sys.argv[1:7]
url = base + "/v2/user/info/"
outcomes = []

def call(barrier):
    session = TikTokOAuth2Session(
        key, client_secret=secret, platform=LOGIN_KIT.at(base), store=FileStore(directory), open_id=open_id
    )
    session.get(base + "/v2/nothing/", withhold_token=True)  # a warm connection: only refreshing is timed
    barrier.wait()
    began = time.perf_counter()
    try:
        status = session.get(url, params={"fields": "open_id"}).status_code
    except Exception as error:
        status = repr(error)
    outcomes.append((status, time.perf_counter() - began))

barrier = threading.Barrier(int(threads), action=lambda: (print("ready", flush=True), sys.stdin.readline()))
workers = [threading.Thread(target=call, args=(barrier,)) for _ in range(int(threads))]
[w.start() for w in workers]
[w.join() for w in workers]
print(json.dumps(outcomes))
"""


def call_from_processes(
    fake: FakeTikTok, server: FakeServer, directory: Path, open_id: str
) -> list[tuple[int | str, float]]:
    """Let eight processes with eight threads each make a call at the same moment."""
    command = [sys.executable, "-c", _WORKER, server.url, fake.client_key, fake.client_secret]
    command += [str(directory), open_id, str(THREADS_EACH)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    try:
        for worker in workers:
            assert worker.stdout
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [tuple(outcome) for w in workers for outcome in json.loads(w.communicate(timeout=60)[0])]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_processes__expired(fake_tiktok: FakeTikTok, tiktok_server: FakeServer, tmp_path: Path) -> None:
    """8 processes with 8 threads each on one FileStore: one token request, 64 answers, no reuse."""
    key = saved(fake_tiktok, FileStore(tmp_path), left=-1)

    outcomes = call_from_processes(fake_tiktok, tiktok_server, tmp_path, key.open_id)

    assert [200] * 64 == [status for status, _ in outcomes]
    assert len(fake_tiktok.requests_to("refresh")) == 1
    fake_tiktok.assert_no_token_reuse()


def test_processes__advisory_window(
    fake_tiktok: FakeTikTok, tiktok_server: FakeServer, tmp_path: Path
) -> None:
    """While the token still works, one of 64 callers refreshes and none of the others waits for it."""
    refreshing_s = 3.0
    key = saved(fake_tiktok, FileStore(tmp_path), left=300)
    fake_tiktok.fail("refresh", "slow", seconds=refreshing_s)

    outcomes = call_from_processes(fake_tiktok, tiktok_server, tmp_path, key.open_id)
    durations = sorted(seconds for _, seconds in outcomes)

    assert [200] * 64 == [status for status, _ in outcomes]
    assert len(fake_tiktok.requests_to("refresh")) == 1
    assert durations[-1] >= refreshing_s, "the one that refreshes waits for it"
    assert durations[-2] < refreshing_s, "nobody else does"
    fake_tiktok.assert_no_token_reuse()


def test_threads__advisory_latency(fake_tiktok: FakeTikTok, tiktok_server: FakeServer) -> None:
    """During an advisory refresh the other callers' p99 latency is at most 1.5 times what it is without."""
    calls = 150

    def p99(*, left: float) -> float | None:
        store = MemoryStore()
        key = saved(fake_tiktok, store, left=left)
        sessions = [
            session_on(fake_tiktok, tiktok_server.url, store=store, open_id=key.open_id) for _ in range(4)
        ]
        fake_tiktok.fail("refresh", "slow", seconds=2.0)
        durations: list[float] = []
        refreshing = threading.Thread(target=sessions[0].get, args=(url,))
        before = len(fake_tiktok.requests_to("refresh"))
        refreshing.start()
        while left < 600 and len(fake_tiktok.requests_to("refresh")) == before and refreshing.is_alive():
            time.sleep(0.001)

        def others(session: TikTokOAuth2Session) -> None:
            for _ in range(calls):
                if left < 600 and not refreshing.is_alive():
                    break
                began = time.perf_counter()
                assert session.get(url, params={"fields": "open_id"}).status_code == 200
                durations.append(time.perf_counter() - began)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(others, sessions[1:]))
        refreshing.join()
        fake_tiktok.heal()
        return sorted(durations)[int(len(durations) * 0.99)] if len(durations) > 100 else None

    url = f"{tiktok_server.url}/v2/user/info/"
    # None where the machine was so busy that the refresh was over before enough calls were made.
    rounds = [(p99(left=300), p99(left=7000)) for _ in range(5)]
    ratios = [during / without for during, without in rounds if during and without]

    assert ratios, "too few calls while the refresh was under way, in every round"
    assert statistics.median(ratios) <= 1.5


@pytest.mark.parametrize(
    ("threads", "calls", "expiries"),
    [(8, 60, 4), pytest.param(50, 2000, 20, marks=pytest.mark.long)],
    ids=["short", "full"],
)
def test_threads__over_many_expiries(threads: int, calls: int, expiries: int) -> None:
    """Over many expiries every call carries a token that works, with one refresh for each expiry."""
    fake = FakeTikTok()
    store = MemoryStore()
    clock = _Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", clock)
        key = saved(fake, store, left=7200)
        barrier = threading.Barrier(threads, action=lambda: clock.advance(7201))
        refused: list[int] = []

        def work(_: int) -> None:
            session = TikTokOAuth2Session(
                fake.client_key, client_secret=fake.client_secret, store=store, open_id=key.open_id
            )
            session.mount("https://", fake.adapter())
            for call in range(calls):
                if call % (calls // expiries) == 0:
                    barrier.wait()
                response = session.get(
                    "https://open.tiktokapis.com/v2/user/info/", params={"fields": "open_id"}
                )
                if response.status_code != 200:
                    refused.append(response.status_code)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))

    assert [] == refused
    assert len(fake.requests_to("user_info")) == threads * calls, "no call had to be repeated"
    assert len(fake.requests_to("refresh")) == expiries
    fake.assert_no_token_reuse()


class _Clock:
    """time.time, moved forward by hand and running on by itself."""

    def __init__(self) -> None:
        self._real, self._offset = time.time, 0.0

    def __call__(self) -> float:
        return self._real() + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds
