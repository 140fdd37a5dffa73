"""Encryption at rest, in every store."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from child_processes import PATIENCE_S
from cryptography.fernet import Fernet
from scenarios import call, session_on

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, StoreError, TikTokToken
from tiktok_oauth_session.keepalive import keep_alive
from tiktok_oauth_session.stores import StoreConflict, encrypted as encrypted_stores
from tiktok_oauth_session.stores.encrypted import EncryptedStore
from tiktok_oauth_session.stores.redis import RedisStore
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, TokenStoreConformance, token

OLD_KEY, NEW_KEY, OTHER_KEY = (Fernet.generate_key() for _ in range(3))


@pytest.fixture(params=["memory", "file", "redis"])
def inner(request, tmp_path):
    """Return each kind of store that can be wrapped."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "file":
        return FileStore(tmp_path / "tokens")
    return RedisStore(request.getfixturevalue("redis_client"))


class TestEncryptedStore(TokenStoreConformance):
    """EncryptedStore keeps the promises of a store, whatever it wraps."""

    @pytest.fixture
    def store(self, inner):
        return EncryptedStore(inner, NEW_KEY)

    def another(self, store):
        inner = store._store
        if isinstance(inner, FileStore):
            inner = FileStore(inner.directory)
        elif isinstance(inner, RedisStore):
            inner = RedisStore(inner._client)
        return EncryptedStore(inner, [NEW_KEY, OLD_KEY])


@pytest.fixture
def memory():
    """Return a store to wrap."""
    return MemoryStore()


@pytest.fixture
def store(memory):
    """Return an empty encrypted store."""
    return EncryptedStore(memory, NEW_KEY)


def expiring_token(generation=1):
    """Return a token of which everything is known."""
    return TikTokToken(token(generation), refresh_expires_at=2_100_000_000)


# --- what can be read at rest -----------------------------------------------------------------------


def test_save__what_stays_readable(store, memory):
    """The inner store sees who and until when, and no more."""
    store.save(KEY, expiring_token())
    kept = memory.load(KEY)

    assert {"open_id", "expires_at", "refresh_expires_at", "refresh_token", "encrypted"} == set(kept)
    assert expiring_token().expires_at == kept.expires_at
    assert expiring_token()["refresh_expires_at"] == kept["refresh_expires_at"]
    assert expiring_token().refresh_token not in json.dumps(kept)
    assert expiring_token().access_token not in json.dumps(kept)


def test_save__same_token_twice(store, memory):
    """Nothing that is kept tells that the same token was saved again."""
    seen = []
    for _ in range(2):
        store.save(KEY, token())
        seen.append(memory.load(KEY))

    assert seen[0]["refresh_token"] != seen[1]["refresh_token"]
    assert seen[0]["encrypted"] != seen[1]["encrypted"]


@pytest.mark.parametrize("before", ["sealed", "plain"])
def test_save__note_about_a_token(memory, before):
    """A note about a token is one to the inner store as well; nothing plain is kept by it."""
    store = EncryptedStore(memory, NEW_KEY, accept_plain=True)
    (store if before == "sealed" else memory).save(KEY, token())
    kept = memory.load(KEY)
    store.save(KEY, TikTokToken(token(), note="text"), replacing=token().refresh_token)
    noted = memory.load(KEY)
    store.save(KEY, token(2), replacing=token().refresh_token)

    assert (kept.refresh_token == noted.refresh_token) == (before == "sealed")
    assert token().refresh_token != noted.refresh_token
    assert noted.refresh_token != memory.load(KEY).refresh_token
    assert token(2) == store.load(KEY)


def test_save__no_refresh_token(store, memory):
    """A token that cannot be refreshed does not look as if it could."""
    store.save(KEY, TikTokToken(access_token="act.only"))

    assert memory.load(KEY).refresh_token is None
    assert [] == list(store.expiring(9e9))
    with pytest.raises(StoreConflict):
        store.save(KEY, token(), replacing="")


