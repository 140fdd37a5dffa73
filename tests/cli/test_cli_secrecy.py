"""No secret is where others can read it: in no output but ``token``'s, no command line, no suggestion."""

from __future__ import annotations

import json
import re
import threading
import traceback
from pathlib import Path

import pytest
import requests

from tiktok_oauth_session.cli import parser
from tiktok_oauth_session.testing import FakeTikTok

SECRET = "hush-hush-secret"


@pytest.fixture
def fake(monkeypatch):
    """A TikTok whose secret is found wherever it should not be."""
    return FakeTikTok("sbaw-test-key", SECRET)


@pytest.fixture
def secret(home, monkeypatch):
    """The app's secret, in the environment."""
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", SECRET)


def secrets_of(fake):
    """Every secret that the fake has handed out or was sent."""
    found = {SECRET}
    for record in fake.requests:
        found.update(str(v) for n, v in record.parameters.items() if n in ("code", "code_verifier", "token"))
        found.update(re.findall(rb'"(?:access_token|refresh_token)": "([^"]+)"', record.body))
    return {each.decode() if isinstance(each, bytes) else each for each in found} | {
        token[name] for token in fake.tokens for name in ("access_token", "refresh_token")
    }


COMMANDS = (
    ["status"],
    ["status", "--json"],
    ["accounts", "--json"],
    ["refresh"],
    ["revoke"],
    ["logout"],
    ["doctor"],
    ["api", "user/info", "-f", "fields=open_id"],
)
LOGINS = (["login", "--no-browser", "--timeout", "1"], ["login", "--qr", "--timeout", "1"])
FAULTS = (("*", "error"), ("*", "html"), ("*", "reset_after"), ("*", "truncated"))


@pytest.mark.parametrize(
    ("command", "fault"),
    [*((c, None) for c in (*COMMANDS, *LOGINS)), *((c, f) for c in COMMANDS for f in FAULTS)],
)
def test_output__no_secret(run, fake, secret, logged_in, command, fault):
    """No command prints a secret, whatever goes wrong."""
    logged_in()
    before = secrets_of(fake)
    if fault:
        fake.fail(*fault, times=None)
    result = run(*command)

    printed = result.out + result.err
    # What a QR code's address holds is for everybody who sees the screen.
    scanned = {json.loads(record.body)["token"] for record in fake.requests_to("qr_get")}
    assert [] == [each for each in (before | secrets_of(fake)) - scanned if each in printed]


def command_lines():
    """The command line of every process of this machine."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc, as Linux has it")
def test_ps__no_secret(start, fake, secret, home):
    """While a login goes on, no process of this machine shows a secret on its command line."""
    seen, looking = set(), threading.Event()

    def look():
        while not looking.is_set():
            seen.update(command_lines())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    browser = home / "browser"
    browser.write_text("#!/bin/sh\nexec sleep 0.5 >/dev/null 2>&1\n")
    browser.chmod(0o700)
    command = start("login", env={"BROWSER": str(browser)})
    callback = fake.authorize(command.see_login())
    with requests.Session() as http:
        http.trust_env = False
        http.get(callback, timeout=20)
    code = command.end().code
    for line in (["refresh"], ["api", "user/info", "-f", "fields=open_id"], ["token"]):
        assert 0 == start(*line).end().code
    looking.set()
    watcher.join()

    assert 0 == code
    assert any("tiktok_oauth_session login" in line for line in seen)
    assert [] == [line for line in seen for each in secrets_of(fake) if each in line]


def test_suggestions__no_secret(run, home, secret, monkeypatch):
    """What is suggested to be typed names no secret and no option that would hold one."""
    outputs = [run("doctor"), run("token"), run("login", "--client-secret", SECRET)]
    monkeypatch.delenv("TIKTOK_CLIENT_SECRET")
    outputs += [run("doctor"), *(run("completion", shell) for shell in ("bash", "zsh", "fish"))]
    said = parser().format_help() + "".join(result.out + result.err for result in outputs)

    assert SECRET not in said
    assert not re.search(r"export TIKTOK|TIKTOK_CLIENT_SECRET=\w", said)


def test_traceback__no_locals(run, fake, secret, logged_in, monkeypatch):
    """A bug of ours, which is shown as a bug, shows no secret either."""
    logged_in()
    monkeypatch.setattr("tiktok_oauth_session.cli.refresh.moment", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        run("refresh")

    shown = "".join(traceback.format_exception(caught.value))
    assert [] == [each for each in secrets_of(fake) if each in shown]
