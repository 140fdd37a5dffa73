"""``token``."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: How often a command is measured.
RUNS = 10


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
    key, token = logged_in(ends_in=-1)

    code, out, err = run("token")

    assert (0, "") == (code, err)
    assert token["access_token"] != out.strip() == tokens.load(key)["access_token"]
    assert fake.is_alive(out.strip())
    assert ["refresh"] == [record.endpoint for record in fake.requests]


def test_token__ends_soon(run, fake, logged_in):
    """One that ends within minutes is refreshed as well, so that the script has time to use it."""
    _, token = logged_in(ends_in=300)

    assert fake.is_alive(token["access_token"])
    assert token["access_token"] != run("token").out.strip() == fake.tokens[0]["access_token"]


def test_token__network_gone(run, server, logged_in):
    """In the advisory window a token that still works is printed although TikTok cannot be reached."""
    _, token = logged_in(ends_in=300)
    server.stop()

    assert (0, f"{token['access_token']}\n") == run("token")[:2]


def test_token__quick(home, logged_in):
    """On the way to a fresh token neither requests, nor oauthlib, nor any extra is imported."""
    logged_in()
    slow = ("oauthlib", "requests", "urllib3", "rich", "segno", "keyring", "sqlalchemy", "redis")
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
    assert "3 accounts could be meant: give more of the open_id" in run("token", "--account", "aa").err
