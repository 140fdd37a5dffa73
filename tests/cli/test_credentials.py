"""Where the app's credentials come from, and who else could read them."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from tiktok_oauth_session.cli.exits import Stop
from tiktok_oauth_session.cli.settings import credentials, folders
from tiktok_oauth_session.cli.settings.credentials import Credentials
from tiktok_oauth_session.cli.terminal import prompts


@pytest.fixture
def file(home, monkeypatch):
    """Writes the credentials file, and takes the credentials out of the environment."""
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    monkeypatch.delenv("TIKTOK_CLIENT_SECRET")
    path = home / ".config/tiktok-oauth/credentials"
    path.parent.mkdir(parents=True)

    def write(text, mode=0o600):
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def nobody(monkeypatch):
    """There is no terminal to ask anybody at."""
    monkeypatch.setattr(prompts, "somebody_is_there", lambda: False)


def test_require__environment(home):
    """The environment comes first."""
    assert Credentials("sbaw-test-key", "sbaw-test-secret") == credentials.require()


@pytest.mark.parametrize(
    "text",
    [
        "TIKTOK_CLIENT_KEY=k\nTIKTOK_CLIENT_SECRET=s\n",
        "# mine\n\n  TIKTOK_CLIENT_KEY = k \r\nexport TIKTOK_CLIENT_SECRET='s'\n",
        'TIKTOK_CLIENT_KEY="k"\nTIKTOK_CLIENT_SECRET=s\nSOMETHING=else\n#TIKTOK_CLIENT_SECRET=old',
    ],
)
def test_require__file(file, nobody, text):
    """The file has the variables' names, written as a shell would read them or more loosely."""
    file(text)

    assert Credentials("k", "s") == credentials.require()


def test_require__environment_and_file(file, nobody, monkeypatch):
    """Each comes from the environment or else from the file."""
    file("TIKTOK_CLIENT_KEY=k\nTIKTOK_CLIENT_SECRET=a=b=c\n")
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", " mine\n")

    assert Credentials("mine", "a=b=c") == credentials.require()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_require__file_of_everybody(file, run, mode):
    """A file that others can read or write is not used: exit code 2 and the command that helps."""
    path = file("TIKTOK_CLIENT_KEY=k\nTIKTOK_CLIENT_SECRET=hush\n", mode)
    code, _, err = run("login", "--no-browser", "--timeout", "1")

    assert 2 == code
    assert f"Run: chmod 600 {path}" in err
    assert "hush" not in err


def test_require__file_of_another(file, nobody, monkeypatch):
    """Nor is one that belongs to somebody else."""
    file("TIKTOK_CLIENT_KEY=k\nTIKTOK_CLIENT_SECRET=s\n")
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(Stop, match="belongs to another user"):
        credentials.require()


def test_require__file_is_a_folder(file, home, run):
    """Something else in its place is told of, not ignored."""
    (home / ".config/tiktok-oauth/credentials").mkdir()
    code, _, err = run("login")

    assert (2, 1) == (code, len(err.splitlines()))
    assert "Is a directory" in err


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "TIKTOK_CLIENT_KEY and TIKTOK_CLIENT_SECRET"),
        ("TIKTOK_CLIENT_KEY=k", "TIKTOK_CLIENT_SECRET"),
        ("TIKTOK_CLIENT_SECRET=s", "TIKTOK_CLIENT_KEY"),
        ("TIKTOK_CLIENT_KEY=\nTIKTOK_CLIENT_SECRET=s", "TIKTOK_CLIENT_KEY"),
    ],
)
def test_require__nothing_and_nobody(file, nobody, run, text, missing):
    """Without credentials and without a terminal: exit code 2, and both ways to set them."""
    path = file(text)
    code, out, err = run("login")

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert f"tiktok-oauth: No {missing}: set it in the environment, or write " in err
    assert str(path) in err


def test_repr__no_secret():
    """A secret is in no repr."""
    assert "<Credentials of k>" == repr(Credentials("k", "hush"))


def test_keep__private_and_whole(file):
    """What is kept is readable by the user alone from the first byte on, and keeps what else is known."""
    path = file("TIKTOK_REDIRECT_URI=https://app.example/cb\nTIKTOK_CLIENT_KEY=old\n")
    before = os.umask(0)
    try:
        credentials.keep(Credentials("k", "s"))
    finally:
        os.umask(before)

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert ["k", "s", "https://app.example/cb"] == [credentials.setting(name) for name in credentials.NAMES]
    assert [path] == list(path.parent.iterdir())


def test_keep__new_folder(home, monkeypatch):
    """The folder is made for the user alone, and so is every one above it, whatever the umask says."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "new"))
    before = os.umask(0)
    try:
        credentials.keep(Credentials("k", "s"))
    finally:
        os.umask(before)

    made = [home / "new", home / "new/tiktok-oauth"]
    assert [0o700] * 2 == [stat.S_IMODE(folder.stat().st_mode) for folder in made]


def test_keep__interrupted(file, monkeypatch):
    """What is interrupted leaves the old file, and no other."""
    path = file("TIKTOK_CLIENT_KEY=old\n")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        credentials.keep(Credentials("k", "s"))

    assert "TIKTOK_CLIENT_KEY=old\n" == path.read_text()
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, ("~/.config", "~/.local/state")),
        ("linux", {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, ("/c", "/s")),
        ("linux", {"XDG_CONFIG_HOME": "c", "XDG_STATE_HOME": ""}, ("~/.config", "~/.local/state")),
        ("darwin", {}, ("~/Library/Application Support",) * 2),
        ("darwin", {"XDG_CONFIG_HOME": "/c"}, ("/c", "~/Library/Application Support")),
        ("win32", {"APPDATA": "/roaming", "LOCALAPPDATA": "/local"}, ("/roaming", "/local")),
    ],
)
def test_folders__by_system(home, monkeypatch, platform, variables, expected):
    """Configuration and state are where each system keeps such things; relative XDG paths do not count."""
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    config, state = (Path(each).expanduser() / "tiktok-oauth" for each in expected)
    assert (config, state / "tokens") == (folders.config_folder(), folders.tokens_folder())
