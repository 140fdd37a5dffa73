"""Keeping many connections alive."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, StoreError, TikTokToken
from tiktok_oauth_session._connection.marks import Marks
from tiktok_oauth_session.keepalive import Summary, keep_alive
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.testing import FakeTikTok

DAY_S = 86_400
#: Seconds for what takes milliseconds.
PATIENCE_S = 5.0


class Failing(MemoryStore):
    """A store that does not take the first new tokens.

    Args:
        failures: How many.
        meanwhile: Called with the store and the account at every failure.
        taken: How often somebody else holds the lock after the first failure.
    """

    def __init__(
        self,
        failures: float = 1,
        meanwhile: Callable[[MemoryStore, AccountKey], object] = lambda store, key: None,
        taken: float = 0,
    ) -> None:
        super().__init__()
        self.failures, self.meanwhile, self.taken, self.failed = failures, meanwhile, taken, False

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Save the token, unless it is a new one and the time to fail."""
        if replacing is not None and token.refresh_token != replacing and self.failures:
            self.failures, self.failed = self.failures - 1, True
            self.meanwhile(self, key)
            raise StoreError("The store is down.")
        super().save(key, token, replacing=replacing)

    @contextlib.contextmanager
    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> Iterator[bool]:
        """Take the lock, unless somebody else holds it."""
        if self.failed and self.taken:
            self.taken -= 1
            yield False
            return
        with super().try_lock(key, timeout=timeout) as held:
            yield held


def connect(
    fake: FakeTikTok, store: TokenStore, *, access_left: float = -1, refresh_left: float = 10 * DAY_S
) -> AccountKey:
    """Let a new user log in, and keep the token with so much time left."""
    user = fake.add_user()
    now = time.time()
    token = TikTokToken(
        {
            **fake.issue_token(user=user),
            "expires_at": now + access_left,
            "refresh_expires_at": now + refresh_left,
        }
    )
    key = AccountKey(fake.client_key, user.open_id)
    store.save(key, token)
    return key


def run(fake: FakeTikTok, store: TokenStore, **options: Any) -> Summary:
    """Run keep-alive against the fake."""
    options = {"rate": 10_000, **options}
    return keep_alive(
        store,
        client_key=fake.client_key,
        client_secret=fake.client_secret,
        adapter=fake.adapter(),
        **options,
    )


def refreshed_users(fake: FakeTikTok) -> list[str]:
    """Return whose refreshes TikTok carried out, in order."""
    return [json.loads(r.body)["open_id"] for r in fake.requests_to("refresh") if r.committed]


def test_keep_alive__what_is_about_to_end(fake_tiktok: FakeTikTok) -> None:
    """Accounts whose refresh token is about to end are refreshed, soonest first, and no others."""
    store = MemoryStore()
    later = connect(fake_tiktok, store, refresh_left=20 * DAY_S)
    sooner = connect(fake_tiktok, store, refresh_left=2 * DAY_S)
    connect(fake_tiktok, store, refresh_left=170 * DAY_S)
    store.save(AccountKey("aw-another-app", "user"), store.load(sooner) or TikTokToken())

    summary = run(fake_tiktok, store, workers=1)

    assert (2, 2) == (summary.due, summary.refreshed)
    assert [sooner.open_id, later.open_id] == refreshed_users(fake_tiktok)
    assert 0 == run(fake_tiktok, store).due


def test_keep_alive__access_tokens_on_request(fake_tiktok: FakeTikTok) -> None:
    """Access tokens that are about to end are refreshed only when asked for."""
    store = MemoryStore()
    key = connect(fake_tiktok, store, access_left=600, refresh_left=170 * DAY_S)
    connect(fake_tiktok, store, access_left=7000, refresh_left=170 * DAY_S)

    assert 0 == run(fake_tiktok, store).due
    summary = run(fake_tiktok, store, access_within=900)

    assert (1, 1) == (summary.due, summary.refreshed)
    assert [key.open_id] == refreshed_users(fake_tiktok)


