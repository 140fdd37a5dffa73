"""Names of people: asked for once, at the login, and kept with the token."""

from __future__ import annotations

import io
import json
import time

import pytest

from tiktok_oauth_session.cli.login import display_name
from tiktok_oauth_session.cli.terminal import prompts

NAME = "Ada Lovelace"


@pytest.fixture
def log_in(run, fake, monkeypatch):
    """Logs a user of this name in, by pasting the address that TikTok sends them to."""
    monkeypatch.setattr(prompts, "somebody_is_there", lambda: False)

    def play(*options, open_id="ada-1", name=NAME, **choices):
        user = fake.add_user(open_id, display_name=name)

        def browse(url, *, browser):
            answer = fake.authorize(url, user=user, **choices)
            monkeypatch.setattr("sys.stdin", io.StringIO(answer))

        monkeypatch.setattr("tiktok_oauth_session.cli.login.consent_page.show", browse)
        return run("login", "--paste", *options)

    return play


def known_names(run):
    """The names that two commands tell in JSON."""
    names = [[a["display_name"] for a in json.loads(run(c, "--json").out)] for c in ("status", "accounts")]
    assert names[0] == names[1]
    return names[0]


def test_name__shown(run, fake, log_in):
    """A login tells it, and so does whatever shows accounts; TikTok is asked once."""
    result = log_in("--scope", "user.info.basic,video.list", grant=["user.info.basic"])

    assert (0, f"Logged in: ada-1 ({NAME})") == (result.code, result.out.splitlines()[0])
    assert [NAME] == known_names(run)
    heading, line = run("status").out.splitlines()
    assert (["ACCOUNT", "NAME"], True) == (heading.split()[:2], line.startswith(f"ada-1    {NAME}  "))
    assert f"Default account: ada-1 ({NAME})\n" == run("switch").out
    assert ["video.list"] == json.loads(run("status", "--json").out)[0]["missing_scopes"]
    (asked,) = fake.requests_to("user_info")
    assert {"fields": "display_name"} == asked.parameters


def test_name__until_the_logout(run, log_in, state):
    """A refresh keeps it, and a logout, which says whom it is about, deletes it."""
    log_in()
    assert 0 == run("refresh").code
    assert [NAME] == known_names(run)
    assert any(NAME in content for content in state().values())

    assert f"Logged out: the token of ada-1 ({NAME}) is deleted here." in run("logout").out
    assert not any(NAME in content for content in state().values())


def test_name__revoked(run, log_in):
    """A revocation says whom it is about, too."""
    log_in()

    assert f"no longer lists the app for ada-1 ({NAME})," in run("revoke").out


def test_name__chosen_from(run, log_in, monkeypatch):
    """The list to choose a default from has it."""
    for open_id in ("a", "b"):
        log_in(open_id=open_id, name=f"User {open_id}")
    monkeypatch.setattr(prompts, "somebody_is_there", lambda: True)
    monkeypatch.setattr(prompts, "ask", lambda _: "2")

    assert (0, "Default account: b (User b)\n", "1  a (User a)\n2  b (User b)\n") == run("switch")


def test_name__not_granted(run, fake, log_in):
    """Without the scope that it takes, TikTok is not asked."""
    result = log_in("--scope", "video.list")

    assert (0, "Logged in: ada-1") == (result.code, result.out.splitlines()[0])
    assert [None] == known_names(run)
    assert [] == fake.requests_to("user_info")


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("reset_after", {}),
        ("truncated", {}),
        ("html", {}),
        ("status", {"status": 503}),
        ("error", {"error": "access_token_invalid", "status": 401}),
        *(
            ("body", {"body": body})
            for body in (b"", b"[]", b'{"data": {}}', b'{"data": {"user": {"display_name": 7}}}')
        ),
    ],
)
def test_name__not_told(run, fake, log_in, kind, details):
    """Whatever TikTok says in its place, the login has worked, and nothing is asked again or refreshed."""
    fake.fail("user_info", kind, **details)
    result = log_in()

    assert (0, "Logged in: ada-1") == (result.code, result.out.splitlines()[0])
    assert [None] == known_names(run)
    asked = [each.endpoint for each in fake.requests]
    assert ["token", "user_info"] == asked[asked.index("token") :]


def test_name__not_in_time(run, fake, log_in, monkeypatch):
    """Nobody waits for it for longer than a few seconds."""
    assert sum(display_name.TIMEOUT_S) <= 3.0
    monkeypatch.setattr(display_name, "TIMEOUT_S", (0.1, 0.1))
    fake.fail("user_info", "slow", seconds=5.0)
    begin = time.monotonic()
    result = log_in()

    assert (0, "Logged in: ada-1") == (result.code, result.out.splitlines()[0])
    assert time.monotonic() - begin < 5.0


def test_name__interrupted(run, fake, log_in, monkeypatch):
    """Ctrl-C ends the wait: the login is kept, and with it what it asked for."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tiktok_oauth_session.cli.login.ask_for_name", interrupt)

    assert 130 == log_in("--scope", "user.info.basic,video.list", grant=["user.info.basic"]).code
    assert ["video.list"] == json.loads(run("status", "--json").out)[0]["missing_scopes"]


def test_name__of_a_stranger(run, log_in):
    """A name that a terminal would obey is text, and a short one."""
    result = log_in(name="\x1b]0;owned\x07" + "x" * 1000)

    assert "Logged in: ada-1 (\\x1b]0;owned\\x07xxx" in result.out
    assert len(known_names(run)[0]) <= 300


@pytest.mark.parametrize("name", [7, None, "", ["x"]])
def test_name__of_another_program(run, logged_in, name):
    """What stands in its place in a shared store and is no text is no name."""
    logged_in(display_name=name)

    assert [None] == known_names(run)
