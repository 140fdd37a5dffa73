"""Which accounts are due."""

from __future__ import annotations

import itertools

import pytest

from tiktok_oauth_session import AccountKey, MemoryStore, TikTokToken
from tiktok_oauth_session._keepalive.due import Due

DAY_S = 86_400
NOW = 1_800_000_000
WITHIN_S = 30 * DAY_S


def token(left, lifetime, kind="refresh_"):
    """A token that has so much left of its lifetime."""
    return TikTokToken({f"{kind}expires_at": NOW + left, f"{kind}expires_in": lifetime})


@pytest.mark.parametrize("second", [-1, 0, 1])
@pytest.mark.parametrize(
    ("lifetime", "window"),
    [(365 * DAY_S, WITHIN_S), (None, WITHIN_S), (60 * DAY_S, WITHIN_S), (10 * DAY_S, 5 * DAY_S), (0, 0)],
)
def test_due__refresh_token(monkeypatch, lifetime, window, second):
    """A refresh token is due in its window, or in the second half of its own lifetime if that is shorter."""
    monkeypatch.setattr("time.time", lambda: NOW)
    due = Due("app", None, WITHIN_S, (0, 1))

    assert (second < 0) == due.includes(token(window + second, lifetime))


@pytest.mark.parametrize(("left", "is_due"), [(899, True), (901, False), (-1, True)])
def test_due__access_token(monkeypatch, left, is_due):
    """An access token is due in its own window, if there is one, however long its refresh token lives."""
    monkeypatch.setattr("time.time", lambda: NOW)
    access = TikTokToken(token(left, 7200, kind=""), **token(10 * DAY_S, 10 * DAY_S))

    assert is_due == Due("app", 900, WITHIN_S, (0, 1)).includes(access)
    assert not Due("app", None, WITHIN_S, (0, 1)).includes(access)


def test_due__parts():
    """Every account is in one of the parts, and in one only."""
    store, keys = MemoryStore(), [AccountKey("app", f"user-{n}") for n in range(200)]
    for key in keys:
        store.save(key, TikTokToken(refresh_expires_at=1))
    parts = [Due("app", None, WITHIN_S, (n, 3)).keys(store) for n in range(3)]

    assert sorted(keys) == sorted(itertools.chain(*parts))
    assert all(len(part) > 200 / 6 for part in parts)