def test_keep_alive__another_users_token(fake_tiktok: FakeTikTok) -> None:
    """An account whose refresh brought another user's token needs a login."""
    store = MemoryStore()
    key = connect(fake_tiktok, store, refresh_left=1 * DAY_S)
    store.save(key, TikTokToken({**(store.load(key) or {}), "open_id": "another-user"}))

    summary = run(fake_tiktok, store)

    assert [key] == list(summary.dead)
    assert "has to log in again" in summary.dead[key]
    assert (0, 0, {}, {}) == (summary.refreshed, summary.left_to_others, summary.unsaved, summary.failed)


@pytest.mark.parametrize("options", [{"workers": 0}, {"rate": 0}, {"part": (0, 0)}, {"part": (2, 2)}])
def test_keep_alive__nothing_to_work_with(fake_tiktok: FakeTikTok, options: dict[str, object]) -> None:
    """Numbers by which nothing can be done are an error at once."""
    with pytest.raises(ValueError, match=r"workers=.*rate=.*part="):
        run(fake_tiktok, MemoryStore(), **options)


def test_keep_alive__dead_and_failed(fake_tiktok: FakeTikTok) -> None:
    """One account's end or failure is told with its reason, and the others are refreshed."""
    store = MemoryStore()
    dead = connect(fake_tiktok, store, refresh_left=1 * DAY_S)
    failed = connect(fake_tiktok, store, refresh_left=2 * DAY_S)
    connect(fake_tiktok, store, refresh_left=3 * DAY_S)
    fake_tiktok.remove_connection(dead.open_id)
    fake_tiktok.before(
        "refresh",
        lambda record: (
            len(fake_tiktok.requests_to("refresh")) == 2
            and fake_tiktok.fail("refresh", "error", error="invalid_request")
        ),
    )

    summary = run(fake_tiktok, store, workers=1)

    assert (3, 1) == (summary.due, summary.refreshed)
    assert [dead] == list(summary.dead)
    assert "log in again" in summary.dead[dead]
    assert [failed] == list(summary.failed)
    assert "invalid_request" in summary.failed[failed]
    assert "" == summary.stopped


def test_keep_alive__app_refused(fake_tiktok: FakeTikTok) -> None:
    """When TikTok refuses the app itself, it is not asked once more for every account."""
    store = MemoryStore()
    for _ in range(20):
        connect(fake_tiktok, store)
    fake_tiktok.fail("refresh", "error", error="invalid_client", times=None)

    summary = run(fake_tiktok, store, workers=2)

    assert "refuses the app" in summary.stopped
    assert len(fake_tiktok.requests_to("refresh")) <= 2
    assert 20 == len(fake_tiktok.tokens)


def test_keep_alive__stop(fake_tiktok: FakeTikTok) -> None:
    """A run that is told to stop finishes the refresh in flight; the next run does the rest."""
    store = MemoryStore()
    for _ in range(5):
        connect(fake_tiktok, store)
    stop = threading.Event()
    fake_tiktok.after("refresh", lambda _: len(fake_tiktok.requests_to("refresh")) == 2 and stop.set())

    first = run(fake_tiktok, store, workers=1, stop=stop)
    second = run(fake_tiktok, store)

    assert (5, 2, "told to stop") == (first.due, first.refreshed, first.stopped)
    assert (3, 3, "") == (second.due, second.refreshed, second.stopped)
    assert len(fake_tiktok.requests_to("refresh")) == 5
    fake_tiktok.assert_no_token_reuse()


def test_keep_alive__rate(fake_tiktok: FakeTikTok) -> None:
    """All workers together stay below the rate."""
    store = MemoryStore()
    for _ in range(10):
        connect(fake_tiktok, store)
    began = time.monotonic()
    run(fake_tiktok, store, workers=4, rate=50)

    assert time.monotonic() - began >= 9 / 50


