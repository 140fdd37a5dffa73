"""The store in Redis."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import json
import signal
import sys
import time
import traceback

import pytest
import redis
from certificates import certificate
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_server import INSTALL, PATIENCE_S, free_port, require_redis_server

from tiktok_oauth_session import (
    AccountKey,
    StoreError,
    TikTokToken,
)
from tiktok_oauth_session.stores import StoreConflict, redis as redis_stores
from tiktok_oauth_session.stores.redis import RedisStore
from tiktok_oauth_session.stores.redis.hash import member_of
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, TokenStoreConformance, token

PREFIX = "tiktok-oauth:"
ACCOUNT = f"{PREFIX}token:{KEY.client_key}:{KEY.open_id}"


@pytest.mark.parametrize(
    "options",
    [{}, {"decode_responses": True}, {"protocol": 2}, {"protocol": 3, "decode_responses": True}],
    ids=["bytes", "text", "RESP2", "RESP3 text"],
)
class TestRedisStore(TokenStoreConformance):
    """RedisStore keeps the promises of a store, whatever its client makes of the replies."""

    @pytest.fixture
    def store(self, redis_client, redis_server, options):
        self._server, self._options = redis_server, options
        self._clients = []
        yield self._make()
        for client in self._clients:
            client.close()

    def another(self, store):
        return self._make()

    def _make(self):
        client = self._server.client(**self._options)
        self._clients.append(client)
        return RedisStore(client)


@pytest.fixture
def store(redis_client):
    """Return an empty store."""
    return RedisStore(redis_client)


@pytest.fixture
def other(redis_server, redis_client):
    """Return the same store on another client: what another process has."""
    with redis_server.client() as client:
        yield RedisStore(client)


@pytest.mark.parametrize(("promised", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_server__missing(monkeypatch, promised, outcome):
    """Without a redis-server these tests are skipped, or fail where one is promised."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TIKTOK_OAUTH_REQUIRE_SERVERS", promised)

    with pytest.raises(outcome, match=INSTALL):
        require_redis_server()


# --- how to reach it --------------------------------------------------------------------------------


def test_password(redis_servers):
    """A password is the client's affair; without it every call is an error that does not show it."""
    server = redis_servers(requirepass="a-password")
    with server.client() as client, server.client(password=None) as stranger:
        RedisStore(client).save(KEY, token())
        with pytest.raises(StoreError, match="Authentication") as caught:
            RedisStore(stranger).load(KEY)

        assert token() == RedisStore(client).load(KEY)
        assert "a-password" not in f"{caught.value}{RedisStore(client)!r}"


def test_tls(redis_servers, tmp_path):
    """So is TLS; a server that cannot prove who it is, or is another host, gets nothing."""
    mine, other = (certificate(tmp_path / name) for name in ("mine", "other"))
    server = redis_servers(
        tls_cert_file=mine / "cert.pem",
        tls_key_file=mine / "key.pem",
        tls_ca_cert_file=mine / "cert.pem",
        tls_auth_clients="no",
    )
    with (
        server.client() as client,
        server.client(ssl_ca_certs=str(other / "cert.pem")) as careful,
        server.client(host="localhost") as misled,
    ):
        RedisStore(client).save(KEY, token())
        for each in (careful, misled):
            with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
                RedisStore(each).save(KEY, token(2))

        assert token() == RedisStore(client).load(KEY)


@pytest.mark.slow
def test_cluster(redis_servers):
    """In a cluster, with a hash tag for a prefix, the store is the same store."""
    server = redis_servers(cluster_enabled="yes", cluster_port=free_port())
    with server.client() as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.01)
    with (
        contextlib.closing(redis.RedisCluster("127.0.0.1", server.port)) as client,
        contextlib.closing(redis.RedisCluster("127.0.0.1", server.port)) as others,
    ):
        store = RedisStore(client, prefix="{tiktok-oauth}:")
        store.save(NEIGHBOUR, token(expires_at=1000))
        store.save(KEY, token(1))
        with store.lock(KEY), RedisStore(others, prefix="{tiktok-oauth}:").try_lock(KEY) as held_by_two:
            store.save(KEY, token(1), replacing=token(1).refresh_token)
            store.save(KEY, token(2, expires_at=None), replacing=token(1).refresh_token)
        with pytest.raises(StoreConflict):
            store.save(KEY, token(3), replacing=token(1).refresh_token)

        assert not held_by_two
        assert token(2, expires_at=None) == store.load(KEY)
        assert [KEY, NEIGHBOUR] == list(store.expiring(2000))
        store.delete(KEY)
        assert [NEIGHBOUR] == list(store.keys())


