"""``--store URL``: where tokens are kept."""

from __future__ import annotations

import stat
import sys
import time

import pytest

from tiktok_oauth_session import AccountKey, FileStore, TikTokToken
from tiktok_oauth_session.cli import stores


def test_store__default(home):
    """Without a word about it, tokens are in the user's own state folder."""
    assert home / ".local/state/tiktok-oauth/tokens" == stores.open_store(None).directory


@pytest.mark.parametrize("url", ["{home}/mine", "file://{home}/mine"])
def test_store__folder(home, url):
    """A folder, as a path or a URL."""
    store = stores.open_store(url.format(home=home))

    assert isinstance(store, FileStore)
    assert home / "mine" == store.directory


def test_store__environment(home, monkeypatch):
    """The environment names one, and the option another."""
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", str(home / "a"))

    assert home / "a" == stores.open_store(None).directory
    assert home / "b" == stores.open_store(str(home / "b")).directory


def test_store__made_private(run, home, fake, logged_in):
    """The folder and its files are the user's alone."""
    logged_in()
    made = [
        home / ".local/state/tiktok-oauth/tokens",
        *(home / ".local/state/tiktok-oauth/tokens").rglob("*"),
    ]

    assert {0o700, 0o600} == {stat.S_IMODE(path.stat().st_mode) for path in made}


def test_store__sqlite(run, home, fake, monkeypatch):
    """The same commands on a database."""
    pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{home}/tokens.db"
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", url)
    store = stores.open_store(None)
    assert 5 == run("accounts").code
    stores.make_ready(store)
    assert (0, "") == run("accounts")[:2]
    key_and_token(store, fake)

    assert run("token").out.strip() == fake.tokens[0]["access_token"]
    assert 0 == run("refresh", "--store", url).code
    assert 0 == run("revoke").code
    assert (0, "") == run("accounts")[:2]


def key_and_token(store, fake):
    """Log somebody in."""
    token = TikTokToken.from_reply(fake.issue_token(), requested_at=time.time())
    store.save(AccountKey("sbaw-test-key", token["open_id"]), token)


def test_store__probe_is_nobody(run, home, tokens, monkeypatch):
    """The account that is written to see whether it can be is no account, even if it stays behind."""
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    tokens.save(AccountKey(*stores.PROBE), TikTokToken(access_token="none"))

    assert (0, "") == run("accounts")[:2]
    assert 3 == run("token").code


@pytest.mark.parametrize(
    "url", ["postgresql://u:hush@127.0.0.1/db", "redis://:hush@127.0.0.1:1/0", "mysql+pymysql://u:hush@h/db"]
)
def test_bad__password_on_the_command_line(run, url):
    """A password is not taken from where everybody can read it: exit code 2, and it is not repeated."""
    code, _, err = run("status", "--store", url)

    assert (2, 1) == (code, len(err.splitlines()))
    assert "set TIKTOK_OAUTH_STORE instead" in err
    assert "hush" not in err


@pytest.mark.parametrize("url", ["mongodb://localhost/db", "http://127.0.0.1/", "sqlite+nonsense:///x"])
def test_bad__unknown(run, monkeypatch, url):
    """A store that nobody has written: exit code 2, one line."""
    code, out, err = run("status", "--store", url)

    assert (2, "", 1) == (code, out, len(err.splitlines()))


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("sqlite:///x", "sqlalchemy", "sql"), ("redis://127.0.0.1:1", "redis", "redis")],
)
def test_bad__extra_missing(run, monkeypatch, url, module, extra):
    """Without the extra, the line that installs it: exit code 2."""
    monkeypatch.setitem(sys.modules, module, None)
    code, _, err = run("status", "--store", url)

    assert 2 == code
    assert f"-m pip install 'tiktok-oauth-session[{extra}]'" in err


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "postgresql://u@127.0.0.1:1/db"])
def test_bad__server_down(run, monkeypatch, url):
    """A server that is not there: exit code 5, one line, and no password in it."""
    pytest.importorskip("redis" if url.startswith("redis") else "psycopg")
    monkeypatch.setenv(
        "TIKTOK_OAUTH_STORE", url.replace("://", "://u:hush@", 1).replace("u:hush@u@", "u:hush@")
    )
    code, out, err = run("status")

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert "hush" not in err
