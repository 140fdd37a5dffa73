"""A store that cannot keep the token of a new login is found out before the login's code is spent."""

from __future__ import annotations

import os
import socket

import pytest

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, StoreError, TikTokToken


@pytest.fixture
def database(tmp_path):
    """A fresh database, without tables."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
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
    fernet = pytest.importorskip("cryptography.fernet")
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


def test_login__redis_away(fake, make_session):
    """A server that is not there: the code stays unspent."""
    redis = pytest.importorskip("redis")
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
    redis = pytest.importorskip("redis")
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
