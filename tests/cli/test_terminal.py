"""What a person sees in a terminal of their own, and what Ctrl-C leaves behind."""

from __future__ import annotations

import os
import re
import sys
import threading
import time

import pexpect
import pytest
import requests
from servers import require_module

from tiktok_oauth_session import FileStore

pytestmark = pytest.mark.slow

PATIENCE_S = 20
COMMAND = ["-m", "tiktok_oauth_session"]
LOGIN = r"http://127\.0\.0\.1:\d+/v2/auth/authorize/[^\s]+"
COLOUR = "\x1b["


@pytest.fixture
def terminal(home, monkeypatch):
    """Starts the command in a terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "400")
    started = []

    def open_terminal(*arguments, **environment):
        child = pexpect.spawn(
            sys.executable,
            [*COMMAND, *arguments],
            env={**os.environ, **environment},
            timeout=PATIENCE_S,
            encoding="utf-8",
            dimensions=(80, 400),
        )
        child.delaybeforesend = None
        started.append(child)
        return child

    yield open_terminal
    for child in started:
        child.close(force=True)


@pytest.fixture
def no_credentials(monkeypatch):
    """Nothing in the environment, so that the user is asked."""
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    monkeypatch.delenv("TIKTOK_CLIENT_SECRET")


def finish(child):
    """Wait for the end, and return the exit code and what was printed last."""
    child.expect(pexpect.EOF)
    child.close()
    assert "Traceback" not in child.before
    return child.exitstatus, child.before


def visit(address):
    """Be the user's browser."""
    with requests.Session() as browser:
        browser.trust_env = False
        return browser.get(address, timeout=PATIENCE_S).status_code


# --- prompts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "kept"), [("", True), ("y", True), ("n", False), ("no", False)])
def test_prompt__login(terminal, fake, home, no_credentials, answer, kept):
    """Key and secret are asked for, the secret is not shown, and both are kept if the user says so."""
    child = terminal("login", "--no-browser")
    child.expect_exact("Client key: ")
    child.sendline("sbaw-test-key")
    child.expect_exact("Client secret (not shown): ")
    child.sendline("sbaw-test-secret")
    child.expect(LOGIN)
    shown = child.before
    visit(fake.authorize(child.match.group()))
    child.expect(r"Keep the client key and secret in .*credentials\? \[Y/n\] ")
    child.sendline(answer)
    code, _ = finish(child)

    path = home / ".config/tiktok-oauth/credentials"
    assert 0 == code
    assert "sbaw-test-secret" not in shown
    assert kept == path.exists()
    if kept:
        assert "TIKTOK_CLIENT_SECRET=sbaw-test-secret\n" in path.read_text()
        assert 0o600 == path.stat().st_mode & 0o777
        assert (0, True) == (finish(terminal("refresh"))[0], fake.requests[-1].endpoint == "refresh")


def asked_to_keep(terminal, fake, **environment):
    """Log in with what was asked for, up to the last question."""
    child = terminal("login", "--no-browser", **environment)
    child.expect_exact("Client key: ")
    child.sendline("sbaw-test-key")
    child.expect_exact("Client secret (not shown): ")
    child.sendline("sbaw-test-secret")
    child.expect(LOGIN)
    visit(fake.authorize(child.match.group()))
    child.expect_exact("[Y/n] ")
    return child


def test_prompt__ctrl_d(terminal, fake, home, no_credentials):
    """Ctrl-D at the last question means no."""
    child = asked_to_keep(terminal, fake)
    child.sendeof()

    assert 0 == finish(child)[0]
    assert not (home / ".config").exists()


def test_prompt__ctrl_d_before(terminal, no_credentials, state):
    """At the other ones it is no answer: exit code 2."""
    child = terminal("login", "--no-browser")
    for question in ("Client key: ", "Client secret (not shown): "):
        child.expect_exact(question)
        child.sendeof()
    code, out = finish(child)

    assert 2 == code
    assert "No client key or no client secret was given." in out
    assert {} == state()


def test_prompt__cannot_be_kept(terminal, fake, home, no_credentials):
    """Credentials that cannot be kept are told of in one line; the login is kept."""
    (home / "file").touch()
    child = asked_to_keep(terminal, fake, XDG_CONFIG_HOME=str(home / "file"))
    child.sendline("y")
    code, out = finish(child)

    assert 0 == code
    assert "They could not be kept: Not a directory." in out
    assert 1 == len(list((home / ".local/state/tiktok-oauth/tokens").rglob("*.json")))


