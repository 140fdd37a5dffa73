"""``--store URL``: where tokens are kept."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import sys
import time
from importlib.metadata import version

import pytest
from servers import require_module

from tiktok_oauth_session import LOGIN_KIT, AccountKey, FileStore, TikTokToken
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


def test_store__sqlite(run, home, fake, server, monkeypatch):
    """The same commands on a database."""
    require_module("sqlalchemy")
    url = f"sqlite:///{home}/tokens.db"
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", url)
    store = stores.open_store(None)
    assert 5 == run("accounts").code
    stores.open_ready_store(url)
    assert (0, "") == run("accounts")[:2]
    key_and_token(store, fake, server)

    assert run("token").out.strip() == fake.tokens[0]["access_token"]
    assert 0 == run("refresh", "--store", url).code
    assert 0 == run("revoke").code
    assert (0, "") == run("accounts")[:2]


def key_and_token(store, fake, server):
    """Log somebody in."""
    token = TikTokToken.from_reply(fake.issue_token(), requested_at=time.time())
    store.save(
        AccountKey("sbaw-test-key", token["open_id"]),
        TikTokToken(token, issuer=LOGIN_KIT.at(server.url).issuer),
    )


def test_store__looked_at_only(run, home):
    """Whether a token could be kept is found out without an account that others might see."""
    require_module("sqlalchemy")
    path = home / "tokens.db"
    stores.open_ready_store(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TRIGGER watch BEFORE INSERT ON tiktok_tokens BEGIN SELECT RAISE(ABORT, 'seen'); END"
        )
    stores.open_ready_store(f"sqlite:///{path}")
    stores.open_ready_store(str(home / "tokens"))

    for store in (f"sqlite:///{path}", str(home / "tokens")):
        assert "can be written; accounts: 0" in run("doctor", "--store", store).out
    assert not (home / "tokens").exists()


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
    require_module("redis" if url.startswith("redis") else "psycopg")
    monkeypatch.setenv(
        "TIKTOK_OAUTH_STORE", url.replace("://", "://u:hush@", 1).replace("u:hush@u@", "u:hush@")
    )
    code, out, err = run("status")

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert "hush" not in err


# --- passwords -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hus#hush@127.0.0.1:1/0",
        "redis://user:hu/hush@127.0.0.1:1/0",
        "redis://user:hu?hush@127.0.0.1:1/0",
        "redis://:12#hush@127.0.0.1:1/0",
        "redis://:12/hush@127.0.0.1:1/0",
        "redis://:hu[hush@127.0.0.1:1/0",
    ],
)
def test_bad__password_not_encoded(run, monkeypatch, url):
    """A password that breaks the URL: exit code 2, what to do about it, and no part of it."""
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", url)
    code, _, err = run("status")

    assert (2, 1) == (code, len(err.splitlines()))
    assert "percent-encoded" in err
    assert not re.search("hu|12|port", err.replace("%", ""))


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0?password=hush",
        "redis://127.0.0.1:1/0?ssl_password=hush",
        "postgresql://127.0.0.1:1/db?user=u&password=hush",
        "postgresql://127.0.0.1:1/db?sslpassword=hush",
        "mysql://127.0.0.1:1/db?passwd=hush",
        "mysql://127.0.0.1:1/db?PassWord=hush",
        # SQLAlchemy takes these, where the URL's standard sees no password.
        "postgresql://u:hu/hush@127.0.0.1:1/db",
        "postgresql://u:hu#hush@127.0.0.1:1/db",
    ],
)
def test_bad__password_elsewhere_on_the_command_line(run, url):
    """Wherever in the URL it is: exit code 2, and it is not repeated."""
    code, _, err = run("status", "--store", url)

    assert (2, 1) == (code, len(err.splitlines()))
    assert "set TIKTOK_OAUTH_STORE instead" in err
    assert "hu" not in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize("command", [["status"], ["doctor"]])
def test_store__sqlite_made_private(run, home, monkeypatch, command):
    """A database file that is made here can be read by the user alone, and so can what is beside it."""
    require_module("sqlalchemy")
    before = os.umask(0o022)
    try:
        run(*command, "--store", f"sqlite:///{home}/tokens.db")
    finally:
        os.umask(before)

    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.glob("tokens.db*")}
    assert 0o600 == made.pop("tokens.db")
    assert set(made.values()) <= {0o600, 0o700}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o660, False), (0o664, True), (0o602, True)])
def test_store__sqlite_keeps_its_mode(start, home, mode, is_told):
    """A database that somebody shares with a group stays shared; one that is everybody's is told of, once."""
    require_module("sqlalchemy")
    path = home / "tokens.db"
    stores.open_ready_store(f"sqlite:///{path}")
    path.chmod(mode)
    _, _, err = start("accounts", "--store", f"sqlite:///{path}").end()

    warning = f"{path} and the tokens in it are open to every user of this machine. Run: chmod o-rwx {path}\n"
    assert (warning if is_told else "") == err
    assert mode == stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_doctor__folder_that_others_may_change(run, home):
    """A folder in which everybody may put files is a finding, and so is one above it."""
    above = home / "above"
    above.mkdir()
    above.chmod(0o777)
    code, out, err = run("doctor", "--store", str(above / "tokens"))

    assert (1, "To be mended: store's folder.\n") == (code, err.splitlines(keepends=True)[-1])
    assert f"{above} can be written by everybody, who could put other files" in out