def test_client__stays_open(redis_client):
    """A store that is gone has left the caller's client as it was."""
    RedisStore(redis_client).save(KEY, token())

    assert redis_client.ping()


def test_client__of_asyncio():
    """A client whose saves nobody would await is refused."""
    import redis.asyncio

    with pytest.raises(TypeError, match=r"not of redis\.asyncio"):
        RedisStore(redis.asyncio.Redis())


def test_client__of_one_connection(redis_server):
    """A client whose one connection a forked child would use as well is refused."""
    with (
        redis_server.client(single_connection_client=True) as client,
        pytest.raises(ValueError, match="a client with a pool"),
    ):
        RedisStore(client)


def test_import__without_redis(monkeypatch):
    """Without redis-py the error names the command that installs it."""
    monkeypatch.delitem(sys.modules, redis_stores.__name__)
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ImportError, match=r"pip install tiktok-oauth-session\[redis\]"):
        importlib.import_module(redis_stores.__name__)


def test_repr__shows_where(redis_client):
    """The repr says under which prefix the tokens are."""
    assert repr(RedisStore(redis_client)) == "RedisStore(prefix='tiktok-oauth:')"


# --- keys -------------------------------------------------------------------------------------------


def test_prefix__keeps_stores_apart(redis_client):
    """Two prefixes are two stores, even where one begins with the other, and no key is outside of them."""
    stores = [RedisStore(redis_client, prefix=prefix) for prefix in ("app:", "app:token:", "other")]
    for generation, store in enumerate(stores):
        store.save(KEY, token(generation))
    with stores[0].lock(KEY), stores[1].try_lock(KEY) as held:
        stores[1].delete(KEY)

    assert held
    assert [token(0), None, token(2)] == [store.load(KEY) for store in stores]
    assert [[KEY], [], [KEY]] == [list(store.keys()) for store in stores]
    assert {b"app", b"oth"} == {name[:3] for name in redis_client.scan_iter()}


def test_keys__of_one_app(store):
    """The accounts of one app are not those of an app whose key begins or is quoted alike."""
    apps = ["aw", "aw2", "aw:", "a*", "*"]
    for app in apps:
        store.save(AccountKey(app, "user"), token())

    assert [[AccountKey(app, "user")] for app in apps] == [list(store.keys(app)) for app in apps]


def test_keys__many_of_one_moment(store, monkeypatch):
    """Any number of accounts that expire at the same moment are listed, each once."""
    monkeypatch.setattr(redis_stores, "PAGE_LENGTH", 7)
    keys = [AccountKey("aw", f"user-{n:03}") for n in range(150)]
    for n, key in enumerate(keys):
        store.save(key, token(expires_at=[None, 1000, 2000][n % 3]))

    assert keys[0::3] + keys[1::3] + keys[2::3] == list(store.expiring(3000))
    assert keys == sorted(store.keys())


def test_expiring__unknown_and_not_to_be_refreshed(store):
    """A token that is used until it is refused is never due."""
    store.save(KEY, TikTokToken(access_token="act.only"))

    assert [] == list(store.expiring(float("inf")))
    assert [KEY] == list(store.keys())


def test_keys__met_twice(store, redis_client, monkeypatch):
    """An account that a scan meets twice, as Redis says it may while the index shrinks, is listed once."""
    scan = redis_client.zscan_iter
    monkeypatch.setattr(redis_client, "zscan_iter", lambda *args, **options: [*scan(*args, **options)] * 2)
    store.save(KEY, token())
    store.save(NEIGHBOUR, token())

    assert sorted([KEY, NEIGHBOUR]) == sorted(store.keys())


