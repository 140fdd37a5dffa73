"""Keeping many connections alive."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, StoreError, TikTokToken
from tiktok_oauth_session.keepalive import Summary, keep_alive
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.testing import FakeTikTok

DAY_S = 86_400


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


def run(fake: FakeTikTok, store: TokenStore, **options: object) -> Summary:
    """Run keep-alive against the fake."""
    options = {"rate": 10_000, **options}
    return keep_alive(
        store,
        client_key=fake.client_key,
        client_secret=fake.client_secret,
        adapter=fake.adapter(),
        **options,  # type: ignore[arg-type]
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


def test_keep_alive__dead_and_failed(fake_tiktok: FakeTikTok) -> None:
    """One account's end or failure is told with its reason, and the others are refreshed."""
    store = MemoryStore()
    dead = connect(fake_tiktok, store, refresh_left=1 * DAY_S)
    failed = connect(fake_tiktok, store, refresh_left=2 * DAY_S)
    connect(fake_tiktok, store, refresh_left=3 * DAY_S)
    fake_tiktok.remove_connection(dead.open_id)
    fake_tiktok.before(
        "refresh",
        lambda record: len(fake_tiktok.requests_to("refresh")) == 2 and fake_tiktok.fail("refresh", "html"),
    )

    summary = run(fake_tiktok, store, workers=1)

    assert (3, 1) == (summary.due, summary.refreshed)
    assert [dead] == list(summary.dead)
    assert "log in again" in summary.dead[dead]
    assert [failed] == list(summary.failed)
    assert "502" in summary.failed[failed]
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


def test_keep_alive__rate(fake_tiktok: FakeTikTok, monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers together stay below the rate."""
    store = MemoryStore()
    for _ in range(10):
        connect(fake_tiktok, store)
    began = time.monotonic()
    run(fake_tiktok, store, workers=4, rate=50)

    assert time.monotonic() - began >= 9 / 50


def test_keep_alive__progress(fake_tiktok: FakeTikTok) -> None:
    """Progress is told after every account."""
    store = MemoryStore()
    for _ in range(4):
        connect(fake_tiktok, store)
    seen: list[tuple[int, int]] = []
    run(fake_tiktok, store, progress=lambda summary: seen.append((summary.done, summary.due)))

    assert [(1, 4), (2, 4), (3, 4), (4, 4)] == seen


def test_keep_alive__store_fails_at_the_save(
    fake_tiktok: FakeTikTok, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that the store did not take is saved as soon as it does, without asking TikTok again."""

    class Failing(MemoryStore):
        failures = 2

        def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
            if replacing is not None and token.refresh_token != replacing and self.failures:
                self.failures -= 1
                raise StoreError("The store is down.")
            super().save(key, token, replacing=replacing)

    monkeypatch.setattr("tiktok_oauth_session.keepalive.SAVE_PAUSE_S", 0.01)
    store = Failing()
    key = connect(fake_tiktok, store)

    summary = run(fake_tiktok, store)
    stored = store.load(key)

    assert (1, {}, {}) == (summary.refreshed, summary.failed, summary.unsaved)
    assert stored is not None
    assert fake_tiktok.is_alive(str(stored.refresh_token))
    assert len(fake_tiktok.requests_to("refresh")) == 1


def test_keep_alive__store_stays_down(fake_tiktok: FakeTikTok, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the store never takes it, the new token is in the summary, and shown by no repr."""

    class Failing(MemoryStore):
        def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
            if replacing is not None and token.refresh_token != replacing:
                raise StoreError("The store is down.")
            super().save(key, token, replacing=replacing)

    monkeypatch.setattr("tiktok_oauth_session.keepalive.SAVE_PAUSE_S", 0.01)
    store = Failing()
    key = connect(fake_tiktok, store)

    summary = run(fake_tiktok, store)

    assert fake_tiktok.is_alive(str(summary.unsaved[key].refresh_token))
    assert [key] == list(summary.failed)
    assert str(summary.unsaved[key].refresh_token) not in repr(summary)


_MACHINE = """
import json, sys
from tiktok_oauth_session import LOGIN_KIT, FileStore
from tiktok_oauth_session.keepalive import keep_alive

base, key, secret, directory = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
summary = keep_alive(
    FileStore(directory), client_key=key, client_secret=secret, platform=LOGIN_KIT.at(base), rate=10_000
)
print(json.dumps([summary.refreshed, summary.left_to_others, len(summary.dead) + len(summary.failed)]))
"""


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
