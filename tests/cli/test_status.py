"""``status``."""

from __future__ import annotations

import json
import time

import pytest

from tiktok_oauth_session import AccountKey


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    return 1_800_000_000


def test_status__table(run, logged_in, now):
    """One line for each account: scopes granted and missing, expiries as people say them, health."""
    key, _ = logged_in(asked=["user.info.basic", "video.list"])

    code, out, err = run("status")

    heading, line = out.splitlines()
    assert (0, "") == (code, err)
    assert ["ACCOUNT", "GRANTED", "MISSING", "ACCESS", "REFRESH", "HEALTH"] == heading.split()
    assert [key.open_id, "user.info.basic", "video.list", "in 2 h", "in 180 d", "ok"] == [
        part.strip() for part in line.split("  ") if part
    ]


def test_status__json(run, logged_in, now):
    """The JSON has the same facts, with Unix times, and no token."""
    key, token = logged_in(asked=["user.info.basic", "video.list"])

    code, out, _ = run("status", "--json")

    assert 0 == code
    assert [
        {
            "client_key": key.client_key,
            "open_id": key.open_id,
            "display_name": None,
            "default": True,
            "granted_scopes": ["user.info.basic"],
            "missing_scopes": ["video.list"],
            "expires_at": now + 7200,
            "refresh_expires_at": now + 15_552_000,
            "health": "ok",
        }
    ] == json.loads(out)
    assert token["access_token"] not in out


@pytest.mark.parametrize(
    ("token", "health", "code"),
    [
        ({"expires_at": 1_800_000_001}, "ok", 0),
        ({"expires_at": 1_800_000_000}, "refresh due", 0),
        ({"refresh_expires_at": 1_800_000_001}, "ok", 0),
        ({"refresh_expires_at": 1_800_000_000}, "log in again", 3),
        ({"refresh_error": "invalid_grant"}, "log in again", 3),
        ({"refresh_started_at": 1_799_999_999}, "refresh unclear", 0),
        ({"refresh_token": ""}, "cannot be refreshed", 0),
        ({"refresh_token": "", "expires_at": 1_799_999_999}, "log in again", 3),
    ],
)
def test_status__health(run, logged_in, now, token, health, code):
    """Health is what somebody has to do about the account; a login that is needed is exit code 3."""
    logged_in(**token)

    result = run("status", "--json")

    assert [health] == [account["health"] for account in json.loads(result.out)]
    assert code == result.code


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "in 1 s"), (60, "in 1 min"), (3661, "in 1 h 1 min"), (90_000, "in 1 d 1 h"), (-61, "1 min 1 s ago")],
)
def test_status__human_time(run, logged_in, now, seconds, words):
    """An expiry is told in its two largest units."""
    logged_in(expires_at=now + seconds)

    assert f"  {words}  " in run("status").out


def test_status__nobody(run):
    """With nobody logged in it says how to, and exits with 3; its JSON is empty."""
    table, listed = run("status"), run("status", "--json")

    assert (3, "") == table[:2]
    assert "tiktok-oauth login" in table.err
    assert (3, []) == (listed.code, json.loads(listed.out))


def test_status__several_apps(run, logged_in, monkeypatch):
    """Without a key in the environment it shows the accounts of every app; with one, that app's."""
    mine, _ = logged_in()
    other, _ = logged_in(client_key="another-app")
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    every = json.loads(run("status", "--json").out)
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "another-app")
    one = json.loads(run("status", "--json").out)

    assert sorted([mine, other]) == [AccountKey(a["client_key"], a["open_id"]) for a in every]
    assert ["another-app"] == [a["client_key"] for a in one]


def test_status__damaged_file(run, logged_in, tokens, caplog):
    """A damaged file is told of, and the other accounts are shown."""
    key, _ = logged_in()
    path = tokens._path(key)
    path.with_name("other.json").write_text("{")

    code, out, _ = run("status")

    assert (0, 2) == (code, len(out.splitlines()))
    assert "other.json is damaged" in caplog.text
