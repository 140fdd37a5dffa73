"""Streams that are closed, full or gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell"),
]

full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as Linux has it")


@pytest.fixture
def shell(home, own_words):
    """Runs the command in a shell's line, with {} in its place."""

    def call(line):
        command = f"{sys.executable} -m tiktok_oauth_session"
        done = subprocess.run(
            ["/bin/sh", "-c", line.format(command)],
            env={**os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        done.stderr = own_words(done.stderr)
        return done

    return call


@pytest.mark.parametrize(
    "command", ["token", "status", "status --json", "accounts", "--help", "token --help"]
)
@pytest.mark.parametrize("where", [">&-", pytest.param(">/dev/full", marks=full)])
def test_stdout__cannot_be_written(shell, logged_in, command, where):
    """What could not be printed is no success: exit code 1, one line."""
    logged_in()
    done = shell(f"{{}} {command} {where}")

    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert done.stderr.startswith("tiktok-oauth: ")


def test_stdout__refreshed_all_the_same(shell, fake, logged_in, tokens):
    """A token that could not be printed is kept."""
    key, old = logged_in(expires_at=1)
    done = shell("{} token >&-")

    assert 1 == done.returncode
    assert old["refresh_token"] != tokens.load(key)["refresh_token"]
    assert fake.is_alive(tokens.load(key)["refresh_token"])


@pytest.mark.parametrize("command", ["token", "status", "keep-alive --rate 100"])
@pytest.mark.parametrize("where", ["2>&-", pytest.param("2>/dev/full", marks=full)])
def test_stderr__cannot_be_written(shell, fake, logged_in, tokens, command, where):
    """What is only said to a person stops nothing, and does not get into the result."""
    key, token = logged_in(refresh_expires_at=int(time.time()) + 86_400)
    done = shell(f"{{}} {command} {where}")

    assert 0 == done.returncode
    assert "accounts" not in done.stdout
    assert fake.is_alive(tokens.load(key)["refresh_token"])
    assert (command == "token") == (done.stdout.strip() == token["access_token"])


@pytest.mark.parametrize("where", ["2>&-", pytest.param("2>/dev/full", marks=full)])
def test_stderr__error(shell, tokens, where):
    """An error that cannot be told still has its exit code."""
    done = shell(f"{{}} token {where}")

    assert (3, "") == (done.returncode, done.stdout)


def test_stderr__pipe_closed(shell, fake, logged_in):
    """As the first line of a log is read: the rest of the work is done."""
    users = [fake.add_user() for _ in range(3)]
    for user in users:
        logged_in(user=user, refresh_expires_at=int(time.time()) + 86_400)
    shell("{} keep-alive --rate 100 2>&1 >/dev/null | true")

    assert 3 == len(fake.requests_to("refresh"))


def test_stdin__closed(shell):
    """Nobody can paste anything: exit code 1, and the reason."""
    done = shell("{} login --paste <&-")

    assert 1 == done.returncode
    assert done.stderr.endswith("tiktok-oauth: No address was pasted.\n")


def test_stdin__closed_for_a_body(shell, logged_in):
    """The same for the body of a call: exit code 2."""
    logged_in()
    done = shell("{} api video/list --input - <&-")

    assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))