def test_refresh_expiring(inner):
    """What expires next is known without a key."""
    store = EncryptedStore(inner, NEW_KEY)
    store.save(KEY, TikTokToken(token(), refresh_expires_at=3000))
    store.save(NEIGHBOUR, TikTokToken(token(), refresh_expires_at=1000))

    assert [NEIGHBOUR, KEY] == list(EncryptedStore(inner, OTHER_KEY).refresh_expiring(4000))
    assert [NEIGHBOUR] == list(store.refresh_expiring(3000))


def secrets_of(each):
    """Return a token's secrets as the bytes to search for."""
    return [each["access_token"].encode(), each["refresh_token"].encode()]


def found(secrets, directory):
    """Return which secrets are anywhere in the files of a directory."""
    files = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    assert files
    return {secret for secret in secrets if any(secret in content for content in files)}


def file_store(directory, request):
    """Return a store, the directory it keeps everything in, and what makes it write a snapshot."""
    return FileStore(directory), directory, lambda: None


def redis_store(directory, request):
    """Return the same for Redis: all goes into the append-only file at once."""
    server = request.getfixturevalue("redis_servers")()
    client = server.client()
    request.addfinalizer(client.close)
    return RedisStore(client), server.directory, client.save


def sqlite_store(directory, request):
    """Return the same for SQLite."""
    from sqlalchemy import create_engine

    from tiktok_oauth_session.stores.sql import SQLStore

    directory.mkdir()
    engine = create_engine(f"sqlite:///{directory / 'tokens.db'}")
    request.addfinalizer(engine.dispose)
    store = SQLStore(engine)
    store.create_tables()
    return store, directory, lambda: None


@pytest.mark.parametrize("make", [file_store, redis_store, sqlite_store])
def test_at_rest__no_plain_token(make, tmp_path, request, fake, make_session, log_in):
    """Login, refreshes and rotation leave no token in any byte of what is kept."""
    inner, directory, flush = make(tmp_path / "kept", request)
    inner.save(NEIGHBOUR, token(9))
    encrypted = EncryptedStore(inner, OLD_KEY)
    session = make_session(store=encrypted)
    issued = [log_in(session), *(session.refresh_token() for _ in range(3))]
    EncryptedStore(inner, [NEW_KEY, OLD_KEY], accept_plain=True).rotate()
    issued.append(make_session(store=EncryptedStore(inner, NEW_KEY), open_id=session.open_id).refresh_token())
    flush()

    secrets = [secret for each in issued for secret in secrets_of(each)]
    assert len(set(secrets)) == 10
    assert set() == found(secrets, directory)
    assert token(9) == EncryptedStore(inner, NEW_KEY).load(NEIGHBOUR)
    inner.save(NEIGHBOUR, token(9))
    flush()
    assert set(secrets_of(token(9))) == found(secrets_of(token(9)), directory), "the search finds nothing"


# --- keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [NEW_KEY, NEW_KEY.decode(), [NEW_KEY], (NEW_KEY.decode(), OLD_KEY)],
    ids=["bytes", "text", "list", "tuple"],
)
def test_keys__one_or_several(memory, store, keys):
    """A key is text or bytes, alone or the first of several."""
    EncryptedStore(memory, keys).save(KEY, token())

    assert token() == store.load(KEY)


@pytest.mark.parametrize(
    "bad",
    ["", "short", b"\xff" * 44, "ü" * 44, NEW_KEY.decode()[:-4], 7],
    ids=["empty", "short", "no text", "no ASCII", "cut short", "no text at all"],
)
def test_keys__not_a_key(memory, bad):
    """What is no key is refused at once, by its number and without showing it."""
    with pytest.raises(ValueError, match="Key number 2 is no Fernet key") as caught:
        EncryptedStore(memory, [NEW_KEY, bad])

    shown = "".join(traceback.format_exception(caught.value))
    assert NEW_KEY.decode() not in shown
    assert NEW_KEY.decode()[:-4] not in shown


def test_keys__none(memory):
    """No key at all is refused: nothing would be encrypted."""
    with pytest.raises(ValueError, match=r"Fernet\.generate_key"):
        EncryptedStore(memory, [])


