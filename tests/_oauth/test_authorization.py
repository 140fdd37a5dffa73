"""Logging in: PKCE, the scopes that were granted, the old token meanwhile, and the app's own token."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from oauthlib.oauth2 import AccessDeniedError, OAuth2Error

from tiktok_oauth_session import (
    LOGIN_KIT,
    LOGIN_KIT_V1,
    AccountKey,
    AuthorizationError,
    MemoryStore,
    TikTokOAuth2Session,
    TikTokToken,
    TokenError,
    TokenNotSaved,
)
from tiktok_oauth_session.errors import StateMismatch
from tiktok_oauth_session.stores import StoreError

DESKTOP = "http://127.0.0.1:3455/callback/"
USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"


def query_of(url):
    """The parameters of a URL."""
    return dict(parse_qsl(urlsplit(url).query))


def forms(fake):
    """What the token endpoint was sent."""
    return [record.form for record in fake.requests_to("token")]


# --- PKCE --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirect_uri", "pkce", "used"),
    [
        ("https://app.example/callback/", None, False),
        ("https://app.example/callback/", "S256", True),
        ("http://127.0.0.1:3455/callback/", None, True),
        ("http://localhost:3455/callback/", None, True),
        ("https://127.0.0.1:3455/callback/", None, True),
        ("https://localhost.example/callback/", None, False),
    ],
)
def test_pkce__where_tiktok_requires_it(make_session, redirect_uri, pkce, used):
    """PKCE is on for loopback redirect URIs and where it is asked for, with the verifier's hex SHA-256."""
    session = make_session(redirect_uri=redirect_uri, pkce=pkce)
    query = query_of(session.authorization_url()[0])

    assert used == (session.code_verifier is not None)
    expected = hashlib.sha256(session.code_verifier.encode()).hexdigest() if used else None
    assert (expected, "S256" if used else None) == (
        query.get("code_challenge"),
        query.get("code_challenge_method"),
    )


def test_pkce__verifier(make_session):
    """A verifier has 43 to 128 unreserved characters, and every login one of its own."""
    session = make_session(pkce="S256")
    verifiers = set()
    for _ in range(50):
        session.authorization_url()
        verifiers.add(session.code_verifier)

    assert 50 == len(verifiers)
    assert all(re.fullmatch(r"[A-Za-z0-9\-._~]{43,128}", each) for each in verifiers)


def test_pkce__finished_by_another_process(fake, make_session):
    """The callback's process passes the verifier that was kept beside the state."""
    began = make_session(redirect_uri=DESKTOP)
    url, state = began.authorization_url()
    callback = fake.authorize(url)
    finishing = make_session(redirect_uri=DESKTOP)

    with pytest.raises(AuthorizationError, match="code_verifier"):
        make_session(redirect_uri=DESKTOP).fetch_token(authorization_response=callback, state=state)
    assert [] == forms(fake)

    finishing.fetch_token(authorization_response=callback, state=state, code_verifier=began.code_verifier)

    assert [began.code_verifier] == [form["code_verifier"] for form in forms(fake)]


@pytest.mark.parametrize("pkce", ["plain", "s256", "", True])
def test_pkce__other_methods(pkce):
    """Any other method than S256 is a mistake, never a login without PKCE."""
    with pytest.raises(ValueError, match="S256"):
        TikTokOAuth2Session("fake-key", pkce=pkce)


@pytest.mark.parametrize("options", [{}, {"code_challenge": "fake"}])
@pytest.mark.parametrize("method", ["plain", "s256", "", None])
def test_pkce__other_methods_of_a_call(make_session, method, options):
    """No method that protects nothing gets into a URL, and no challenge counts as plain."""
    session = make_session()

    with pytest.raises(ValueError, match="S256 only"):
        session.authorization_url(code_challenge_method=method, **options)

    url, _ = session.authorization_url(code_challenge="fake")
    assert "S256" == query_of(url)["code_challenge_method"]


# --- scopes and refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"platform": LOGIN_KIT_V1}], ids=["v2", "v1"])
def test_scopes__partial_consent(fake, make_session, log_in, options):
    """A user who grants less than was asked is logged in, and the session says what is missing."""
    session = make_session(scope="user.info.basic, video.list video.upload", **options)

    log_in(session, grant=["user.info.basic", "video.upload"])

    assert ["user.info.basic", "video.upload"] == session.granted_scopes
    assert ["video.list"] == session.missing_scopes
    assert session.authorized


def test_scopes__before_anybody_logs_in(make_session):
    """Before a login nothing is granted and nothing is missing."""
    session = make_session()

    assert ([], [], False, None) == (
        session.granted_scopes,
        session.missing_scopes,
        session.authorized,
        session.open_id,
    )


def test_scopes__told_by_the_callback_only(fake, make_session):
    """Where the token reply names no scope, the callback's word counts."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0], grant=["user.info.basic"])
    fake.fail("token", "body", body=b'{"access_token": "act.fake", "open_id": "fake-id", "expires_in": 60}')

    session.fetch_token(authorization_response=callback)

    assert (["user.info.basic"], ["video.list"]) == (session.granted_scopes, session.missing_scopes)


@pytest.mark.parametrize("with_state", [True, False])
def test_denial(fake, make_session, with_state):
    """A user who says no is an AuthorizationError with TikTok's words, whether or not the state is there."""
    session = make_session()
    url, state = session.authorization_url()
    callback = fake.authorize(url, deny=True)

    with pytest.raises(AuthorizationError, match="user said no") as caught:
        session.fetch_token(
            authorization_response=callback if with_state else callback.replace(f"&state={state}", "")
        )

    assert ("access_denied", "access_denied") == (caught.value.error, caught.value.description)
    assert isinstance(caught.value, AccessDeniedError)
    assert isinstance(caught.value, OAuth2Error)
    assert [] == forms(fake)


