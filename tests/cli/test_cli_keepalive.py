"""``tiktok-oauth keep-alive``."""

from __future__ import annotations

import json
import re
import signal
import time

DAY_S = 86_400


def due(fake, logged_in, count):
    """Log in so many users whose refresh tokens end within ten days."""
    ends = time.time() + 10 * DAY_S
    return [logged_in(user=fake.add_user(), refresh_expires_at=ends + n)[0] for n in range(count)]


def test_keep_alive__refreshes_what_is_due(run, fake, tokens, logged_in):
    """What is about to end is refreshed and counted, and nothing else is touched."""
    keys = due(fake, logged_in, 3)
    logged_in(user=fake.add_user())

    result = run("keep-alive", "--rate", "1000")

    assert (0, "3 due, 3 refreshed, 0 left to others, 0 dead, 0 failed\n") == (result.code, result.out)
    assert len(fake.requests_to("refresh")) == 3
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)
    assert "\x1b" not in result.out + result.err


def test_keep_alive__dead_and_failed(run, fake, logged_in):
    """Accounts that need a login or failed are named with the reason; a failure shows in the exit code."""
    dead, _, _ = due(fake, logged_in, 3)
    fake.remove_connection(dead.open_id)

    def fail(record):
        if fake.requests_to("refresh")[-1] is record and len(fake.requests_to("refresh")) == 2:
            fake.fail("refresh", "html")

    fake.before("refresh", fail)
    result = run("keep-alive", "--workers", "1", "--rate", "1000", "--json")

    assert 1 == result.code
    assert {
        "due": 3,
        "refreshed": 1,
        "left_to_others": 0,
        "dead": 1,
        "failed": 1,
        "stopped": "",
    } == json.loads(result.out)
    assert re.search(r"log in again: .*invalid_grant", result.err)
    assert re.search(r"failed: .*502", result.err)
    assert not re.search(r"act\.|rft\.|test-secret", result.out + result.err)


def test_keep_alive__nothing_due(run, fake):
    """Nothing to do is a success."""
    result = run("keep-alive")

    assert (0, "0 due, 0 refreshed, 0 left to others, 0 dead, 0 failed\n") == (result.code, result.out)
    assert [] == fake.requests


def test_keep_alive__sigterm(start, fake, tokens, logged_in):
    """SIGTERM lets the refresh in flight end and be saved; the next run does the rest."""
    keys = due(fake, logged_in, 6)
    command = None

    def end(_):
        if len(fake.requests_to("refresh")) == 2:
            command.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)

    fake.after("refresh", end)
    command = start("keep-alive", "--workers", "1", "--rate", "1000")
    first = command.end()
    second = start("keep-alive", "--rate", "1000").end()

    assert 0 == first.code
    assert first.out.startswith("6 due, 2 refreshed")
    assert "Stopped with 4 accounts to go: told to stop" in first.err
    assert (0, "4 due, 4 refreshed, 0 left to others, 0 dead, 0 failed\n") == (second.code, second.out)
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)
    fake.assert_no_token_reuse()
