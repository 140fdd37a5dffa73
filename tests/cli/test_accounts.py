"""``status``, ``accounts``, ``token``, ``refresh``, ``revoke``, ``logout``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tiktok_oauth_session import AccountKey

#: How often a command is measured.
RUNS = 10


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    return 1_800_000_000


def dying(**left):
    """Expiry times so many seconds from now."""
    names = {"access": "expires_at", "refresh": "refresh_expires_at"}
    return {names[which]: int(time.time()) + seconds for which, seconds in left.items()}


# --- status --------------------------------------------------------------------------------------------


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


# --- accounts ------------------------------------------------------------------------------------------


def test_accounts__list(run, fake, logged_in):
    """One open_id on each line, for scripts."""
    keys = sorted(logged_in(user=user)[0] for user in (fake.users[0], fake.add_user()))

    assert (0, "".join(f"{key.open_id}\n" for key in keys), "") == run("accounts")
    assert [key._asdict() for key in keys] == json.loads(run("accounts", "--json").out)


def test_accounts__none(run):
    """No accounts are no error and no output."""
    assert (0, "", "") == run("accounts")


# --- token ---------------------------------------------------------------------------------------------


def test_token__fresh(run, fake, logged_in):
    """A fresh token is printed alone on stdout, and TikTok is not asked."""
    _, token = logged_in()

    assert (0, f"{token['access_token']}\n", "") == run("token")
    assert [] == fake.requests


def test_token__fresh_needs_no_credentials(run, logged_in, monkeypatch):
    """A fresh token can be read without the app's credentials."""
    _, token = logged_in()
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    monkeypatch.delenv("TIKTOK_CLIENT_SECRET")

    assert (0, f"{token['access_token']}\n") == run("token")[:2]


def test_token__expired(run, fake, logged_in, tokens):
    """An expired one is refreshed, saved and printed."""
    key, token = logged_in(**dying(access=-1))

    code, out, err = run("token")

    assert (0, "") == (code, err)
    assert token["access_token"] != out.strip() == tokens.load(key)["access_token"]
    assert fake.is_alive(out.strip())
    assert ["refresh"] == [record.endpoint for record in fake.requests]


def test_token__ends_soon(run, fake, logged_in):
    """One that ends within minutes is refreshed as well, so that the script has time to use it."""
    _, token = logged_in(**dying(access=300))

    assert fake.is_alive(token["access_token"])
    assert token["access_token"] != run("token").out.strip() == fake.tokens[0]["access_token"]


def test_token__network_gone(run, server, logged_in):
    """In the advisory window a token that still works is printed although TikTok cannot be reached."""
    _, token = logged_in(**dying(access=300))
    server.stop()

    assert (0, f"{token['access_token']}\n") == run("token")[:2]


