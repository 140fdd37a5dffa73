"""A store that cannot keep the token of a new login is found out before the login's code is spent."""

from __future__ import annotations

import os
import socket
from urllib.parse import parse_qsl

import pytest
from servers import require_module

from tiktok_oauth_session import (
    AccountKey,
    AuthorizationError,
    FileStore,
    MemoryStore,
    StateMismatch,
    StoreError,
    TikTokToken,
)
from tiktok_oauth_session._oauth import pending_logins
from tiktok_oauth_session._oauth.authorization_response import matching_state


@pytest.fixture
def database(tmp_path):
    """A fresh database, without tables."""
    require_module("sqlalchemy")
    import sqlalchemy

    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/tokens.db")
    yield engine
    engine.dispose()


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def sql_store(request, database):
    """A store in it; returns it, and what makes its tables."""
    from tiktok_oauth_session.stores.sql import SQLStore

    store = SQLStore(database)
    if not request.param:
        return store, store.create_tables
    require_module("cryptography")
    from cryptography import fernet

    from tiktok_oauth_session.stores.encrypted import EncryptedStore

    return EncryptedStore(store, fernet.Fernet.generate_key()), store.create_tables


def test_login__without_tables(fake, make_session, sql_store):
    """On a fresh database the code stays unspent, and the sentence says what to call; then it works."""
    store, create_tables = sql_store
    session = make_session(store=store)
    callback = fake.authorize(session.authorization_url()[0])
    with pytest.raises(StoreError, match=r"create_tables\(\)"):
        session.fetch_token(authorization_response=callback)
    assert [] == fake.requests_to("token")

    create_tables()
    token = session.fetch_token(authorization_response=callback)

    assert 1 == len(fake.requests_to("token"))
    assert token.access_token == store.load((fake.client_key, token.open_id)).access_token


class ReadOnly(MemoryStore):
    """A store that cannot be written until somebody repairs it, and counts who asked."""

    def __init__(self):
        super().__init__()
        self.asked, self.is_broken = 0, True

    def require_writable(self, client_key):
        self.asked += 1
        if self.is_broken:
            raise StoreError("This store is read-only.")


@pytest.mark.parametrize("own", ["{}", "{}&error=access_denied", "code=fake"])
def test_login__forged_callback(fake, make_session, own):
    """A stranger's callback is judged before the store is asked: it writes nothing, and says what it is."""
    store = ReadOnly()
    session = make_session(store=store)
    _, state = session.authorization_url()
    query = own.format(f"code=fake&state={state}x")
    with pytest.raises(AuthorizationError) as caught:
        session.fetch_token(authorization_response=f"https://app.example/callback/?{query}")

    assert ("error=" in query) is not isinstance(caught.value, StateMismatch)
    assert 0 == store.asked
    assert [] == fake.requests_to("token")


@pytest.mark.parametrize(
    "answer",
    [
        lambda callback: {"authorization_response": callback},
        lambda callback: {"code": dict(parse_qsl(callback.partition("?")[2]))["code"]},
    ],
    ids=["callback", "code"],
)
def test_login__store_repaired(fake, make_session, answer):
    """A login whose store failed stays open, with its verifier; the same answer finishes it, once."""
    store = ReadOnly()
    session = make_session(store=store, redirect_uri="http://127.0.0.1:3455/callback/")
    given = answer(fake.authorize(session.authorization_url()[0]))
    verifier = session.code_verifier
    with pytest.raises(StoreError, match="read-only"):
        session.fetch_token(**given)
    assert [] == fake.requests_to("token")
    assert verifier == session.code_verifier

    store.is_broken = False
    token = session.fetch_token(**given)

    assert [verifier] == [record.form["code_verifier"] for record in fake.requests_to("token")]
    assert token.access_token == store.load((fake.client_key, token.open_id)).access_token
    with pytest.raises(AuthorizationError):
        session.fetch_token(**given)
    assert 1 == len(fake.requests_to("token"))


