"""Ending a connection: what is sent, and who forgets what when."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from requests.auth import HTTPBasicAuth
from surfaces import SURFACES

from tiktok_oauth_session import (
    BUSINESS_ADVERTISER,
    LOGIN_KIT,
    LOGIN_KIT_V1,
    AccountKey,
    MemoryStore,
    ReauthorizationRequired,
    RevocationError,
    TikTokOAuth2Session,
    TikTokToken,
    TokenError,
    revoke_token,
)
from tiktok_oauth_session._connection.marks import PAUSE_S
from tiktok_oauth_session.tokens import MARKS_OF, REFRESH_PAUSE_S, REFRESH_PAUSED_AFTER, REFRESH_PAUSED_AT

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
REVOKE = "https://open.tiktokapis.com/v2/oauth/revoke/"
V1_REVOKE = "https://open-api.tiktok.com/oauth/revoke/"
MALFORMED = {
    "error": "invalid_request",
    "error_description": "The request parameters are malformed.",
    "log_id": "202206221854370101130062072500FFA2",
}


@pytest.fixture
def stored(make_session, issue, fake):
    """Makes sessions whose token is in a store, too: session, store, key."""

    def make(**options):
        store = options.pop("store", None) or MemoryStore()
        session = make_session(token=issue(), store=store, **options)
        return session, store, AccountKey(fake.client_key, session.open_id)

    return make


def test_revoke__v2(fake, stored):
    """v2 gets key, secret and the access token in the form; then session and store forget the account."""
    session, store, key = stored()
    session.params, session.auth = {"private": "1"}, HTTPBasicAuth("fake-user", "fake-password")
    token = session.token

    session.revoke_token()

    (record,) = fake.requests
    form = {
        "client_key": fake.client_key,
        "client_secret": fake.client_secret,
        "token": token["access_token"],
    }
    assert ("POST", REVOKE, form, {}) == (record.method, record.url, record.form, record.query)
    assert "Authorization" not in record.headers
    assert not fake.is_alive(token["access_token"])
    assert ({}, False, None) == (session.token, session.authorized, store.load(key))


def test_revoke__v1(fake, stored):
    """v1 gets open_id and access token in the query, and no credentials of the app."""
    session, store, key = stored(platform=LOGIN_KIT_V1)
    session.params = {"private": "1"}
    token = session.token

    session.revoke_token()

    (record,) = fake.requests
    assert {"open_id": token["open_id"], "access_token": token["access_token"]} == record.query
    assert ("POST", V1_REVOKE, b"") == (record.method, record.url.partition("?")[0], record.sent)
    assert not fake.is_alive(token["access_token"])
    assert ({}, None) == (session.token, store.load(key))


def test_revoke__nothing_to_revoke(fake, make_session):
    """Without a token there is nothing to revoke, and nothing is sent."""
    with pytest.raises(RevocationError):
        make_session().revoke_token()

    assert [] == fake.requests


def test_revoke__expired(fake, stored, clock):
    """An expired token is refreshed first: only a live one can be revoked."""
    session, store, key = stored()
    old = session.token
    clock.advance(7200)

    session.revoke_token()

    refresh, revoke = fake.requests
    assert old["refresh_token"] == refresh.form["refresh_token"]
    assert old["access_token"] != revoke.form["token"]
    assert (b"{}", True) == (revoke.body, revoke.committed)
    assert ({}, None, []) == (session.token, store.load(key), fake.tokens)


def test_revoke__expired_and_not_refreshed(fake, stored, clock):
    """If that refresh fails, session and store still hold the token, and nobody asks again for a while."""
    session, store, key = stored()
    old = session.token
    clock.advance(7200)
    fake.fail("refresh", "error", error="invalid_request")

    with pytest.raises(TokenError):
        session.revoke_token()

    assert ["refresh"] == [record.endpoint for record in fake.requests]
    kept = store.load(key)
    assert old == session.token == kept.marked()
    assert {
        MARKS_OF: kept[MARKS_OF],
        REFRESH_PAUSED_AT: clock.now,
        REFRESH_PAUSE_S: PAUSE_S,
        REFRESH_PAUSED_AFTER: "invalid_request",
    } == {name: value for name, value in kept.items() if name not in old}


def test_revoke__refused(fake, stored):
    """A refusal is a RevocationError that carries TikTok's words; the account is still there.

    The store has the next token by then, since a refresh was to tell whether the old one was dead.
    """
    session, store, key = stored()
    old = session.token
    fake.fail("revoke", "error", error="invalid_request", description=MALFORMED["error_description"], times=2)

    with pytest.raises(RevocationError) as caught:
        session.revoke_token()

    assert ("invalid_request", MALFORMED["error_description"], 200) == (
        caught.value.error,
        caught.value.description,
        caught.value.status_code,
    )
    assert ["revoke", "refresh", "revoke"] == [each.endpoint for each in fake.requests]
    assert old != store.load(key)
    assert 200 == session.get(USER_INFO).status_code


@pytest.mark.parametrize("name", [name for name, each in SURFACES.items() if name != "shop"])
def test_revoke__ended_at_tiktok(fake, name):
    """Where the user has removed the app there is nothing to revoke: a refresh tells; nothing is deleted."""
    surface, store = SURFACES[name], MemoryStore()
    token = TikTokToken.from_reply(fake.issue_token(surface=surface.name), requested_at=time.time())
    session = surface.session(fake, token=token, store=store)
    session.mount("https://", fake.adapter())
    fake.remove_connection(token.open_id)

    for _ in range(2):
        with pytest.raises(ReauthorizationRequired):
            session.revoke_token()
    assert ["revoke", "refresh"] == [each.endpoint for each in fake.requests][:2]
    assert 1 == len(fake.requests_to("refresh"))
    assert store.load(AccountKey(fake.client_key, token.open_id))


@pytest.mark.parametrize("is_stored", [True, False])
def test_revoke__refused_and_refreshed(fake, make_session, issue, is_stored):
    """Where a revocation is refused after a refresh, the session holds the token that works."""
    store = MemoryStore() if is_stored else None
    session = make_session(token=issue(), store=store, as_if_network=True)
    spent = session.token.refresh_token
    fake.fail("revoke", "error", error="invalid_request", times=2)

    with pytest.raises(RevocationError):
        session.revoke_token()
    assert spent != session.token.refresh_token
    assert fake.is_alive(session.token.refresh_token)
    session.revoke_token()
    assert ([], 0, 1) == (fake.tokens, fake.reuse_attempts, len(fake.requests_to("refresh")))


def test_revoke__access_token_ended_early(fake, stored):
    """An access token that TikTok has ended before its time is replaced, and that one revoked."""
    session, store, key = stored()
    ended = session.token.access_token
    fake.fail("revoke", "error", error="invalid_request")

    session.revoke_token()

    assert ["revoke", "refresh", "revoke"] == [each.endpoint for each in fake.requests]
    first, _, second = fake.requests
    assert ended == first.form["token"] != second.form["token"]
    assert ([], None) == (fake.tokens, store.load(key))


def test_revoke__advertiser_ended_at_tiktok(fake):
    """A token that TikTok says is dead, and that nothing refreshes, needs a login and no revocation."""
    session = TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        platform=BUSINESS_ADVERTISER,
        token=fake.issue_token(surface="advertiser"),
    )
    session.mount("https://", fake.adapter())
    fake.remove_connection(fake.users[0].open_id)

    with pytest.raises(ReauthorizationRequired, match="It was ended before"):
        session.revoke_token()


def test_revoke__shop(fake):
    """Where nothing revokes, nothing is spent to find that out."""
    surface = SURFACES["shop"]
    expired = {**fake.issue_token(surface="shop"), "expires_at": 1}
    session = surface.session(fake, token=expired, store=MemoryStore())
    session.mount("https://", fake.adapter())

    with pytest.raises(RevocationError, match="no endpoint that revokes"):
        session.revoke_token()
    assert [] == fake.requests


def test_revoke__reply_lost(fake, stored):
    """When nobody knows whether it was revoked, that is said; session and store still hold the token."""
    session, store, key = stored()
    fake.fail("revoke", "reset_after")

    with pytest.raises(RevocationError, match="Nobody knows") as caught:
        session.revoke_token()

    assert ("no_reply", 1) == (caught.value.error, len(fake.requests))
    assert session.token == store.load(key) != {}


def test_revoke__nobody_brings_it_back(fake, stored, make_session, clock):
    """A session that would refresh while another one revokes waits, and then finds the account gone."""
    session, store, key = stored()
    other = make_session(store=store, open_id=session.open_id)
    clock.advance(7200 - 30)
    outcome = []

    def call_the_api():
        try:
            outcome.append(other.get(USER_INFO))
        except ReauthorizationRequired as error:
            outcome.append(error)

    thread = threading.Thread(target=call_the_api)
    fake.before("revoke", lambda record: thread.start())

    session.revoke_token()
    thread.join(10)

    assert [ReauthorizationRequired] == [type(each) for each in outcome]
    assert [] == fake.requests_to("refresh")
    assert (None, []) == (store.load(key), fake.tokens)


def test_revoke__without_a_refresh_token(fake, make_session, issue):
    """A session that cannot refresh revokes what the store holds, and waits for who can."""
    store, held = MemoryStore(), issue()
    session = make_session(token={k: v for k, v in held.items() if "refresh" not in k}, store=store)
    key = AccountKey(fake.client_key, session.open_id)
    newer = issue()
    thread = threading.Thread(target=session.revoke_token)
    with store.lock(key):
        thread.start()
        thread.join(0.2)
        assert [] == fake.requests
        store.save(key, newer)
    thread.join(10)

    assert [newer["access_token"]] == [record.form["token"] for record in fake.requests_to("revoke")]
    assert store.load(key) is None


def test_revoke__login_meanwhile(fake, stored, issue):
    """A login that comes while the old token is revoked, past the lock, is not deleted with it."""

    class Lockless(MemoryStore):
        def lock(self, key):
            return contextlib.nullcontext()

    store = Lockless()
    session, _, key = stored(store=store)
    fake.after("revoke", lambda record: store.save(key, issue()))

    session.revoke_token()

    assert fake.is_alive(store.load(key)["access_token"])


def test_revoke__client_token_has_no_user(fake, make_session):
    """A token of the app itself is revoked without an attempt to refresh it."""
    session = make_session()
    session.fetch_client_token()

    with pytest.raises(RevocationError):
        session.revoke_token()

    assert ["client_token", "revoke"] == [record.endpoint for record in fake.requests]


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole token", "access token"])
def test_revoke_token__v2(requests_mock, body, whole):
    """The helper sends what the session sends; empty or `{}`, the reply means yes."""
    requests_mock.post(REVOKE, content=body)
    token = {"access_token": "act.fake", "refresh_token": "rft.fake"} if whole else "act.fake"

    revoke_token(token, client_key="fake-key", client_secret="fake-secret")

    (request,) = requests_mock.request_history
    assert "client_key=fake-key&client_secret=fake-secret&token=act.fake" == "&".join(
        sorted(request.text.split("&"))
    )
    assert ("POST", REVOKE) == (request.method, request.url)
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("token", "options"),
    [({"access_token": "act.fake", "open_id": "fake-id"}, {}), ("act.fake", {"open_id": "fake-id"})],
)
def test_revoke_token__v1(requests_mock, token, options):
    """On v1 the helper sends open_id and access token in the query."""
    reply = {"captcha": "", "desc_url": "", "description": "", "error_code": 0, "log_id": "2022070112300001"}
    requests_mock.post(V1_REVOKE, json={"data": reply, "message": "success"})

    revoke_token(token, platform=LOGIN_KIT_V1, **options)

    (request,) = requests_mock.request_history
    assert {"open_id": ["fake-id"], "access_token": ["act.fake"]} == request.qs
    assert request.body is None


@pytest.mark.parametrize(
    ("platform", "options", "missing"),
    [
        (LOGIN_KIT, {"client_key": "fake-key"}, "client_secret"),
        (LOGIN_KIT, {"client_secret": "fake-secret"}, "client_key"),
        (LOGIN_KIT_V1, {}, "open_id"),
    ],
)
def test_revoke_token__something_missing(requests_mock, platform, options, missing):
    """What this surface needs and was not given is named, and nothing is sent."""
    with pytest.raises(RevocationError, match=missing):
        revoke_token("act.fake", platform=platform, **options)

    assert [] == requests_mock.request_history


@pytest.mark.parametrize(
    ("platform", "url", "reply", "expected"),
    [
        (LOGIN_KIT, REVOKE, {"json": MALFORMED}, ("invalid_request", MALFORMED["log_id"], 200)),
        (
            LOGIN_KIT,
            REVOKE,
            {"json": MALFORMED, "status_code": 400},
            ("invalid_request", MALFORMED["log_id"], 400),
        ),
        (LOGIN_KIT, REVOKE, {"text": "<html>", "status_code": 502}, ("invalid_response", None, 502)),
        (LOGIN_KIT, REVOKE, {"text": "", "status_code": 500}, ("invalid_response", None, 500)),
        (LOGIN_KIT, REVOKE, {"text": "null"}, ("invalid_response", None, 200)),
        (
            LOGIN_KIT_V1,
            V1_REVOKE,
            {"json": {"data": {"description": "Parameter error", "error_code": 10002}, "message": "error"}},
            ("invalid_request", None, 200),
        ),
    ],
)
def test_revoke_token__refused(requests_mock, platform, url, reply, expected):
    """Whatever its shape, a reply that does not say yes is a RevocationError with its evidence."""
    requests_mock.post(url, **reply)

    with pytest.raises(RevocationError) as caught:
        revoke_token(
            "act.fake",
            client_key="fake-key",
            client_secret="fake-secret",
            open_id="fake-id",
            platform=platform,
        )

    assert expected == (caught.value.error, caught.value.log_id, caught.value.status_code)
    assert "act.fake" not in str(caught.value)


def test_revoke_token__timeout(requests_mock):
    """The helper waits no longer than it is told, and never for ever."""
    requests_mock.post(REVOKE, content=b"")

    revoke_token("act.fake", client_key="fake-key", client_secret="fake-secret")
    revoke_token("act.fake", client_key="fake-key", client_secret="fake-secret", token_timeout=3)

    assert [(5.0, 20.0), 3] == [request.timeout for request in requests_mock.request_history]