def test_keep_alive__rate_counts_requests(fake_tiktok: FakeTikTok) -> None:
    """Accounts of which TikTok is not asked do not use up the rate."""
    store = MemoryStore()
    for _ in range(20):
        key = connect(fake_tiktok, store, refresh_left=-DAY_S)
        store.save(key, Marks(error="invalid_grant").on(store.load(key) or TikTokToken()))
    alive = connect(fake_tiktok, store)
    began = time.monotonic()

    summary = run(fake_tiktok, store, workers=1, rate=1)

    assert time.monotonic() - began < PATIENCE_S
    assert (20, 1) == (len(summary.dead), summary.refreshed)
    assert [alive.open_id] == refreshed_users(fake_tiktok)


@pytest.mark.parametrize("workers", [1, 3])
def test_keep_alive__workers(fake_tiktok: FakeTikTok, workers: int) -> None:
    """As many accounts as there are workers are refreshed at the same time."""
    store = MemoryStore()
    for _ in range(6):
        connect(fake_tiktok, store)
    together, at_it, seen = threading.Barrier(workers, timeout=PATIENCE_S), list[object](), list[int]()

    def begin(record: object) -> None:
        at_it.append(record)
        together.wait()
        seen.append(len(at_it))
        together.wait()

    fake_tiktok.before("refresh", begin)
    fake_tiktok.after("refresh", at_it.remove)

    summary = run(fake_tiktok, store, workers=workers)

    assert (6, {}) == (summary.refreshed, summary.failed)
    assert {workers} == set(seen)