@pytest.mark.parametrize("moment", ["match", "require_writable"])
def test_login__twice_at_once(fake, make_session, monkeypatch, moment):
    """Of one callback that comes twice at once, one is taken: the other finds the login finished."""
    store = MemoryStore()
    session = make_session(store=store)
    callback = fake.authorize(session.authorization_url()[0])

    def by_the_other(*_):
        monkeypatch.undo()
        session.fetch_token(authorization_response=callback)

    def matching(returned, expected):
        state = matching_state(returned, expected)
        by_the_other()
        return state

    if moment == "match":
        monkeypatch.setattr(pending_logins, "matching_state", matching)
    else:
        monkeypatch.setattr(store, "require_writable", by_the_other)
    with pytest.raises(StateMismatch, match="finished already"):
        session.fetch_token(authorization_response=callback)

    assert 1 == len(fake.requests_to("token"))


def test_qr_login__without_tables(fake, make_session, sql_store):
    """The same where a phone has confirmed."""
    store, create_tables = sql_store
    login = make_session(store=store).start_qr_login()
    fake.scan_qr(login.url)
    fake.confirm_qr(login.url)
    with pytest.raises(StoreError, match=r"create_tables\(\)"):
        login.wait(0)
    assert [] == fake.requests_to("token")

    create_tables()

    assert fake.is_alive(login.wait(0).access_token)


def test_login__file_in_the_way(fake, make_session, tmp_path):
    """A folder that cannot be made: the code stays unspent."""
    (tmp_path / "tokens").write_text("a note")
    (tmp_path / "tokens").chmod(0o600)
    session = make_session(store=FileStore(tmp_path / "tokens" / "app"))
    with pytest.raises(StoreError, match="Cannot write"):
        session.fetch_token(authorization_response=fake.authorize(session.authorization_url()[0]))

    assert [] == fake.requests_to("token")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows makes no symlinks for everybody")
@pytest.mark.parametrize("which", ["the store's", "the app's"])
def test_login__symlink_in_the_way(fake, make_session, tmp_path, which):
    """A symlink in a directory's place, which no save follows: the code stays unspent."""
    store = FileStore(tmp_path / "tokens")
    store.save(AccountKey(fake.client_key, "neighbour"), TikTokToken(access_token="none"))
    (apps,) = store.directory.iterdir()
    directory = store.directory if which == "the store's" else apps
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    session = make_session(store=store)
    with pytest.raises(StoreError, match=f"{directory} is a symlink"):
        session.fetch_token(authorization_response=fake.authorize(session.authorization_url()[0]))

    assert [] == fake.requests_to("token")


@pytest.mark.slow
def test_login__redis_away(fake, make_session):
    """A server that is not there: the code stays unspent."""
    require_module("redis")
    import redis

    from tiktok_oauth_session.stores.redis import RedisStore

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = redis.Redis(port=taken.getsockname()[1], socket_timeout=1)
        session = make_session(store=RedisStore(client))
        with pytest.raises(StoreError, match="Redis could not write"):
            session.fetch_token(authorization_response=fake.authorize(session.authorization_url()[0]))
        client.close()

    assert [] == fake.requests_to("token")


def test_require_writable__leaves_nothing(database, tmp_path):
    """To find out, nothing is written."""
    from tiktok_oauth_session.stores.sql import SQLStore

    in_database, in_files = SQLStore(database), FileStore(tmp_path / "state" / "tokens")
    in_database.create_tables()
    for store in (in_database, in_files, MemoryStore()):
        store.require_writable("app")

    assert [] == [*in_database.keys(), *in_files.keys()]
    assert ["tokens.db"] == [path.name for path in tmp_path.iterdir() if path.suffix == ".db"]
    assert not (tmp_path / "state").exists()


def test_require_writable__redis(redis_client):
    """In Redis it is a key that ends at once, and has room for none where writing is refused."""
    require_module("redis")
    import redis

    from tiktok_oauth_session.stores.redis import RedisStore

    store = RedisStore(redis_client)
    store.require_writable("app")
    assert [] == list(store.keys())
    assert redis_client.pttl("tiktok-oauth:write-test") <= 1

    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreError, match="Redis could not write") as caught:
            store.require_writable("app")
    finally:
        redis_client.config_set("maxmemory", 0)
    assert isinstance(caught.value.__cause__, redis.RedisError)