def test_prompt__to_the_terminal_not_the_pipe(terminal, fake, logged_in, no_credentials):
    """A script that takes the token from a pipe gets the token alone; the user is asked at the terminal."""
    _, token = logged_in(expires_at=1)
    line = f"{sys.executable} -m tiktok_oauth_session token | tr a-z A-Z"
    child = pexpect.spawn("bash", ["-c", line], env=dict(os.environ), timeout=PATIENCE_S, encoding="utf-8")
    child.delaybeforesend = None
    child.expect_exact("Client secret (not shown): ")
    child.sendline("sbaw-test-secret")
    code, out = finish(child)

    (new,) = (each["access_token"] for each in fake.tokens)
    assert (0, new.upper()) == (code, out.strip())
    assert token["access_token"] != new


@pytest.mark.parametrize("answers", [["", ""], ["key", ""], ["", "secret"]])
def test_prompt__no_answer(terminal, no_credentials, answers, state):
    """An empty answer is none: exit code 2."""
    child = terminal("login", "--no-browser")
    for answer in answers:
        child.expect_exact(": ")
        child.sendline(answer)
    code, out = finish(child)

    assert 2 == code
    assert "No client key or no client secret was given." in out
    assert {} == state()


def test_prompt__paste_again(terminal, fake):
    """A person who pastes something else by mistake may try again."""
    child = terminal("login", "--paste")
    child.expect(LOGIN)
    address = child.match.group()
    for mistake, words in [("what?", "That is no address."), ("https://a.example/", "carries no code=")]:
        child.expect_exact("Paste that address and press Enter:")
        child.sendline(mistake)
        child.expect_exact(words)
    child.expect_exact("Paste that address and press Enter:")
    child.sendline(fake.authorize(address))

    assert 0 == finish(child)[0]


def test_prompt__paste_three_times(terminal):
    """But not for ever."""
    child = terminal("login", "--paste")
    for _ in range(3):
        child.expect_exact("Paste that address and press Enter:")
        child.sendline("what?")
    code, out = finish(child)

    assert 1 == code
    assert "tiktok-oauth: That is no address." in out
    assert "Begin again with: tiktok-oauth login --paste" in out


def test_prompt__switch(terminal, fake, logged_in):
    """The default account is chosen from a list of names, by its number."""
    for name in ("Ada", "Bob", "Cy"):
        logged_in(user=fake.add_user(name.lower()), display_name=name)
    child = terminal("switch")
    for line in ("1  ada (Ada)", "2  bob (Bob)", "3  cy (Cy)", "Which one (1-3)? "):
        child.expect_exact(line)
    child.sendline("2")
    code, out = finish(child)

    assert 0 == code
    assert "Default account: bob (Bob)" in out


# --- Ctrl-C --------------------------------------------------------------------------------------------


def interrupt(child):
    """Press Ctrl-C."""
    child.sendintr()
    return finish(child)


@pytest.mark.parametrize("stage", ["Client key: ", "Client secret (not shown): "])
def test_interrupt__prompts(terminal, no_credentials, state, stage):
    """At a prompt nothing was begun: exit code 130, no traceback, nothing left behind."""
    child = terminal("login", "--no-browser")
    if "secret" in stage:
        child.expect_exact("Client key: ")
        child.sendline("k")
    child.expect_exact(stage)

    assert 130 == interrupt(child)[0]
    assert {} == state()


@pytest.mark.parametrize(
    ("options", "stage"),
    [
        (["--no-browser"], "Waiting for the login"),
        (["--paste"], "Paste that address"),
        (["--qr"], "Waiting for a phone"),
    ],
)
def test_interrupt__waiting(terminal, state, options, stage):
    """While the user is waited for: the same."""
    child = terminal("login", *options)
    child.expect_exact(stage)

    assert 130 == interrupt(child)[0]
    assert {} == state()


def slow(fake, endpoint):
    """Hold every request to an endpoint; returns the events that it has come, and that lets it go on."""
    arrived, go_on = threading.Event(), threading.Event()

    def hold(_):
        arrived.set()
        go_on.wait(PATIENCE_S)

    fake.after(endpoint, hold)
    return arrived, go_on


def test_interrupt__exchanging_the_code(terminal, fake, home):
    """While TikTok is asked for the token, Ctrl-C waits for it: what the user consented to is kept."""
    arrived, go_on = slow(fake, "token")
    child = terminal("login", "--no-browser")
    child.expect(LOGIN)
    threading.Thread(target=visit, args=(fake.authorize(child.match.group()),), daemon=True).start()
    assert arrived.wait(PATIENCE_S)
    child.sendintr()
    child.expect_exact("Ctrl-C once more stops at once")
    go_on.set()
    code, _ = finish(child)

    store = FileStore(home / ".local/state/tiktok-oauth/tokens")
    (key,) = store.keys()
    assert 130 == code
    assert fake.is_alive(store.load(key)["refresh_token"])