def test_load__wrong_key(store, memory):
    """A wrong key is an error that says what to do and shows no key, secret or ciphertext."""
    store.save(KEY, token())
    stranger = EncryptedStore(memory, [OLD_KEY, OTHER_KEY])

    with pytest.raises(StoreError, match=f"{KEY.open_id} was encrypted with none of the keys") as caught:
        stranger.load(KEY)
    with pytest.raises(StoreError, match="none of the keys"):
        stranger.save(KEY, token(2), replacing=token().refresh_token)

    shown = "".join(traceback.format_exception(caught.value))
    for secret in (NEW_KEY, OLD_KEY, OTHER_KEY):
        assert secret.decode() not in shown
    assert memory.load(KEY)["encrypted"] not in shown
    assert token() == store.load(KEY)


def test_save__over_what_no_key_fits(store, memory):
    """A new login needs no old key."""
    EncryptedStore(memory, OTHER_KEY).save(KEY, token(1))
    store.save(KEY, token(2))

    assert token(2) == store.load(KEY)


def test_import__without_cryptography(monkeypatch):
    """Without cryptography the error names the command that installs it."""
    monkeypatch.delitem(sys.modules, encrypted_stores.__name__)
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)

    with pytest.raises(ImportError, match=r"pip install tiktok-oauth-session\[crypto\]"):
        importlib.import_module(encrypted_stores.__name__)


def test_repr__shows_what_it_wraps(tmp_path):
    """The repr says where the tokens are and shows no key."""
    assert repr(EncryptedStore(FileStore(tmp_path), NEW_KEY)) == f"EncryptedStore(FileStore('{tmp_path}'))"


# --- rotation ---------------------------------------------------------------------------------------


def test_rotate(inner):
    """After a rotation the new key alone reads everything, and the old one nothing."""
    old = EncryptedStore(inner, OLD_KEY)
    keys = [AccountKey("aw", f"user-{n}") for n in range(5)]
    for n, key in enumerate(keys):
        old.save(key, TikTokToken(token(n), expires_at=1000 + n))
    both = EncryptedStore(inner, [NEW_KEY, OLD_KEY])
    new = EncryptedStore(inner, NEW_KEY)

    assert [token(n).refresh_token for n in range(5)] == [both.load(key).refresh_token for key in keys]
    assert both.rotate() == 5
    assert both.rotate() == 0, "nothing is encrypted twice"
    assert [TikTokToken(token(n), expires_at=1000 + n) for n in range(5)] == [new.load(key) for key in keys]
    assert keys == list(new.expiring(2000))
    with pytest.raises(StoreError, match="none of the keys"):
        old.load(keys[0])


def test_rotate__account_that_went(memory, monkeypatch):
    """An account that is logged out during a rotation is not missed."""
    EncryptedStore(memory, OLD_KEY).save(KEY, token())
    monkeypatch.setattr(memory, "keys", lambda: iter([NEIGHBOUR, KEY]))

    assert EncryptedStore(memory, [NEW_KEY, OLD_KEY]).rotate() == 1
    assert memory.load(NEIGHBOUR) is None


def test_rotate__goes_on_after_a_failure(memory):
    """What cannot be rotated is named at the end, when all the others are done."""
    old, other = EncryptedStore(memory, OLD_KEY), EncryptedStore(memory, OTHER_KEY)
    for n in range(4):
        (other if n == 1 else old).save(AccountKey("aw", f"user-{n}"), token(n))
    both = EncryptedStore(memory, [NEW_KEY, OLD_KEY])

    with pytest.raises(StoreError, match=r"^3 tokens .* 1 could not .*: user-1\.$"):
        both.rotate()
    assert token(3) == EncryptedStore(memory, NEW_KEY).load(AccountKey("aw", "user-3"))
    assert token(1) == other.load(AccountKey("aw", "user-1"))


