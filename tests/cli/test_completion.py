"""``completion SHELL``: tried in each shell itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from servers import lack

from tiktok_oauth_session import AccountKey, TikTokToken
from tiktok_oauth_session.cli import COMMANDS, completion, parser


@pytest.fixture
def shell(run, home, tmp_path):
    """Runs a line in a shell that has loaded our completion and finds the command."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "tiktok-oauth"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tiktok_oauth_session "$@"\n')
    command.chmod(0o700)

    def call(name, script):
        program = shutil.which(name)
        if program is None:
            lack(f"there is no {name} here: apt-get install {name}")
        (home / "completion").write_text(run("completion", name).out)
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        done = subprocess.run(
            [
                program,
                *(["--no-config"] if name == "fish" else ["-f"] if name == "zsh" else ["--norc"]),
                "-c",
                script,
            ],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "" == done.stderr
        return done.stdout.split()

    return call


BASH = """
source completion
COMP_WORDS=({words}); COMP_CWORD={position}
_tiktok_oauth
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{ :; }}
compadd() {{ print -l -- "${{(P)@[-1]}}" }}
source ./completion
words=({words}); CURRENT={position}
_tiktok_oauth
"""


def known_commands():
    """The subcommands that this version has."""
    return sorted(completion.known_words(parser())[""])


def test_words__every_command():
    """Every subcommand is known, with its options."""
    words = completion.known_words(parser())

    assert set(words[""]) == set(COMMANDS)
    assert {"--qr", "--paste", "--port", "--help"} <= set(words["login"])
    assert {"bash", "zsh", "fish"} <= set(words["completion"])


def test_bash__commands(shell):
    """The first word is a subcommand."""
    assert known_commands() == sorted(shell("bash", BASH.format(words='tiktok-oauth ""', position=1)))
    assert ["token"] == shell("bash", BASH.format(words="tiktok-oauth to", position=1))


def test_bash__options(shell):
    """The next ones are its options, or what it takes."""
    assert ["--page", "--paste", "--platform", "--port"] == sorted(
        shell("bash", BASH.format(words="tiktok-oauth login --p", position=2))
    )
    assert ["zsh"] == shell("bash", BASH.format(words="tiktok-oauth completion z", position=2))


def test_bash__accounts(shell, logged_in):
    """After --account comes one of the accounts that are logged in."""
    key, _ = logged_in()

    assert [key.open_id] == shell("bash", BASH.format(words='tiktok-oauth token --account ""', position=3))
    assert key.open_id in shell("bash", BASH.format(words='tiktok-oauth switch ""', position=2))


def test_zsh__everything(shell, logged_in):
    """The Z shell offers commands, options and accounts; it filters them itself."""
    key, _ = logged_in()

    assert known_commands() == sorted(shell("zsh", ZSH.format(words='tiktok-oauth ""', position=2)))
    assert "--qr" in shell("zsh", ZSH.format(words="tiktok-oauth login --", position=3))
    assert [key.open_id] == shell("zsh", ZSH.format(words='tiktok-oauth token --account ""', position=4))
    assert key.open_id in shell("zsh", ZSH.format(words='tiktok-oauth switch ""', position=3))


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("tiktok-oauth to", "token"), ("tiktok-oauth login --q", "--qr"), ("tiktok-oauth completion z", "zsh")],
)
def test_fish__everything(shell, typed, offered):
    """The fish shell offers commands, options and what they take."""
    assert offered in shell("fish", f"source completion; complete -C '{typed}'")


def test_fish__accounts(shell, logged_in):
    """And accounts."""
    key, _ = logged_in()

    for line in ("token --account", "switch"):
        assert key.open_id in shell("fish", f"source completion; complete -C 'tiktok-oauth {line} '")


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("bash", BASH.format(words='tiktok-oauth token --account ""', position=3)),
        ("zsh", ZSH.format(words='tiktok-oauth token --account ""', position=4)),
        ("fish", "source completion; complete -C 'tiktok-oauth token --account '"),
    ],
)
def test_accounts__hostile(shell, home, tokens, name, script):
    """Whatever an account of a shared store is called, nothing of it is run."""
    pwned = home / "pwned"
    names = [f"$(touch${{IFS}}{pwned})", f"`touch${{IFS}}{pwned}`", f";touch${{IFS}}{pwned}", "*", "-n"]
    for each in names:
        tokens.save(AccountKey("sbaw-test-key", each), TikTokToken(access_token="a"))
    offered = shell(name, script)

    assert not pwned.exists()
    # The fish shell describes each.
    assert len(names) <= len(offered)


def test_bash__quoted(shell, home, tokens):
    """Bash puts what it is offered on the command line as it is, so it is offered quoted."""
    tokens.save(AccountKey("sbaw-test-key", "$(id)"), TikTokToken(access_token="a"))

    assert [r"\$\(id\)"] == shell("bash", BASH.format(words='tiktok-oauth token --account ""', position=3))


def test_bad__unknown_shell(run):
    """Another shell: exit code 2, one line."""
    code, _, err = run("completion", "powershell")

    assert (2, 1) == (code, len(err.splitlines()))