@pytest.mark.parametrize("command", ["token", "refresh", "api"])
def test_interrupt__refreshing(terminal, fake, logged_in, tokens, command):
    """While a refresh token is being spent, Ctrl-C waits for its successor to be kept."""
    arrived, go_on = slow(fake, "refresh")
    key, old = logged_in(expires_at=1)
    child = terminal(command, *(["user/info", "-f", "fields=open_id"] if command == "api" else []))
    assert arrived.wait(PATIENCE_S)
    child.sendintr()
    child.expect_exact("Ctrl-C once more stops at once")
    go_on.set()
    code, _ = finish(child)

    new = tokens.load(key)
    assert 130 == code
    assert old["refresh_token"] != new["refresh_token"]
    assert fake.is_alive(new["refresh_token"])
    assert "refresh_started_at" not in new


@pytest.mark.parametrize("command", [["refresh"], ["keep-alive"]])
def test_interrupt__terminal_closed(terminal, fake, logged_in, tokens, command):
    """When the terminal itself is gone, and nobody can be told anything: the same."""
    arrived, go_on = slow(fake, "refresh")
    key, _ = logged_in(refresh_expires_at=int(time.time()) + 86_400)
    child = terminal(*command)
    assert arrived.wait(PATIENCE_S)
    child.ptyproc.fileobj.close()
    time.sleep(0.3)
    go_on.set()
    child.wait()

    assert fake.is_alive(tokens.load(key)["refresh_token"])
    assert "refresh_started_at" not in tokens.load(key)
    if command == ["refresh"]:
        assert 129 == child.exitstatus


def test_interrupt__twice(terminal, fake, logged_in, tokens):
    """The second Ctrl-C does not wait; the store says that nobody knows how the refresh ended."""
    arrived, go_on = slow(fake, "refresh")
    key, _ = logged_in()
    child = terminal("refresh")
    assert arrived.wait(PATIENCE_S)
    child.sendintr()
    child.expect_exact("Ctrl-C once more stops at once")
    code, _ = interrupt(child)
    go_on.set()

    assert 130 == code
    assert "refresh_started_at" in tokens.load(key)


def test_interrupt__keeping_the_credentials(terminal, fake, home, no_credentials):
    """At the last question the login has worked and is kept; the credentials are not."""
    child = terminal("login", "--no-browser")
    for answer in ("sbaw-test-key", "sbaw-test-secret"):
        child.expect_exact(": ")
        child.sendline(answer)
    child.expect(LOGIN)
    visit(fake.authorize(child.match.group()))
    child.expect_exact("[Y/n] ")

    assert 130 == interrupt(child)[0]
    assert not (home / ".config").exists()
    assert 1 == len(list((home / ".local/state/tiktok-oauth/tokens").rglob("*.json")))


# --- colours -------------------------------------------------------------------------------------------


def test_colours__in_a_terminal(terminal, logged_in):
    """A terminal gets colours, where rich is installed."""
    require_module("rich")
    logged_in()
    code, out = finish(terminal("status"))

    assert 0 == code
    assert re.search(r"\x1b\[32mok", out)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours__not_wanted(terminal, logged_in, environment):
    """None where the user does not want them or the terminal has none."""
    logged_in()
    code, out = finish(terminal("status", **environment))

    assert 0 == code
    assert COLOUR not in out


def test_colours__keep_alive_in_a_terminal(terminal, logged_in):
    """A terminal gets a bar, where rich is installed, and no lines."""
    require_module("rich")
    logged_in(refresh_expires_at=int(time.time()) + 86_400)
    code, out = finish(terminal("keep-alive"))

    assert 0 == code
    assert re.search("keep-alive.*━.*1/1", out)
    assert "1 of 1 accounts" not in out


def test_colours__qr_code_in_a_terminal(terminal):
    """A QR code is light on dark whatever the terminal's own colours are."""
    child = terminal("login", "--qr")
    child.expect_exact("Waiting for a phone")

    assert child.before.count("\x1b[97;40m") == child.before.count("\x1b[0m\r\n") > 10


@pytest.mark.parametrize(
    "command", [["status"], ["accounts"], ["token"], ["doctor"], ["--help"], ["login", "--help"]]
)
def test_colours__piped(start, logged_in, command):
    """Piped output has no colour codes, even where the user wants colours in terminals."""
    logged_in()
    result = start(*command, env={"TERM": "xterm-256color", "CLICOLOR": "1"}).end()

    assert 0 == result.code
    assert result.out
    assert "\x1b" not in result.out + result.err


def test_plain__without_rich(run, logged_in, monkeypatch):
    """Without rich the table is plain text, in a terminal as well."""
    logged_in()
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    assert 2 == len(run("status").out.splitlines())
