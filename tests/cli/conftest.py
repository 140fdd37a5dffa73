"""A user with a home of their own, a fake TikTok on this machine, and the command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from github import GitHub

from tiktok_oauth_session import LOGIN_KIT, AccountKey, FileStore, TikTokToken
from tiktok_oauth_session.cli import main
from tiktok_oauth_session.stores.envelope import written
from tiktok_oauth_session.testing import FakeTikTok

#: Seconds that anything may take before a test gives up.
PATIENCE_S = 20.0

#: Where a person is told to log in.
LOGIN = re.compile(r"http://127\.0\.0\.1:\d+/v2/auth/authorize/\S+")


@pytest.fixture(scope="session", autouse=True)
def hangup():
    """Let commands hear SIGHUP even where whoever runs the tests has been told to ignore it."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class Result(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class Command:
    """A command in a process of its own, talked to while it runs."""

    def __init__(self, arguments, environment, **options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tiktok_oauth_session", *arguments],
            env=environment,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.err = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self._news:
                self.err += line
                self._news.notify_all()

    def see(self, pattern):
        """Wait until stderr matches, and return the match."""
        with self._news:
            assert self._news.wait_for(lambda: re.search(pattern, self.err), PATIENCE_S), self.err
        return re.search(pattern, self.err)

    def see_login(self):
        """Wait until it says where to log in, and return the address."""
        return self.see(LOGIN).group()

    def settings(self):
        """Return what a fake prints before it waits."""
        self.see("Ctrl-C ends it")
        lines = [self.process.stdout.readline()]
        while not lines[-1].startswith("export TIKTOK_REDIRECT_URI="):
            assert lines[-1], "it ended"
            lines.append(self.process.stdout.readline())
        return "".join(lines)

    def end(self):
        """Wait for its end."""
        out = self.process.stdout.read()
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return Result(self.process.returncode, out, without_address(self.err))


@pytest.fixture
def fake():
    """The TikTok behind everything."""
    return FakeTikTok()


@pytest.fixture
def server(fake):
    """The same on a port."""
    with fake.serve() as serving:
        yield serving


@pytest.fixture
def home(tmp_path, monkeypatch, server):
    """A user's home, with credentials in the environment and TikTok replaced by the fake."""
    ours = ("TIKTOK_OAUTH_REQUIRE_SERVERS", "TIKTOK_OAUTH_SCREENSHOTS")
    for name in set(os.environ).difference(ours):
        if name.startswith(("TIKTOK_", "XDG_", "SSH_")) or name in ("NO_COLOR", "DISPLAY", "BROWSER"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TIKTOK_OAUTH_BASE_URL", server.url)
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "sbaw-test-key")
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", "sbaw-test-secret")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    # The keyring of whoever runs the tests stays out of them.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    # A browser that does nothing, in case one is opened.
    monkeypatch.setenv("BROWSER", "true")
    return tmp_path


@pytest.fixture
def tokens(home):
    """The store that the command uses if nobody names another."""
    return FileStore(home / ".local/state/tiktok-oauth/tokens")


@pytest.fixture
def logged_in(fake, server, tokens):
    """Puts an account into the store, as a login would; returns its key and token."""

    def put(
        *,
        user=None,
        client_key="sbaw-test-key",
        scopes=("user.info.basic",),
        asked=None,
        ends_in=None,
        surface="v2",
        **items,
    ):
        if ends_in is not None:
            items["expires_at"] = int(time.time()) + ends_in
        issued = fake.issue_token(scopes=scopes if surface == "v2" else None, user=user, surface=surface)
        token = TikTokToken.from_reply(issued, requested_at=time.time())
        extra = {"requested_scope": ",".join(asked)} if asked else {}
        token = TikTokToken({**token, "issuer": LOGIN_KIT.at(server.url).issuer, **extra, **items})
        key = AccountKey(client_key, token["open_id"])
        tokens.save(key, token)
        return key, token

    return put


@pytest.fixture
def github(home, fake, monkeypatch):
    """GitHub, as its command line shows it."""
    github = GitHub(home / "github")
    monkeypatch.setenv("TEST_GITHUB", str(github.directory))
    monkeypatch.setenv("PATH", f"{github.bin}{os.pathsep}{os.environ['PATH']}")
    for name in ("GITHUB_ACTIONS", "RUNNER_TEMP"):
        monkeypatch.delenv(name, raising=False)
    fake.after("refresh", lambda _: github.note("refresh"))
    return github


@pytest.fixture
def put(fake, server, github):
    """Puts a token into a secret of GitHub's, as an earlier run would have; returns it."""

    def write(name="TIKTOK_TOKEN", *, left=-1, saved_s_ago=0, **items):
        reply = fake.issue_token()
        token = TikTokToken.from_reply(reply, requested_at=time.time() - reply["expires_in"] + left)
        token = TikTokToken(token, issuer=LOGIN_KIT.at(server.url).issuer, **items)
        document = json.loads(written(AccountKey("sbaw-test-key", token["open_id"]), token))
        document["saved_at"] -= saved_s_ago
        github.put(name, json.dumps(document), age_s=saved_s_ago)
        return token

    return write


def without_address(err):
    """What a command said, but for where it talks to, which it says first and once, if it does."""
    said = re.sub(r"\AThis talks to http://127\.\S+, not to TikTok \(.*\)\.\n", "", err)
    assert "This talks to" not in said
    return said


@pytest.fixture
def own_words():
    """What a command said, but for where it talks to."""
    return without_address


@pytest.fixture
def run(home, capsys):
    """Runs the command in this process."""

    def call(*arguments):
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Result(code, said.out, without_address(said.err))

    return call


@pytest.fixture
def start(home):
    """Starts the command in a process of its own, and ends it with the test."""
    started = []

    def begin(*arguments, **options):
        environment = {**os.environ, **options.pop("env", {})}
        command = Command(arguments, environment, **options)
        started.append(command)
        return command

    yield begin
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
        command.process.wait()
        for stream in (command.process.stdin, command.process.stdout, command.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def state(home):
    """Lists every file below the user's home that holds a token or credentials, with its content."""

    def read():
        files = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path.relative_to(home)): path.read_text() for path in files}

    return read


def stored(path):
    """The token in a file of the store."""
    return json.loads(Path(path).read_text())["token"]
