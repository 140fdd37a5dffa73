"""The page about a script: the login, the program and the line for cron, as they are printed there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
from pages import TOP, blocks

from tiktok_oauth_session import FileStore

PAGE = "docs/script.md"


@pytest.fixture
def logged_in_account(run, home, fake, monkeypatch):
    """Who has logged in with the command of the page, by a browser that goes where it is sent."""

    def visit(url):
        with urllib3.PoolManager(retries=False) as browser:
            browser.request("GET", fake.authorize(url))

    # The command calls it in a thread of its own.
    monkeypatch.setattr("webbrowser.open", visit)
    (line,) = blocks(PAGE, "sh")
    program, *arguments = shlex.split(line.replace("~", str(home)))
    assert ("tiktok-oauth", 0) == (program, run(*arguments).code)
    (account,) = FileStore(home / "tiktok-tokens").keys()
    return account


def test_page__cron(home, fake, server, logged_in_account):
    """Cron's /bin/sh runs the program, which lists the videos with a token that it has refreshed."""
    (code,) = blocks(PAGE)
    at_the_fake = code.replace("import FileStore,", "import LOGIN_KIT, FileStore,").replace(
        "store=store,", f'store=store, platform=LOGIN_KIT.at("{server.url}"),'
    )
    assert code.count("\n") == at_the_fake.count("\n") < len(at_the_fake) - len(code)
    (home / "videos.py").write_text(at_the_fake)
    settings = {"TIKTOK_CLIENT_KEY": fake.client_key, "TIKTOK_CLIENT_SECRET": fake.client_secret}
    (home / "tiktok.env").write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    *when, command = blocks(PAGE, "")[0].split(maxsplit=5)
    fake.advance(7200)

    bare = {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(TOP)}
    done = subprocess.run(["/bin/sh", "-c", command], env=bare, capture_output=True, text=True, check=False)

    assert (["17", "6", "*", "*", "*"], 0, "") == ([*when], done.returncode, done.stderr)
    titles = [video["title"] for video in fake.users[0].videos]
    assert titles == re.findall(r"^\d+ (.+)$", done.stdout, re.MULTILINE)
    assert [1, 0] == [len(fake.requests_to("refresh")), fake.reuse_attempts]
    assert fake.is_alive(FileStore(home / "tiktok-tokens").load(logged_in_account).refresh_token)


def test_page__in_a_shell(run, home, fake, logged_in_account, monkeypatch):
    """The line for a shell lists them, too."""
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", str(home / "tiktok-tokens"))
    (line,) = re.findall(r"`tiktok-oauth (api [^`]*)`", (TOP / PAGE).read_text())

    code, out, _ = run(*shlex.split(line))

    assert 0 == code
    assert [] == [video["title"] for video in fake.users[0].videos if f'"{video["title"]}"' not in out]
