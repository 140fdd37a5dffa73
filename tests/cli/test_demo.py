"""``demo``: a connection's whole life in one screen, and every parameter of it on request."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

SCREEN = 40


@pytest.fixture(autouse=True)
def in_no_time(clock, monkeypatch):
    """Let the demo wait by a clock that is moved."""
    monkeypatch.setattr("tiktok_oauth_session.cli.demo.life.time", SimpleNamespace(sleep=clock.advance))


def titles(out):
    """What is done, step by step."""
    return [line for line in out.splitlines()[1:] if not line.startswith(" ")]


def test_demo(run):
    """What is asked, in order; what becomes of each token; a summary at the end."""
    code, out, err = run("demo")
    requests = re.findall(r"^  (?:GET|POST) +(\S+)  (\d+)", out, re.MULTILINE)
    first, second = re.findall(r"(act\.\S{4}…) and (rft\.\S{4}…)", out)

    assert (0, "") == (code, err)
    assert [
        ("/v2/auth/authorize/", "200"),
        ("/v2/auth/authorize/", "302"),
        ("/v2/oauth/token/", "200"),
        ("/v2/user/info/", "200"),
        ("/v2/oauth/token/", "200"),
        ("/v2/user/info/", "200"),
        ("/v2/oauth/revoke/", "200"),
    ] == requests
    assert f"{second[0]} and {second[1]} (instead of {first[1]})" in out
    assert first != second
    assert "has the scopes user.info.basic; missing: video.list" in out
    assert "ReauthorizationRequired: " in out
    assert out.splitlines()[-1].startswith("7 requests: one login, 1 refresh, 0 refresh tokens sent twice.")
    assert len(out.splitlines()) <= SCREEN


def test_demo__v1_verbose(run):
    """The legacy surface, with every parameter; of secrets there is only the beginning."""
    code, out, _ = run("demo", "--v1", "--verbose")
    secrets = re.findall(r"\b(?:access_token|refresh_token|client_secret|code): (?!0\n)(\S+)", out)

    assert 0 == code
    assert "POST /oauth/access_token/  200" in out
    assert "       → grant_type: refresh_token" in out
    assert "       ← message: success" in out
    assert len(secrets) >= 6
    assert [] == [secret for secret in secrets if not re.fullmatch(r"\S{8}…", secret)]


def test_demo__in_colours(monkeypatch, run):
    """Where there are colours, titles are bold, and the words are the same."""
    plain = run("demo").out
    monkeypatch.setattr("tiktok_oauth_session.cli.terminal.output.is_fancy", lambda stream: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    drawn = run("demo").out

    assert "\x1b[1mCall once more\x1b[0m" in drawn
    assert titles(plain) == titles(re.sub(r"\x1b\[[\d;]*m", "", drawn))