def test_doctor__folder_of_ones_own(run, home):
    """Of a folder that is safe nothing is said."""
    code, out, _ = run("doctor", "--store", str(home / "tokens"))

    assert 0 == code
    assert "store's folder" not in out


# --- malformed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "file://[",
        "redis://[",
        "redis://127.0.0.1:1/0?bogus=1",
        "unix:///nowhere?bogus=1",
        "rediss://127.0.0.1:1/0?ssl_cert_reqs=bogus",
        "redis://127.0.0.1:1/0?protocol=9",
        "redis://127.0.0.1:1/0?protocol=x",
        "redis://127.0.0.1:1/0?ssl=true",
        "redis://127.0.0.1:1/0?db=x",
        "redis://127.0.0.1:1/0?health_check_interval=x",
        "redis://127.0.0.1:99999/0",
        pytest.param(
            "sqlite:///x.db?bogus=1",
            marks=pytest.mark.skipif(
                version("SQLAlchemy").startswith("2.0."), reason="SQLAlchemy 2.0 ignores it without a word"
            ),
        ),
        "mysql+pymysql://127.0.0.1:1/db?bogus=1",
    ],
)
def test_bad__malformed(run, home, monkeypatch, url):
    """What is no URL, or has an option that there is not: exit code 2, one line."""
    monkeypatch.chdir(home)
    code, out, err = run("status", "--store", url)

    assert (2, "", 1) == (code, out, len(err.splitlines()))


@pytest.mark.parametrize("url", ["postgresql://u:hu[sh@h/db", "postgresql://u:hu[sh@h:port/db"])
def test_bad__malformed_with_a_password(run, monkeypatch, url):
    """What a driver may make something of: one line without the password."""
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", url)
    code, _, err = run("status")

    assert code in (2, 5)
    assert 1 == len(err.splitlines())
    assert "hu[" not in err


# --- encrypted -----------------------------------------------------------------------------------------


@pytest.fixture
def encrypted(fake, server, tokens):
    """An account that an application keeps encrypted; returns the application's store and its key."""
    require_module("cryptography")
    from cryptography.fernet import Fernet

    from tiktok_oauth_session.stores.encrypted import EncryptedStore

    secret = Fernet.generate_key().decode()
    store = EncryptedStore(tokens, secret)
    issued = fake.issue_token()
    token = TikTokToken.from_reply(issued, requested_at=time.time())
    kept = TikTokToken(token, refresh_expires_at=time.time() + 9, issuer=LOGIN_KIT.at(server.url).issuer)
    store.save(AccountKey("sbaw-test-key", token["open_id"]), kept)
    return store, secret