def test_denial__unknown_error(make_session):
    """An error code that nobody has documented is reported as it came."""
    session = make_session()

    with pytest.raises(AuthorizationError) as caught:
        session.fetch_token(
            authorization_response="https://app.example/callback/?error=fake_error&error_description=why"
        )

    assert ("fake_error", "why", None) == (
        caught.value.error,
        caught.value.description,
        caught.value.status_code,
    )


# --- the old token -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["refuse", "reset_after", "truncated", "html", "status", "error"])
def test_fetch__failure_keeps_the_old_token(fake, make_session, issue, kind):
    """A login that fails leaves the old token at work, in the session and in the store."""
    store, old = MemoryStore(), TikTokToken(issue(), issuer=LOGIN_KIT.issuer)
    session = make_session(token=old, store=store)
    callback = fake.authorize(session.authorization_url()[0])
    fake.fail("token", kind, times=None)

    with pytest.raises(TokenError):
        session.fetch_token(authorization_response=callback)

    assert old == session.token == store.load(AccountKey(fake.client_key, old["open_id"]))
    assert 200 == session.get(USER_INFO).status_code
    assert f"Bearer {old['access_token']}" == fake.requests[-1].headers["Authorization"]


def test_fetch__old_token_works_meanwhile(fake, make_session, issue, log_in):
    """While the code is being exchanged, another thread's request goes out with the old token."""
    old = issue()
    session = make_session(token=old)
    seen = []
    fake.before("token", lambda record: seen.append(session.get(USER_INFO).request.headers["Authorization"]))

    new = log_in(session)

    assert [f"Bearer {old['access_token']}"] == seen
    assert new["access_token"] == session.token["access_token"] != old["access_token"]


def test_fetch__store_fails(fake, make_session, issue, log_in, monkeypatch):
    """A login that cannot be stored is TokenNotSaved with the new token; the old one stays in use."""
    store, old = MemoryStore(), TikTokToken(issue(), issuer=LOGIN_KIT.issuer)
    session = make_session(token=old, store=store)

    def save(*args, **options):
        raise StoreError("fake disk full")

    monkeypatch.setattr(store, "save", save)
    with pytest.raises(TokenNotSaved) as caught:
        log_in(session)

    assert fake.is_alive(caught.value.token["access_token"])
    assert old == session.token == store.load(AccountKey(fake.client_key, old["open_id"]))


def test_fetch__stored_under_its_account(fake, make_session, log_in):
    """Each user's token is stored under their own open_id, and a new login replaces the old token."""
    store = MemoryStore()
    session = make_session(store=store)
    first, other, again = (log_in(session, user=user) for user in (None, fake.add_user("fake-other"), None))

    assert (again, other) == tuple(
        store.load(AccountKey(fake.client_key, token["open_id"])) for token in (first, other)
    )
    assert first["open_id"] == session.open_id


# --- the app's own token -----------------------------------------------------------------------------


def test_client_token__renewed(fake, make_session, clock):
    """The app's own token is fetched anew when it expires: it has no refresh token."""
    session = make_session()
    first = session.fetch_client_token()
    session.get("https://open.tiktokapis.com/v2/research/")
    clock.advance(7200)
    session.get("https://open.tiktokapis.com/v2/research/")

    endpoints = ["client_token", "not_found", "client_token", "not_found"]
    assert endpoints == [record.endpoint for record in fake.requests]
    assert f"Bearer {first['access_token']}" == fake.requests[1].headers["Authorization"]
    assert f"Bearer {session.token['access_token']}" == fake.requests[3].headers["Authorization"]
    assert first["access_token"] != session.token["access_token"]
    assert "refresh_token" not in session.token


def test_client_token__renewed_when_refused(fake, make_session):
    """A refused token of the app itself is fetched anew, and the request replayed."""
    session = make_session()
    session.fetch_client_token()
    fake.advance(7200)

    session.get(USER_INFO)

    assert ["client_token", "user_info", "client_token", "user_info"] == [r.endpoint for r in fake.requests]


def test_client_token__not_stored(fake, make_session):
    """The app's own token belongs to no account and is not put into the store."""
    store = MemoryStore()

    make_session(store=store).fetch_client_token()

    assert [] == list(store.keys())


def test_client_token__refused(fake, make_session, issue):
    """A refusal is a TokenError, and leaves the user's token in use."""
    session = make_session(token=issue())
    old = session.token
    fake.fail(
        "client_token", "error", error="invalid_request", description="Client secret is missed in request."
    )

    with pytest.raises(TokenError) as caught:
        session.fetch_client_token()

    assert ("invalid_request", "Client secret is missed in request.") == (
        caught.value.error,
        caught.value.description,
    )
    assert old == session.token


@pytest.mark.parametrize("lost", [None, ""])
@pytest.mark.parametrize("forged", [False, True])
def test_state__lost_is_no_waiver_where_a_login_is_open(fake, make_session, lost, forged):
    """A web session that lost its state does not get by with whatever login is open on a shared session."""
    session = make_session()
    url, state = session.authorization_url()
    callback = fake.authorize(url)
    callback = callback.replace(f"&state={state}", "") if forged else callback

    with pytest.raises(StateMismatch):
        session.fetch_token(authorization_response=callback, state=lost)
    assert [] == fake.requests_to("token")
