"""Whatever stands in the place of a stored token: a token, or an error that is documented."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests
import sqlalchemy
from hypothesis import example, given, settings, strategies as st
from redis_server import require_redis_server

from tiktok_oauth_session import (
    LOGIN_KIT,
    LOGIN_KIT_V1,
    AccountKey,
    FileStore,
    MemoryStore,
    StoreError,
    TikTokOAuth2Session,
    TikTokOAuthError,
    TikTokToken,
)
from tiktok_oauth_session._process import process_space
from tiktok_oauth_session.keepalive import keep_alive
from tiktok_oauth_session.stores.encrypted import EncryptedStore
from tiktok_oauth_session.stores.envelope import Unreadable, opened, written
from tiktok_oauth_session.stores.redis import RedisStore
from tiktok_oauth_session.stores.sql import SQLStore
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.testing.conformance import KEY, token
from tiktok_oauth_session.tokens import _MARKS, _NUMBERS, MARKS_OF

CIPHER_KEY = "a2V5IG9mIHRoaXMgdGVzdCwgMzIgYnl0ZXMgbG9uZyE="

# --- documents -------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted(
    {"access_token", "refresh_token", "open_id", "scope", "token_type", "encrypted", *_MARKS, *_NUMBERS}
)
NOW = int(time.time())
#: The name of a holder with the id of no process.
HUGE_PID = f"{'9' * 30}.{process_space()}.x"
#: What a field may hold that somebody or something has changed: nearly right, or anything.
FIELDS = (
    st.sampled_from(
        [0, 1, -1, NOW, NOW + 50, str(NOW), 1e300, "", "invalid_grant", f"{NOW}.0.x", "1.2.3", HUGE_PID]
    )
    | VALUES
)
TOKENS = st.dictionaries(st.sampled_from(NAMES), FIELDS, max_size=8)
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "format": VALUES,
        "version": st.sampled_from([1, 1.0, True, 0, -1, 2, "1"]) | VALUES,
        "client_key": st.just(KEY.client_key) | VALUES,
        "open_id": st.just(KEY.open_id) | VALUES,
        "saved_at": VALUES,
        "token": TOKENS | TOKENS.map(lambda fields: {**token(), **fields}) | VALUES,
    },
)
#: One that is right but for a part of it.
ALMOST = ENVELOPES.map(lambda changed: {**json.loads(written(KEY, token())), **changed})
DOCUMENTS = (ENVELOPES | ALMOST | VALUES).map(json.dumps) | st.text()
ANY_BYTES = DOCUMENTS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=200)
few = settings(max_examples=150, deadline=None, database=None)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, database=None)
@given(document=DOCUMENTS | ANY_BYTES)
def test_opened__anything(document):
    """A document is a token whose texts are texts, or `Unreadable`; and no other error says anything."""
    try:
        owner, found = opened(document, mend="a new login replaces it")
    except Unreadable:
        return
    assert {str} == {type(part) for part in owner}
    assert {str, type(None)} >= {type(part) for part in (found.access_token, found.refresh_token)}
    assert {int, float} >= {type(found[name]) for name in _NUMBERS if name in found}
    repr(found)


# --- stores ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_file():
    """Lend a store in files, and what writes a document behind its back."""
    with TemporaryDirectory() as directory:
        store = FileStore(directory)
        store.save(KEY, token())
        (path,) = Path(directory).glob("*/*.json")
        yield store, path.write_bytes


@contextlib.contextmanager
def in_database():
    """The same in a database."""
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    store = SQLStore(engine)
    store.create_tables()
    store.save(KEY, token())

    def put(document):
        statement = sqlalchemy.text("UPDATE tiktok_tokens SET document = :document")
        with engine.begin() as connection:
            connection.execute(statement, {"document": document.decode("utf-8", "replace")})

    yield store, put
    engine.dispose()


@contextlib.contextmanager
def encrypted():
    """The same with encryption around it: what is changed is inside."""
    inner = MemoryStore()
    store = EncryptedStore(inner, CIPHER_KEY)
    store.save(KEY, token())

    def put(document):
        sealed = store._first.encrypt(document).decode()
        inner.save(
            KEY, TikTokToken(inner.load(KEY), **{name: sealed for name in inner.load(KEY) if "encr" in name})
        )

    yield store, put


def check_store(store, put, document):
    """See what every look at the account comes to; then let its user log in again."""
    put(document)
    looks = [
        lambda: store.load(KEY),
        lambda: store.save(KEY, token(2), replacing=token().refresh_token),
        lambda: list(store.keys()),
        lambda: list(store.expiring(time.time())),
        lambda: list(store.refresh_expiring(time.time())),
    ]
    for look in looks:
        with contextlib.suppress(StoreError):
            look()
    store.save(KEY, token(3))
    assert token(3) == store.load(KEY)


@pytest.mark.slow
@pytest.mark.parametrize("place", [in_file, in_database, encrypted])
def test_store__anything_in_a_tokens_place(place):
    """Every look at a damaged account is a `StoreError` or a token, and a new login mends it."""

    @few
    @given(document=ANY_BYTES)
    @example(document=b"[" * 100_000)
    def check(document):
        with place() as (store, put):
            check_store(store, put, document)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["document", "refresh_token", "whole key"])
def test_store__anything_in_redis(redis_server, where):
    """The same in Redis, where the fields of a hash can be changed as well."""

    @few
    @given(document=ANY_BYTES)
    def check(document):
        client.flushall()
        store.save(KEY, token())
        (name,) = client.keys("*token:*")

        def put(changed):
            if where == "whole key":
                client.set(name, changed)
            else:
                client.hset(name, where, changed)

        check_store(store, put, document)

    require_redis_server()
    with redis_server.client() as client:
        store = RedisStore(client)
        check()


# --- sessions --------------------------------------------------------------------------------------


def stage(platform, fields):
    """Return a session whose store holds a token with such fields, and what marks say is about that token."""
    fake, store = FakeTikTok(), MemoryStore()
    known = fake.issue_token()
    whole = {**known, "expires_at": NOW + 7200, **fields}
    if isinstance(whole.get("refresh_token"), str):
        digest = hashlib.sha256(whole["refresh_token"].encode("utf-8", "surrogatepass")).hexdigest()[:16]
        whole.setdefault(MARKS_OF, digest)
    key = AccountKey(fake.client_key, known["open_id"])
    # As every store hands it out.
    try:
        stored = opened(written(key, TikTokToken(whole)), key=key, mend="x")[1]
    except Unreadable:
        return None
    store.save(key, stored)
    session = TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        platform=platform,
        store=store,
        open_id=key.open_id,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, fake.adapter())
    return session


PLATFORMS = {"v2": LOGIN_KIT, "v1": LOGIN_KIT_V1}


def call(session):
    """Read the profile."""
    if session.platform is LOGIN_KIT:
        return session.get("https://open.tiktokapis.com/v2/user/info/?fields=open_id")
    return session.post("https://open-api.tiktok.com/user/info/", json={"fields": ["open_id"]})


#: What a session may be asked for.
USES = {
    "call": call,
    "fresh_token": TikTokOAuth2Session.fresh_token,
    "refresh_token": TikTokOAuth2Session.refresh_token,
    "revoke_token": TikTokOAuth2Session.revoke_token,
    "properties": lambda session: repr(
        [session.token, session.open_id, session.authorized, session.granted_scopes, session.missing_scopes]
    ),
    "keep_alive": lambda session: keep_alive(
        session.store,
        client_key=session.client_id,
        client_secret=session.client_secret,
        platform=session.platform,
        adapter=session.get_adapter("https://open.tiktokapis.com/"),
    ),
}


UNDER_WAY = {"refresh_started_at": NOW, "refresh_may_last_s": 50}


@pytest.mark.slow
@settings(max_examples=400, deadline=None, database=None)
@given(
    surface=st.sampled_from(sorted(PLATFORMS)),
    fields=TOKENS,
    use=st.sampled_from(sorted(USES)),
    expired=st.booleans(),
)
@example(surface="v2", fields={"access_token": 0}, use="call", expired=False)
@example(surface="v2", fields={"access_token": None}, use="call", expired=False)
@example(surface="v2", fields={"access_token": "", "refresh_token": None}, use="call", expired=False)
@example(surface="v1", fields={**UNDER_WAY, "refresh_started_by": 1}, use="call", expired=True)
@example(surface="v2", fields={**UNDER_WAY, "refresh_started_by": HUGE_PID}, use="call", expired=True)
def test_session__anything_in_a_stored_token(surface, fields, use, expired):
    """A session whose stored token has odd fields works, or raises what is documented."""
    session = stage(PLATFORMS[surface], {**({"expires_at": 1} if expired else {}), **fields})
    if session is None:
        return
    try:
        USES[use](session)
    except (TikTokOAuthError, requests.RequestException) as error:
        assert "fake-secret" not in str(error)  # noqa: PT017 - most of these tokens work
    finally:
        session.close()