def test_expiring__while_accounts_are_refreshed(store, monkeypatch):
    """Refreshing what is listed, as keep-alive does, makes it skip nobody."""
    monkeypatch.setattr(redis_stores, "PAGE_LENGTH", 5)
    keys = [AccountKey("aw", f"user-{n:03}") for n in range(40)]
    for n, key in enumerate(keys):
        store.save(key, token(expires_at=1000 + n // 8))
    listed = []
    for key in store.expiring(2000):
        store.save(key, token(expires_at=9000))
        listed.append(key)

    assert keys == listed


def test_refresh_expiring(store):
    """Refresh tokens that end before a time come soonest first; unknown ends and spent accounts do not."""
    keys = [AccountKey("aw", f"user-{n}") for n in range(5)]
    for key, refresh_expires_at in zip(keys, (3000, 1000, 4000, None, 2000), strict=True):
        store.save(key, TikTokToken(token(), refresh_expires_at=refresh_expires_at))
    store.save(keys[4], TikTokToken(access_token="act.last", refresh_expires_at=2000))

    assert [keys[1], keys[0]] == list(store.refresh_expiring(4000))
    store.delete(keys[1])
    assert [keys[0]] == list(store.refresh_expiring(4000))


def test_expiring__follows_every_save(store):
    """An index tells what the last save said, not an earlier one."""
    store.save(KEY, TikTokToken(token(expires_at=1000), refresh_expires_at=1000))
    store.save(KEY, token(2, expires_at=3000), replacing=token().refresh_token)

    assert [] == list(store.expiring(2000))
    assert [] == list(store.refresh_expiring(2000))
    assert [KEY] == list(store.expiring(4000))


def test_index__of_another_type(store, redis_client):
    """With something else in an index's place no token is written."""
    store.save(KEY, token())
    redis_client.set(f"{PREFIX}refresh-expires", "a text")

    with pytest.raises(StoreError, match=KEY.open_id):
        store.save(KEY, token(2))
    with pytest.raises(StoreError):
        list(store.refresh_expiring(1))
    assert token() == store.load(KEY)


@pytest.mark.parametrize("member", [b"\xff no account", b"k:%ff", b"%ff:k", b"\xff:no account"])
def test_index__foreign_member(store, redis_client, caplog, member):
    """What is no account in an index is passed over with a warning."""
    store.save(KEY, token(expires_at=2))
    redis_client.zadd(f"{PREFIX}expires", {member: 1})

    assert [KEY] == list(store.keys())
    assert [KEY] == list(store.expiring(3))
    assert 2 == caplog.text.count(f"{member!r}")


# --- damage -----------------------------------------------------------------------------------------

DAMAGE = {
    "empty": b"",
    "half": b"{",
    "null": b"null",
    "list": b"[]",
    "no fields": b'{"version": 1}',
    "no text": b"\xff\xfe",
    "bottomless": b"[" * 100_000,
    "version is no number": b'{"version":"1","client_key":"a","open_id":"b","token":{}}',
}


#: Items of a token that are no texts.
NO_TEXT = {
    "access token is a number": {"access_token": 12345},
    "access token is an object": {"access_token": {"a": "text"}},
    "refresh token is a number": {"refresh_token": 12345},
    "refresh token is a list": {"refresh_token": ["text"]},
}


def damaged_key(client, how):
    """Damage the account's key in one way."""
    if how == "another type":
        client.delete(ACCOUNT)
        client.rpush(ACCOUNT, "somebody else's")
    elif how == "no document":
        client.hdel(ACCOUNT, "document")
    elif how in NO_TEXT:
        content = json.loads(client.hget(ACCOUNT, "document"))
        content["token"].update(NO_TEXT[how])
        client.hset(ACCOUNT, "document", json.dumps(content))
    else:
        client.hset(ACCOUNT, "document", DAMAGE[how])


@pytest.mark.parametrize("decode_responses", [False, True], ids=["bytes", "text"])
@pytest.mark.parametrize("how", [*DAMAGE, *NO_TEXT, "another type", "no document"])
def test_load__damaged(redis_server, redis_client, how, decode_responses):
    """Damage is an error that names the account at every look; the next login keeps it aside."""
    with redis_server.client(decode_responses=decode_responses) as client:
        store = RedisStore(client)
        store.save(KEY, token())
        store.save(NEIGHBOUR, token(2))
        damaged_key(redis_client, how)
        before = redis_client.dump(ACCOUNT)

        for _ in range(2):
            with pytest.raises(StoreError, match=f"{KEY.open_id}.*new login"):
                store.load(KEY)
        assert before == redis_client.dump(ACCOUNT)
        assert token(2) == store.load(NEIGHBOUR)
        assert {KEY, NEIGHBOUR} == set(store.keys())

        store.save(KEY, token(4))

        assert token(4) == store.load(KEY)
        (aside,) = redis_client.keys(f"{PREFIX}damaged:*")
        assert before == redis_client.dump(aside)


@pytest.mark.parametrize("how", ["another type", "no document"])
def test_delete__what_was_kept_aside(store, redis_client, how):
    """After a logout no part of a token is left, whatever has become of it; a neighbour's damage stays."""
    for key in (KEY, NEIGHBOUR):
        store.save(key, token())
    redis_client.hset(f"{PREFIX}token:{member_of(NEIGHBOUR)}", "document", "{")
    store.save(NEIGHBOUR, token(2))
    for number in (3, 4):
        damaged_key(redis_client, how)
        store.save(KEY, token(number))
    (theirs,) = redis_client.keys(f"{PREFIX}damaged:{member_of(NEIGHBOUR)}*")
    store.delete(KEY)

    assert [theirs] == redis_client.keys(f"{PREFIX}damaged:*")
    assert token(2) == store.load(NEIGHBOUR)
    store.delete(NEIGHBOUR)
    assert [] == redis_client.keys()


@pytest.mark.parametrize("decode_responses", [False, True], ids=["bytes", "text"])
@pytest.mark.parametrize("how", ["another type", "no text"])
def test_lock__of_a_damaged_account(redis_server, redis_client, how, decode_responses):
    """What is damaged can be locked, and so be deleted."""
    with redis_server.client(decode_responses=decode_responses) as client:
        store = RedisStore(client)
        store.save(KEY, token())
        damaged_key(redis_client, how)
        with store.lock(KEY):
            with pytest.raises(StoreError, match="new login"):
                store.load(KEY)
            store.delete(KEY)

    assert [] == redis_client.keys()


def test_save__replacing_in_another_type(store, redis_client):
    """A refresh overwrites nothing that is not the account's hash."""
    store.save(KEY, token())
    damaged_key(redis_client, "another type")

    with pytest.raises(StoreError, match=KEY.open_id):
        store.save(KEY, token(2), replacing=token().refresh_token)
    assert [b"somebody else's"] == redis_client.lrange(ACCOUNT, 0, -1)


def test_save__fields_that_disagree(store, redis_client):
    """A hash whose fields were changed by hand is damaged, not a conflict for ever."""
    store.save(KEY, token())
    redis_client.hset(ACCOUNT, "refresh_token", "changed by hand")

    with pytest.raises(StoreError, match="fields disagree") as caught:
        store.save(KEY, token(2), replacing=token().refresh_token)
    assert not isinstance(caught.value, StoreConflict)
    assert token() == store.load(KEY)


def test_load__later_envelope(store, redis_client):
    """A token of a later version is an error that says so."""
    store.save(KEY, token())
    document = json.loads(redis_client.hget(ACCOUNT, "document"))
    redis_client.hset(ACCOUNT, "document", json.dumps({**document, "version": 2}))

    with pytest.raises(StoreError, match=f"{KEY.open_id} was written by a later version"):
        store.load(KEY)


def test_load__key_of_another_account(store, redis_client):
    """A token copied under another account's name is not handed out."""
    store.save(KEY, token())
    redis_client.copy(ACCOUNT, ACCOUNT.replace(KEY.open_id, NEIGHBOUR.open_id))

    with pytest.raises(StoreError, match="another account"):
        store.load(NEIGHBOUR)


def test_save__not_json(store):
    """A token that is no JSON is refused before anything is written."""
    store.save(KEY, token())

    with pytest.raises(StoreError, match="not JSON"):
        store.save(KEY, TikTokToken(token(2), when=dt.date(2026, 1, 1)))
    assert token() == store.load(KEY)


def test_save__empty_refresh_token(store):
    """A compare-and-swap with no refresh token at all finds none, not even one that is missing."""
    store.save(KEY, TikTokToken(access_token="act.only"))

    with pytest.raises(StoreConflict):
        store.save(KEY, token(2), replacing="")


def test_errors__quote_no_token(redis_servers):
    """Not even a server that quotes the command it does not know gives a token away."""
    server = redis_servers(**{"rename-command": ("EVALSHA", "")})
    with server.client() as client:
        # The less is in front of the token, the sooner it would be quoted.
        store, key = RedisStore(client, prefix=""), AccountKey("a", "b")
        with pytest.raises(StoreError, match="unknown command") as caught:
            store.save(key, TikTokToken(token(), open_id="b"))

    assert token().refresh_token not in "".join(traceback.format_exception(caught.value))
    assert "act." not in "".join(traceback.format_exception(caught.value))
    assert "rft." not in "".join(traceback.format_exception(caught.value))


# --- replies that are lost --------------------------------------------------------------------------


class LossyConnection(redis.Connection):
    """Loses the reply to the next command of a name: it is carried out, and nobody hears of it."""

    lose = None
    #: Called between the loss and whatever comes next.
    meanwhile = staticmethod(lambda: None)

    def send_command(self, *args, **kwargs):
        self._sent = str(args[0]).split()[0]
        super().send_command(*args, **kwargs)

    def read_response(self, *args, **kwargs):
        reply = super().read_response(*args, **kwargs)
        if getattr(self, "_sent", None) == LossyConnection.lose:
            LossyConnection.lose = None
            self.disconnect()
            LossyConnection.meanwhile()
            raise redis.ConnectionError("the reply was lost")
        return reply


@pytest.fixture
def lossy_store(redis_server, redis_client, monkeypatch):
    """Return a store whose client, as redis-py's do, sends a command again whose reply was lost."""
    monkeypatch.setattr(LossyConnection, "lose", None)
    pool = redis.ConnectionPool(
        LossyConnection,
        host="127.0.0.1",
        port=redis_server.port,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[redis.ConnectionError],
        socket_timeout=PATIENCE_S,
    )
    with redis.Redis(connection_pool=pool) as client:
        store = RedisStore(client)
        # The scripts are in the server from here on.
        store.save(NEIGHBOUR, token())
        store.delete(NEIGHBOUR)
        yield store
    pool.disconnect()


def test_save__replacing_sent_twice(lossy_store):
    """A compare-and-swap that is sent again does not conflict with itself."""
    lossy_store.save(KEY, token(1))
    LossyConnection.lose = "EVALSHA"
    lossy_store.save(KEY, token(2), replacing=token(1).refresh_token)

    assert LossyConnection.lose is None
    assert token(2) == lossy_store.load(KEY)


def test_save__sent_twice_with_a_refresh_between(lossy_store, store, monkeypatch):
    """A login's save that is sent again does not overwrite what was refreshed from it meanwhile."""

    def refresh():
        store.save(KEY, token(2), replacing=token(1).refresh_token)
        store.save(KEY, token(3), replacing=token(2).refresh_token)

    monkeypatch.setattr(LossyConnection, "meanwhile", staticmethod(refresh))
    LossyConnection.lose = "EVALSHA"
    lossy_store.save(KEY, token(1))

    assert token(3) == lossy_store.load(KEY)


def test_save__replacing_sent_twice_with_a_refresh_between(lossy_store, store, monkeypatch):
    """Nor does a compare-and-swap: it finds the newer token, and says so."""
    store.save(KEY, token(1))
    monkeypatch.setattr(
        LossyConnection,
        "meanwhile",
        staticmethod(lambda: store.save(KEY, token(3), replacing=token(2).refresh_token)),
    )
    LossyConnection.lose = "EVALSHA"
    with pytest.raises(StoreConflict):
        lossy_store.save(KEY, token(2), replacing=token(1).refresh_token)

    assert token(3) == lossy_store.load(KEY)


def test_lock__sent_twice(lossy_store):
    """Whoever has the lock and did not hear of it does not wait for itself."""
    LossyConnection.lose = "EVALSHA"
    with lossy_store.try_lock(KEY) as held:
        pass

    assert held
    assert LossyConnection.lose is None


def test_lock__reply_lost(lossy_store, other, monkeypatch):
    """Where nothing is sent twice, that is an error; the next try takes up what the first one has left."""
    pool = lossy_store._client.connection_pool
    monkeypatch.setitem(pool.connection_kwargs, "retry", Retry(NoBackoff(), 0))
    pool.disconnect()
    pool.reset()
    LossyConnection.lose = "EVALSHA"
    with pytest.raises(StoreError, match="the reply was lost"), lossy_store.lock(KEY):
        pass
    with other.try_lock(KEY) as others:
        pass
    with lossy_store.try_lock(KEY) as mine:
        pass

    assert (False, True) == (others, mine)


# --- durability ---------------------------------------------------------------------------------------


def test_save__survives_a_killed_server(redis_servers):
    """With an append-only file that is flushed at every write, a saved token outlives SIGKILL."""
    server = redis_servers()
    with server.client() as client:
        store = RedisStore(client)
        for generation in range(1, 6):
            store.save(KEY, token(generation))
            server.stop(signal.SIGKILL)
            server.start()

            assert token(generation) == store.load(KEY)
            assert [KEY] == list(store.keys())