COMMANDS = (
    ["status"],
    ["token"],
    ["refresh"],
    ["revoke"],
    ["api", "user/info"],
    ["keep-alive"],
    ["login", "--paste"],
)


@pytest.mark.parametrize("command", COMMANDS)
def test_encrypted__without_the_key(run, fake, encrypted, command):
    """What is encrypted is no token: exit code 5, one line that says so, and nothing is sent."""
    store, _ = encrypted
    (key,) = store.keys()
    code, out, err = run(*command)

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert "encrypted" in err
    assert "TIKTOK_OAUTH_STORE_KEYS" in err
    assert [] == fake.requests
    assert fake.is_alive(store.load(key).refresh_token)


def test_encrypted__logout(run, encrypted):
    """An account can be forgotten without being read."""
    store, _ = encrypted

    assert 0 == run("logout").code
    assert [] == list(store.keys())


@pytest.mark.parametrize("keys", ["{key}", "{other}, {key}"])
def test_encrypted__with_the_key(run, fake, encrypted, monkeypatch, keys):
    """With the keys of the application, everything works, and what is saved is encrypted."""
    store, secret = encrypted
    other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    monkeypatch.setenv("TIKTOK_OAUTH_STORE_KEYS", keys.format(key=secret, other=other))
    (key,) = store.keys()
    kept = run("keep-alive")

    assert (0, True) == (kept.code, kept.out.startswith("1 due, 1 refreshed"))
    assert run("token").out.strip() == fake.tokens[-1]["access_token"]
    assert 0 == run("status").code
    assert "passed" in next(line for line in run("doctor").out.splitlines() if line.startswith("store"))
    assert fake.tokens[-1]["access_token"] not in store._store._path(key).read_text()


def test_encrypted__sqlite_with_the_key(run, home, fake, encrypted, monkeypatch):
    """The table of a database is made for encrypted tokens as well."""
    require_module("sqlalchemy")
    monkeypatch.setenv("TIKTOK_OAUTH_STORE_KEYS", encrypted[1])
    url = f"sqlite:///{home}/tokens.db"
    stores.open_ready_store(url)

    assert (0, "") == run("accounts", "--store", url)[:2]


def test_encrypted__plain_token(run, fake, logged_in, encrypted, monkeypatch):
    """A token that is not encrypted, where the keys say that all are, is refused: exit code 5, one line."""
    monkeypatch.setenv("TIKTOK_OAUTH_STORE_KEYS", encrypted[1])
    key, _ = logged_in(user=fake.add_user())
    code, out, err = run("token", "--account", key.open_id)

    assert (5, "", 1) == (code, out, len(err.splitlines()))


def test_bad__encrypted_with_no_key(run, monkeypatch):
    """What is no key: exit code 2, one line without it."""
    require_module("cryptography")
    monkeypatch.setenv("TIKTOK_OAUTH_STORE_KEYS", "hush")
    code, _, err = run("status")

    assert (2, 1) == (code, len(err.splitlines()))
    assert "hush" not in err


def test_bad__encrypted_without_the_extra(run, monkeypatch):
    """Without the extra, the line that installs it: exit code 2."""
    monkeypatch.setitem(sys.modules, "tiktok_oauth_session.stores.encrypted", None)
    monkeypatch.setenv("TIKTOK_OAUTH_STORE_KEYS", "hush")
    code, _, err = run("status")

    assert 2 == code
    assert "-m pip install 'tiktok-oauth-session[crypto]'" in err


# --- a server that hangs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "seconds"), [("", 10.0), ("?socket_timeout=3&socket_connect_timeout=3", 3.0)]
)
def test_store__redis_timeouts(home, query, seconds):
    """A Redis that hangs is given up, after as long as the URL says or else a few seconds."""
    require_module("redis")
    client = stores.open_store(f"redis://127.0.0.1:1/0{query}")._client
    options = client.connection_pool.connection_kwargs

    assert (seconds, seconds) == (options["socket_timeout"], options["socket_connect_timeout"])