def test_keep_alive__progress(fake_tiktok: FakeTikTok) -> None:
    """Progress is told after every account."""
    store = MemoryStore()
    for _ in range(4):
        connect(fake_tiktok, store)
    seen: list[tuple[int, int]] = []
    run(fake_tiktok, store, progress=lambda summary: seen.append((summary.done, summary.due)))

    assert [(1, 4), (2, 4), (3, 4), (4, 4)] == seen


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the attempts to save follow one another at once."""
    monkeypatch.setattr("tiktok_oauth_session.keepalive.SAVE_PAUSE_S", 0.0)


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("taken", [0, 3], ids=["free", "lock taken"])
def test_keep_alive__store_fails_at_the_save(fake_tiktok: FakeTikTok, taken: int) -> None:
    """A token that the store did not take is saved as soon as it can be, without asking TikTok again."""
    store = Failing(2, taken=taken)
    key = connect(fake_tiktok, store)

    summary = run(fake_tiktok, store)
    stored = store.load(key)

    assert (1, {}, {}) == (summary.refreshed, summary.failed, summary.unsaved)
    assert stored is not None
    assert fake_tiktok.is_alive(str(stored.refresh_token))
    assert len(fake_tiktok.requests_to("refresh")) == 1


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize(
    "store",
    [Failing(float("inf")), Failing(1, taken=float("inf"))],
    ids=["store down", "lock taken"],
)
def test_keep_alive__never_saved(fake_tiktok: FakeTikTok, store: Failing) -> None:
    """A new token that could not be saved to the end is in the summary, and shown by no repr."""
    key = connect(fake_tiktok, store)

    summary = run(fake_tiktok, store)

    assert (1, 0) == (summary.done, summary.refreshed)
    assert fake_tiktok.is_alive(str(summary.unsaved[key].refresh_token))
    assert [key] == list(summary.failed)
    assert str(summary.unsaved[key].refresh_token) not in repr(summary)


@pytest.mark.usefixtures("no_pause")
def test_keep_alive__unexpected_failure_at_the_second_save(fake_tiktok: FakeTikTok) -> None:
    """Whatever an attempt to save a token fails with, the next one is made, and the log shows no secret."""

    class Odd(Failing):
        def load(self, key: AccountKey) -> TikTokToken | None:
            if self.failed and threading.current_thread() is threading.main_thread():
                self.failed = False
                raise RuntimeError("rft.secret")
            return super().load(key)

    store = Odd()
    key = connect(fake_tiktok, store)

    summary = run(fake_tiktok, store)
    stored = store.load(key)

    assert (1, {}, {}) == (summary.refreshed, summary.failed, summary.unsaved)
    assert stored is not None
    assert fake_tiktok.is_alive(str(stored.refresh_token))


ELSEWHERE = TikTokToken(access_token="act.elsewhere", expires_at=time.time() + 7200)


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize(
    ("meanwhile", "left_to_others", "dead"),
    [
        (lambda store, key: store.save(key, TikTokToken(ELSEWHERE, refresh_token="rft.elsewhere")), 1, 0),
        (lambda store, key: store.delete(key), 1, 0),
        (lambda store, key: store.save(key, ELSEWHERE), 0, 1),
    ],
    ids=["logged in anew", "logged out", "no refresh token"],
)
def test_keep_alive__gone_before_the_save(
    fake_tiktok: FakeTikTok,
    meanwhile: Callable[[MemoryStore, AccountKey], object],
    left_to_others: int,
    dead: int,
) -> None:
    """A token that the store did not take is dropped when its owner has logged in or out meanwhile."""
    store = Failing(1, meanwhile)
    key = connect(fake_tiktok, store)
    expected = MemoryStore()
    meanwhile(expected, key)

    summary = run(fake_tiktok, store)

    assert (0, left_to_others, dead) == (summary.refreshed, summary.left_to_others, len(summary.dead))
    assert ({}, {}, "") == (summary.failed, summary.unsaved, summary.stopped)
    assert expected.load(key) == store.load(key)


@pytest.mark.parametrize(
    ("failure", "why", "records"),
    [
        (StoreError("The row is damaged."), "The row is damaged.", 0),
        (RuntimeError("rft.secret"), "an unexpected RuntimeError", 1),
    ],
    ids=["StoreError", "unexpected"],
)
def test_keep_alive__one_account_fails(
    fake_tiktok: FakeTikTok, caplog: pytest.LogCaptureFixture, failure: Exception, why: str, records: int
) -> None:
    """Whatever goes wrong with one account, it is told as failed, and the others are refreshed."""

    class Damaged(MemoryStore):
        def load(self, key: AccountKey) -> TikTokToken | None:
            # The main thread lists the accounts, for which this kind of store loads them.
            if key == damaged and threading.current_thread() is not threading.main_thread():
                raise failure
            return super().load(key)

    store = Damaged()
    damaged = connect(fake_tiktok, store, refresh_left=DAY_S)
    for _ in range(3):
        connect(fake_tiktok, store)

    summary = run(fake_tiktok, store, workers=1)

    assert (4, 3, "") == (summary.due, summary.refreshed, summary.stopped)
    assert [damaged] == list(summary.failed)
    assert why in summary.failed[damaged]
    assert records == sum(record.levelname == "ERROR" for record in caplog.records)
    assert "rft.secret" not in caplog.text + repr(summary)


def test_keep_alive__progress_fails(fake_tiktok: FakeTikTok, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody left to tell the progress to is noted once, and every account is refreshed."""
    store = MemoryStore()
    for _ in range(6):
        connect(fake_tiktok, store)
    calls = []

    def broken(summary: Summary) -> None:
        calls.append(summary.done)
        raise BrokenPipeError

    summary = run(fake_tiktok, store, workers=2, progress=broken)

    assert (6, 6, "") == (summary.due, summary.refreshed, summary.stopped)
    assert [1] == calls
    assert 1 == caplog.text.count("BrokenPipeError")


def test_keep_alive__workers_end_early(fake_tiktok: FakeTikTok) -> None:
    """A run that leaves accounts although nobody told it to stop says so."""
    store = MemoryStore()
    for _ in range(3):
        connect(fake_tiktok, store)

    summary = run(fake_tiktok, store, workers=1, progress=lambda _: sys.exit())

    assert (3, 1) == (summary.due, summary.done)
    assert "ended early" in summary.stopped