def test_token__quick(home, logged_in):
    """On the way to a fresh token neither requests, nor oauthlib, nor any extra is imported."""
    logged_in()
    slow = ("oauthlib", "requests", "urllib3", "rich", "segno", "sqlalchemy", "redis", "filelock")
    script = (
        "import sys; from tiktok_oauth_session.cli import main; code = main(['token']); "
        f"print([name for name in {slow} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.splitlines()[1]


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs a system that tells what a process cost")
def test_token__100_ms(home, logged_in):
    """A fresh token costs less than 100 ms of one processor, interpreter included.

    That is some eight times what starting the interpreter costs: the measure where a machine is slow.
    """
    logged_in()
    costs = {"-c pass": [], "-m tiktok_oauth_session token": []}
    for _ in range(RUNS):
        for arguments, each in costs.items():
            process = subprocess.Popen([sys.executable, *arguments.split()], stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert 0 == process.returncode
            each.append(used.ru_utime + used.ru_stime)
    # Whatever else the machine does only ever adds.
    bare, whole = (min(each) for each in costs.values())

    assert whole < max(0.1, 8 * bare)


def test_token__which(run, fake, logged_in):
    """With several accounts one has to be named, by its open_id or how it begins."""
    one = logged_in(user=fake.add_user("aaa-1"))[1]["access_token"]
    two = logged_in(user=fake.add_user("aaa-2"))[1]["access_token"]
    three = logged_in(user=fake.add_user("aaa"))[1]["access_token"]

    unclear = run("token")
    assert (2, "") == unclear[:2]
    assert "3 accounts could be meant: pass --account" in unclear.err
    assert [one, two, three] == [run("token", "--account", a).out.strip() for a in ("aaa-1", "aaa-2", "aaa")]
    assert 2 == run("token", "--account", "aa").code


# --- refresh, revoke, logout ---------------------------------------------------------------------------


def test_refresh__now(run, fake, logged_in, tokens):
    """It refreshes although it is not time, keeps what was asked for, and prints no token."""
    key, token = logged_in(asked=["user.info.basic", "video.list"])

    code, out, err = run("refresh")

    new = tokens.load(key)
    assert (0, "") == (code, err)
    assert f"Refreshed: the access token of {key.open_id} expires in 1 h 59 min.\n" == out
    assert token["refresh_token"] != new["refresh_token"]
    assert "user.info.basic,video.list" == new["requested_scope"]
    fake.assert_no_token_reuse()


def test_revoke__at_tiktok_and_here(run, fake, logged_in, tokens):
    """TikTok is told first, then the token is deleted."""
    key, token = logged_in()

    assert 0 == run("revoke").code
    assert not fake.is_alive(token["access_token"])
    assert None is tokens.load(key)


def test_revoke__refused(run, fake, logged_in, tokens):
    """If TikTok does not revoke it, it is still here and the exit code is 1."""
    key, token = logged_in()
    fake.fail("revoke", "error", error="invalid_request", description="The request parameters are malformed.")

    code, out, err = run("revoke")

    assert (1, "") == (code, out)
    assert "tiktok-oauth: TikTok did not revoke the token: invalid_request" in err
    assert token == tokens.load(key)


def test_logout__here_only(run, fake, logged_in, tokens):
    """The token is deleted, TikTok is not told, and the command says so."""
    key, token = logged_in()

    code, out, _ = run("logout")

    assert 0 == code
    assert "TikTok has not been told" in out
    assert None is tokens.load(key)
    assert fake.is_alive(token["access_token"])
    assert [] == fake.requests


# --- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["token", "refresh", "revoke", "logout"])
def test_bad__nobody(run, command):
    """Nobody is logged in: exit code 3 and the command that helps."""
    assert (3, "", "tiktok-oauth: Nobody is logged in. Run: tiktok-oauth login\n") == run(command)


@pytest.mark.parametrize("command", ["token", "refresh", "revoke", "logout", "status"])
def test_bad__unknown_account(run, logged_in, command):
    """An account that is not there: exit code 3, and where to look."""
    logged_in()

    assert (
        3,
        "",
        "tiktok-oauth: No account nobody is logged in; see tiktok-oauth accounts.\n",
    ) == run(command, "--account", "nobody")


@pytest.mark.parametrize("command", ["token", "refresh"])
def test_bad__refresh_token_expired(run, fake, logged_in, command):
    """A dead refresh token: exit code 3, one line; asked again, TikTok is not."""
    logged_in(**dying(access=-1))
    fake.advance(15_552_001)
    results = [run(command), run(command)]

    assert [(3, "")] * 2 == [result[:2] for result in results]
    assert [1, 1] == [len(result.err.splitlines()) for result in results]
    assert all(result.err.endswith("Run: tiktok-oauth login\n") for result in results)
    assert 1 == len(fake.requests_to("refresh"))


@pytest.mark.parametrize("command", ["token", "refresh", "revoke"])
def test_bad__no_network(run, server, logged_in, command):
    """TikTok cannot be reached and the token is dead: exit code 4, one line."""
    logged_in(**dying(access=-1))
    server.stop()

    code, out, err = run(command)

    assert (4, "", 1) == (code, out, len(err.splitlines()))
    assert "gave no reply and nothing was sent" in err


def test_bad__busy(run, fake, logged_in):
    """TikTok is busy: exit code 4."""
    logged_in()
    fake.fail("refresh", "status", status=503, times=None)

    assert 4 == run("refresh").code


@pytest.mark.parametrize("command", ["token", "refresh", "revoke"])
def test_bad__another_apps_credentials(run, logged_in, monkeypatch, command):
    """Credentials of another app are found out before anything is sent."""
    key, _ = logged_in(client_key="another-app", **dying(access=-1))
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    monkeypatch.setattr("tiktok_oauth_session.cli.connections.find", lambda _: [key])
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "this-app")

    code, _, err = run(command)

    assert 2 == code
    assert "belongs to the app another-app" in err


def test_bad__damaged_token(run, logged_in, tokens):
    """A damaged file whose account is asked for: exit code 5, one line, and the file is left as it is."""
    key, _ = logged_in()
    tokens._path(key).write_text("{")

    code, out, err = run("token", "--account", key.open_id)

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert "is damaged: a new login replaces it" in err
    assert "{" == tokens._path(key).read_text()


def test_bad__store_cannot_be_written(run, fake, logged_in, tokens):
    """A store that cannot be written is found out before a refresh: exit code 5, nothing spent."""
    key, token = logged_in(**dying(access=-1))
    # In the way of the file that every save begins with, for root as well.
    tokens._path(key).with_name(f".{tokens._path(key).name}.tmp").mkdir()

    code, out, err = run("token")

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert [] == fake.requests
    assert token == tokens.load(key)


def test_bad__pipe_closed(home, logged_in):
    """A reader that has seen enough ends the command without a word."""
    logged_in()
    listing = f"{sys.executable} -m tiktok_oauth_session status --json | true"
    done = subprocess.run(["bash", "-c", listing], capture_output=True, text=True, check=False)  # noqa: S607 - the bash that the user has

    assert "" == done.stderr