def test_rotate__waits_for_a_refresh(memory, store):
    """A rotation in the middle of a refresh neither overtakes it nor makes it fail."""
    old = EncryptedStore(memory, OLD_KEY)
    old.save(KEY, token(1))
    both = EncryptedStore(memory, [NEW_KEY, OLD_KEY])
    with ThreadPoolExecutor(1) as pool:
        with old.lock(KEY):
            rotation = pool.submit(both.rotate)
            time.sleep(0.1)
            waited = not rotation.done()
            old.save(KEY, token(2), replacing=token(1).refresh_token)

        assert rotation.result(PATIENCE_S) == 1
    assert waited
    assert token(2) == store.load(KEY)


def test_save__replacing_what_was_written_anew_meanwhile(memory, store):
    """The same token, encrypted again between look and swap, is no conflict; another token is."""
    store.save(KEY, token(1))
    looks = []

    def load_and_be_overtaken(key):
        found = MemoryStore.load(memory, key)
        looks.append(key)
        if len(looks) == 1:
            EncryptedStore(memory, NEW_KEY).save(KEY, TikTokToken(token(1), refresh_started_at=1))
        return found

    memory.load = load_and_be_overtaken
    store.save(KEY, token(2), replacing=token(1).refresh_token)
    del memory.load

    assert len(looks) == 2
    assert token(2) == store.load(KEY)


def test_save__notes_need_the_lease(redis_client):
    """What only brings notes about a token needs the inner store's lease, as it does without encryption."""
    store = EncryptedStore(RedisStore(redis_client), NEW_KEY)
    store.save(KEY, token())
    noted = TikTokToken(token(), refresh_started_at=1)
    with pytest.raises(StoreConflict):
        store.save(KEY, noted, replacing=token().refresh_token)
    without = store.load(KEY)
    with store.lock(KEY):
        store.save(KEY, noted, replacing=token().refresh_token)

    assert token() == without
    assert noted == store.load(KEY)


def test_save__overtaken_by_another_token(memory, store):
    """What was overtaken between look and swap overwrites nothing."""
    store.save(KEY, token(1))

    def load_and_be_overtaken(key):
        found = MemoryStore.load(memory, key)
        del memory.load
        EncryptedStore(memory, NEW_KEY).save(KEY, token(3))
        return found

    memory.load = load_and_be_overtaken
    with pytest.raises(StoreConflict):
        store.save(KEY, token(2), replacing=token(1).refresh_token)

    assert token(3) == store.load(KEY)


# --- tokens that are not what they should be --------------------------------------------------------


def test_load__copied_to_another_account(store, memory):
    """A ciphertext that was copied to another account is refused, however it got there."""
    store.save(KEY, token())
    memory.save(NEIGHBOUR, memory.load(KEY))
    memory.save(AccountKey("aw-other", KEY.open_id), memory.load(KEY))

    for key in (NEIGHBOUR, AccountKey("aw-other", KEY.open_id)):
        with pytest.raises(StoreError, match="another account"):
            store.load(key)
    assert token() == store.load(KEY)