@pytest.mark.usefixtures("no_pause")
def test_keep_alive__interrupted(fake_tiktok: FakeTikTok) -> None:
    """Ctrl-C ends the run after the refresh in flight, whose token is saved, and then comes out."""
    store, stop = Failing(1), threading.Event()
    keys = [connect(fake_tiktok, store) for _ in range(5)]

    def interrupt(_: object) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        stop.wait(PATIENCE_S)

    fake_tiktok.after("refresh", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(fake_tiktok, store, workers=1, stop=stop)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("keep-alive")]
    assert len(fake_tiktok.requests_to("refresh")) == 1
    for key in keys:
        stored = store.load(key)
        assert stored is not None
        assert fake_tiktok.is_alive(str(stored.refresh_token))


def test_keep_alive__thread_not_started(fake_tiktok: FakeTikTok, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a worker cannot be started, those that were end without doing anything."""
    store = MemoryStore()
    for _ in range(5):
        connect(fake_tiktok, store)
    start, started = threading.Thread.start, list[threading.Thread]()

    def refuse(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        run(fake_tiktok, store, workers=2)

    assert not started[0].is_alive()
    assert [] == fake_tiktok.requests


_MACHINE = """
import json, sys
from tiktok_oauth_session import LOGIN_KIT, FileStore
from tiktok_oauth_session._connection.marks import Marks
from tiktok_oauth_session.keepalive import keep_alive

base, key, secret, directory = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
summary = keep_alive(
    FileStore(directory), client_key=key, client_secret=secret, platform=LOGIN_KIT.at(base), rate=10_000
)
print(json.dumps([summary.refreshed, summary.left_to_others, len(summary.dead) + len(summary.failed)]))
"""


@pytest.mark.slow
def test_keep_alive__two_processes(fake_tiktok: FakeTikTok, tmp_path: Path) -> None:
    """Two runs at once share the accounts out, and each account is refreshed once."""
    accounts = 120
    store = FileStore(tmp_path)
    for _ in range(accounts):
        connect(fake_tiktok, store)
    with fake_tiktok.serve() as server:
        command = [
            sys.executable,
            "-c",
            _MACHINE,
            server.url,
            fake_tiktok.client_key,
            fake_tiktok.client_secret,
        ]
        machines = [
            subprocess.Popen(
                [*command, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        for machine in machines:
            assert machine.stdout
            assert machine.stdout.readline() == "ready\n"
        outcomes = [json.loads(m.communicate(timeout=60)[0]) for m in _go(machines)]

    assert accounts == sum(refreshed for refreshed, _, _ in outcomes)
    assert all(refreshed > accounts / 10 for refreshed, _, _ in outcomes), "the work was not shared out"
    assert 0 == sum(lost for _, _, lost in outcomes)
    assert sorted(refreshed_users(fake_tiktok)) == sorted(key.open_id for key in list(store.keys()))
    fake_tiktok.assert_no_token_reuse()


def _go(machines: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for machine in machines:
        assert machine.stdin
        machine.stdin.write("go\n")
        machine.stdin.flush()
    return machines


def test_keep_alive__names_forge_no_log_line(
    fake_tiktok: FakeTikTok, caplog: pytest.LogCaptureFixture
) -> None:
    """An account's name, whatever is in it, is text in the log and begins no line there."""

    class Broken(MemoryStore):
        def load(self, key: AccountKey) -> TikTokToken | None:
            if threading.current_thread() is not threading.main_thread():
                raise RuntimeError
            return super().load(key)

    store = Broken()
    token = TikTokToken(fake_tiktok.issue_token(), expires_at=1, refresh_expires_at=time.time() + 60)
    store.save(AccountKey(fake_tiktok.client_key, "u\x1b[2J\r\nERROR forged"), token)
    run(fake_tiktok, store)

    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "u\\x1b[2J\\r\\nERROR forged: an unexpected RuntimeError" in record.getMessage().splitlines()[0]
