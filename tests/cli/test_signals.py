"""What SIGTERM and SIGHUP leave behind: as little as Ctrl-C (tests/cli/test_terminal.py)."""

from __future__ import annotations

import re
import signal
import threading
import time

import pytest
import requests
from surfaces import SURFACES

from tiktok_oauth_session.cli.terminal import signals

pytestmark = pytest.mark.slow

PATIENCE_S = 20
SIGNALS = [
    pytest.param(number, id=number.name)
    for number in (getattr(signal, "SIGTERM", None), getattr(signal, "SIGHUP", None))
    if number is not None
]


@pytest.fixture
def slow(fake):
    """Holds every request to an endpoint; returns the events that it has come, and that lets it go on."""

    def hold_requests_to(endpoint):
        arrived, go_on = threading.Event(), threading.Event()

        def hold(_):
            arrived.set()
            go_on.wait(PATIENCE_S)

        fake.after(endpoint, hold)
        return arrived, go_on

    return hold_requests_to


def visit(address):
    """Be the user's browser."""
    with requests.Session() as browser:
        browser.trust_env = False
        browser.get(address, timeout=PATIENCE_S)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["token", "refresh", "api", "revoke"])
def test_signal__refreshing(start, fake, slow, logged_in, tokens, command, number):
    """While a refresh token is being spent, the signal waits for its successor to be kept."""
    arrived, go_on = slow("refresh")
    key, old = logged_in(expires_at=1)
    running = start(command, *(["user/info", "-f", "fields=open_id"] if command == "api" else []))
    assert arrived.wait(PATIENCE_S)
    running.process.send_signal(number)
    running.see("First the token")
    go_on.set()
    result = running.end()

    new = tokens.load(key)
    assert 128 + number == result.code
    assert "Traceback" not in result.err
    if command == "revoke":
        # Refreshing and revoking are one block.
        assert new is None
    else:
        assert old["refresh_token"] != new["refresh_token"]
        assert fake.is_alive(new["refresh_token"])


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, id="SIGINT"), *SIGNALS])
def test_signal__refreshing_within_a_call(start, fake, slow, logged_in, tokens, number):
    """The same if it is the API's reply that the token has to be refreshed after."""
    arrived, go_on = slow("refresh")
    key, old = logged_in()
    fake.advance(7201)
    running = start("api", "user/info", "-f", "fields=open_id")
    assert arrived.wait(PATIENCE_S)
    running.process.send_signal(number)
    running.see("First the token")
    go_on.set()
    result = running.end()

    assert 128 + number == result.code
    assert ["user_info", "refresh", "user_info"] == [record.endpoint for record in fake.requests]
    assert old["refresh_token"] != tokens.load(key)["refresh_token"]
    assert fake.is_alive(tokens.load(key)["refresh_token"])


@pytest.mark.parametrize("name", ["business", "shop"])
def test_signal__refreshing_within_a_call_that_says_200(start, fake, slow, server, logged_in, tokens, name):
    """The same where the API says with HTTP 200 that a token is dead."""
    arrived, go_on = slow("refresh")
    surface = SURFACES[name]
    key, old = logged_in(surface=surface.name, issuer=surface.platform.at(server.url).issuer)
    fake.fail(surface.endpoint, "error", **surface.dead)
    path, fields = surface.call[1].strip("/"), ["-f", f"business_id={key.open_id}"] * (name == "business")
    running = start("api", path, *fields, "--platform", name)
    assert arrived.wait(PATIENCE_S)
    running.process.send_signal(signal.SIGTERM)
    running.see("First the token")
    go_on.set()

    assert 128 + signal.SIGTERM == running.end().code
    assert old["refresh_token"] != tokens.load(key)["refresh_token"]
    assert fake.is_alive(tokens.load(key)["refresh_token"])


def test_signal__calling_the_api(start, slow, logged_in):
    """An API that takes its time keeps no token waiting, so Ctrl-C ends the call at once."""
    arrived, go_on = slow("user_info")
    logged_in()
    running = start("api", "user/info", "-f", "fields=open_id")
    assert arrived.wait(PATIENCE_S)
    running.process.send_signal(signal.SIGINT)
    result = running.end()
    go_on.set()

    assert (130, "", "\n") == result


@pytest.mark.parametrize("number", SIGNALS)
def test_signal__exchanging_the_code(start, fake, slow, tokens, number):
    """While TikTok is asked for the first token: what the user consented to is kept."""
    arrived, go_on = slow("token")
    running = start("login", "--no-browser")
    address = running.see_login()
    threading.Thread(target=visit, args=(fake.authorize(address),), daemon=True).start()
    assert arrived.wait(PATIENCE_S)
    running.process.send_signal(number)
    running.see("First the token")
    go_on.set()
    result = running.end()

    (key,) = tokens.keys()
    assert 128 + number == result.code
    assert fake.is_alive(tokens.load(key)["refresh_token"])


@pytest.mark.parametrize("number", SIGNALS)
def test_signal__twice_at_once(start, fake, slow, logged_in, tokens, number):
    """A closing terminal and `timeout` send their signal twice: that is one."""
    arrived, go_on = slow("refresh")
    key, _ = logged_in()
    running = start("refresh")
    assert arrived.wait(PATIENCE_S)
    running.process.send_signal(number)
    running.see("First the token")
    running.process.send_signal(number)
    time.sleep(0.2)
    go_on.set()
    result = running.end()

    assert 128 + number == result.code
    assert fake.is_alive(tokens.load(key)["refresh_token"])


def test_signal__ctrl_c_after_another(start, fake, slow, logged_in, tokens):
    """Whoever presses Ctrl-C after that does not want to wait."""
    arrived, go_on = slow("refresh")
    key, _ = logged_in()
    running = start("refresh")
    assert arrived.wait(PATIENCE_S)
    running.process.send_signal(signal.SIGTERM)
    running.see("First the token")
    running.process.send_signal(signal.SIGINT)
    result = running.end()
    go_on.set()

    assert 130 == result.code
    assert "refresh_started_at" in tokens.load(key)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_signal__ignored_stays_ignored(start, fake, slow, logged_in, tokens, home):
    """Under nohup a hangup ends nothing."""
    arrived, go_on = slow("refresh")
    logged_in()
    running = start("refresh", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert arrived.wait(PATIENCE_S)
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    go_on.set()
    result = running.end()

    assert 0 == result.code
    assert not re.search("First the token", result.err)


@pytest.mark.parametrize(
    ("numbers", "after_s", "hurried"),
    [
        (["SIGINT", "SIGINT"], 0.0, True),
        (["SIGTERM", "SIGTERM"], 0.99, False),
        (["SIGTERM", "SIGTERM"], 1.0, True),
        (["SIGINT", "SIGTERM"], 1.0, True),
        (["SIGTERM", "SIGHUP"], 60.0, False),
    ],
)
def test_signals__hurried(monkeypatch, numbers, after_s, hurried):
    """A second signal hurries if a person sent it, or a second later; a hangup never does."""
    now = 1000.0
    monkeypatch.setattr(signals.time, "monotonic", lambda: now)
    came = signals.Signals()
    first, second = (getattr(signal, name, 1) for name in numbers)

    assert not came.note(first)
    now += after_s
    assert hurried is came.note(second)