#: What may stand in a ciphertext's place.
DAMAGE = {
    "empty": "",
    "cut short": "gAAAAA",
    "no ASCII": "ü",
    "no Unicode": "\ud800",
    "null": None,
    "a number": 7,
    "a list": ["x"],
    # What the key opens and is no token all the same: somebody uses the key for something else, too.
    "of nothing": Fernet(NEW_KEY).encrypt(b"").decode(),
    "of something else": Fernet(NEW_KEY).encrypt(b'{"version": 1}').decode(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_load__damaged(store, memory, damage):
    """A ciphertext that is damaged, or not of our making, is an error; a login mends it."""
    store.save(KEY, token())
    memory.save(KEY, TikTokToken(memory.load(KEY), encrypted=DAMAGE[damage]))

    with pytest.raises(StoreError, match=KEY.open_id):
        store.load(KEY)
    with pytest.raises(StoreError, match=KEY.open_id):
        EncryptedStore(memory, [OLD_KEY, NEW_KEY]).rotate()
    store.save(KEY, token(2))
    assert token(2) == store.load(KEY)


def test_load__every_changed_byte(store, memory):
    """No change to a ciphertext goes unnoticed."""
    store.save(KEY, token())
    kept = memory.load(KEY)
    text = kept["encrypted"]
    unnoticed = []
    for n in range(0, len(text.rstrip("=")) - 1, 7):
        changed = text[:n] + ("A" if text[n] != "A" else "B") + text[n + 1 :]
        memory.save(KEY, TikTokToken(kept, encrypted=changed))
        try:
            store.load(KEY)
        except StoreError:
            continue
        unnoticed.append(n)

    assert [] == unnoticed


def test_load__of_a_later_version(store, memory):
    """A token of a later version is an error that says so."""
    content = {"version": 2, "client_key": KEY.client_key, "open_id": KEY.open_id, "token": {}}
    memory.save(KEY, TikTokToken(encrypted=Fernet(NEW_KEY).encrypt(json.dumps(content).encode()).decode()))

    with pytest.raises(StoreError, match="later version"):
        store.load(KEY)


def test_load__plain(store, memory):
    """A token that is not encrypted is refused, since anybody may have written it."""
    memory.save(KEY, token())

    with pytest.raises(StoreError, match=r"not encrypted.*accept_plain=True and call rotate"):
        store.load(KEY)
    with pytest.raises(StoreError, match="not encrypted"):
        store.save(KEY, token(2), replacing=token().refresh_token)
    with pytest.raises(StoreError, match=KEY.open_id):
        store.rotate()
    assert token() == memory.load(KEY)


def test_accept_plain__migrates(inner):
    """With `accept_plain` a store in use becomes an encrypted one, by a refresh or by `rotate`."""
    inner.save(KEY, token(1))
    inner.save(NEIGHBOUR, token(2))
    store = EncryptedStore(inner, NEW_KEY, accept_plain=True)

    assert token(1) == store.load(KEY)
    with pytest.raises(StoreConflict):
        store.save(KEY, token(3), replacing=token(2).refresh_token)
    store.save(KEY, token(3), replacing=token(1).refresh_token)
    assert store.rotate() == 1
    strict = EncryptedStore(inner, NEW_KEY)
    assert [token(3), token(2)] == [strict.load(KEY), strict.load(NEIGHBOUR)]


def test_save__not_json(store):
    """A token that is no JSON is refused before anything is written."""
    store.save(KEY, token())

    with pytest.raises(StoreError, match="not JSON"):
        store.save(KEY, TikTokToken(token(2), when=threading.Lock()))
    assert token() == store.load(KEY)


# --- refreshing -------------------------------------------------------------------------------------


def test_refresh__many_threads(inner, fake):
    """64 threads with a session and a store each, and an expired token, cause one token request."""
    open_id = fake.add_user().open_id
    issued = TikTokToken.from_reply(fake.issue_token(user=open_id), requested_at=time.time() - 8000)
    EncryptedStore(inner, NEW_KEY).save(AccountKey(fake.client_key, open_id), issued)
    with fake.serve() as server, ThreadPoolExecutor(64) as pool:
        sessions = [session_on(server.url, EncryptedStore(inner, NEW_KEY), open_id) for _ in range(64)]
        answers = list(pool.map(lambda session: call(session, server.url), sessions))

    assert [200] * 64 == answers
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0


def test_session__without_the_wrapper(fake, issue, make_session):
    """A process that forgets to wrap the store is told so; what is encrypted is sent to nobody."""
    inner, token = MemoryStore(), TikTokToken(issue(), expires_at=1)
    key = AccountKey(fake.client_key, token.open_id)
    EncryptedStore(inner, Fernet.generate_key()).save(key, token)
    before = inner.load(key)

    with pytest.raises(StoreError, match="EncryptedStore"):
        make_session(store=inner, open_id=key.open_id).get("/v2/user/info/")
    summary = keep_alive(
        inner,
        client_key=fake.client_key,
        client_secret=fake.client_secret,
        access_within=1e9,
        adapter=fake.adapter(),
    )

    assert {key} == set(summary.failed)
    assert [] == fake.requests
    assert before == inner.load(key)
