"""The session's token: who is told of a new one, and what replaces it."""

from __future__ import annotations

import logging

import pytest
from requests_oauthlib import OAuth2Session
from werkzeug.utils import cached_property

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    MemoryStore,
    ReauthorizationRequired,
    TikTokOAuth2Session,
    TikTokToken,
    TokenNotSaved,
)
from tiktok_oauth_session.session import TikTokOAuth2Mixin

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
V1_USER_INFO = "https://open-api.tiktok.com/user/info/"


def endpoints(fake):
    """Where requests went, but for the browser's."""
    return [record.endpoint for record in fake.requests if record.endpoint != "authorize"]


# --- who is told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [None, MemoryStore])
def test_updater__after_refreshes_only(fake, make_session, log_in, clock, store):
    """As in the parent, the updater gets the tokens of refreshes: of no login, and not the app's own."""
    told = []
    session = make_session(token_updater=told.append, store=store and store())

    log_in(session)
    assert [] == told
    tokens = [session.refresh_token()]
    clock.advance(7200)
    session.get(USER_INFO)
    tokens.append(session.token)
    session.fetch_client_token()
    clock.advance(7200)
    session.get(V1_USER_INFO.replace("open-api.tiktok.com", "open.tiktokapis.com"))

    assert tokens == told
    assert [
        *("token", "refresh", "refresh", "user_info"),
        *("client_token", "client_token", "not_found"),
    ] == endpoints(fake)


def test_updater__before_the_token_is_used(make_session, issue):
    """The updater has the new token before the session uses it, and has a copy of its own."""
    old, held = issue(), []

    def update(token):
        held.append(session.token["access_token"])
        token.clear()

    session = make_session(token=old, token_updater=update)
    new = session.refresh_token()

    assert [old["access_token"]] == held
    assert new["access_token"] == session.token["access_token"] != old["access_token"]


def test_updater__failing_refresh(fake, make_session, issue):
    """A new token that the updater cannot take is in the error, and is handed over again first."""
    old, told = issue(), []

    def update(token):
        told.append(token)
        if len(told) == 1:
            raise OSError("fake disk full")

    session = make_session(token=old, token_updater=update)
    with pytest.raises(TokenNotSaved) as caught:
        session.refresh_token()

    assert old == session.token
    assert isinstance(caught.value.__cause__, OSError)

    again = session.refresh_token()

    assert caught.value.token == again == session.token == told[1]
    assert ["refresh"] == endpoints(fake)


def test_updater__not_asked_at_a_login(fake, make_session, log_in, issue):
    """A login whose user is not known yet works, although the updater could save nothing before it is."""

    def update(_):
        raise OSError("fake: which user?")

    session = make_session(token=issue(), token_updater=update)

    assert log_in(session) == session.token
    assert 200 == session.get(USER_INFO).status_code


def test_memory_only__said_once(make_session, issue, caplog):
    """With neither store nor updater one warning says that the new token will be lost, and one only."""
    session = make_session(token=issue(), token_updater=None)

    with caplog.at_level(logging.WARNING, "tiktok_oauth_session"):
        session.refresh_token()
        session.refresh_token()

    (record,) = caplog.records
    assert "memory only" in record.getMessage()


# --- beside a framework's session ----------------------------------------------------------------------


class FrameworkToken:
    """What Flask-Dance does to a session: its token is where the framework keeps each user's."""

    def __init__(self, *args, kept, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = kept
        del self.token

    @cached_property
    def token(self):
        return self.kept.get("token")


class FrameworkSession(FrameworkToken, OAuth2Session):
    """A framework's session."""


class MixinFirst(TikTokOAuth2Mixin, FrameworkSession):
    """The framework's session with ours before it."""


class MixinLast(FrameworkToken, TikTokOAuth2Session):
    """The framework's session on top of ours."""


@pytest.fixture(params=[MixinFirst, MixinLast])
def beside(request, fake):
    """A session beside a framework's, and where the framework keeps the user's token."""
    kept = {}

    def keep(token):
        kept["token"] = dict(token)
        del session.token

    session = request.param(
        fake.client_key,
        client_secret=fake.client_secret,
        redirect_uri="https://app.example/callback/",
        token_updater=keep,
        kept=kept,
    )
    session.mount("https://", fake.adapter())
    return session, kept


def test_beside__frameworks_token_counts(fake, beside, issue, clock):
    """The framework's token is used, refreshed and kept by the framework; one that it drops is gone."""
    session, kept = beside
    assert not session.token
    assert not session.authorized

    del session.token
    kept["token"] = dict(issue())
    first = session.get(USER_INFO)
    clock.advance(7200)
    second = session.get(USER_INFO)

    assert (200, 200) == (first.status_code, second.status_code)
    assert ["user_info", "refresh", "user_info"] == endpoints(fake)
    assert f"Bearer {kept['token']['access_token']}" == second.request.headers["Authorization"]
    assert kept["token"] == session.token
    assert session.authorized

    kept.clear()
    del session.token
    assert not session.token
    assert not session.authorized


def test_beside__used_before_it_is_kept(fake, beside, log_in):
    """A framework asks whose a new login is with the token that it can keep only afterwards."""
    session, kept = beside
    assert not session.token

    token = log_in(session)
    response = session.get(USER_INFO)

    assert {} == kept
    assert 200 == response.status_code
    assert f"Bearer {token['access_token']}" == response.request.headers["Authorization"]


# --- the token attribute -------------------------------------------------------------------------------


def test_token__is_a_copy(make_session, issue):
    """Changing the dict that a session was made with changes nothing in the session."""
    given = dict(issue())
    session = make_session(token=given)
    expected = dict(given)
    given.clear()

    assert expected == session.token
    assert isinstance(session.token, TikTokToken)


def test_token__deleted(fake, make_session, issue):
    """A token that is deleted is forgotten by the session; a store keeps it, and is asked again."""
    token, store = issue(), MemoryStore()
    alone, sharing = make_session(token=token), make_session(token=token, store=store)

    del alone.token, sharing.token
    alone.get(USER_INFO)

    assert (TikTokToken(), TikTokToken(token, issuer=LOGIN_KIT.issuer)) == (alone.token, sharing.token)
    assert "Authorization" not in fake.requests[-1].headers


def test_token__assigned(fake, make_session, issue):
    """An assigned token is used from the next request on, whoever's it is."""
    session = make_session(token=issue())
    other = issue(user=fake.add_user("fake-other"))

    session.token = other
    session.get(USER_INFO)

    assert f"Bearer {other['access_token']}" == fake.requests[-1].headers["Authorization"]
    assert "fake-other" == session.open_id


def test_token__assigned_without_expiry(fake, make_session, issue, clock):
    """Nothing of the old token's expiry is left when one without an expiry is assigned."""
    session = make_session(token=issue())
    clock.advance(7200)

    session.token = {"access_token": "act.fake"}
    session.get("https://open.tiktokapis.com/v2/x/")

    assert ["not_found"] == endpoints(fake)
    assert "Bearer act.fake" == fake.requests[0].headers["Authorization"]


@pytest.mark.parametrize("nothing", [None, {}])
def test_token__taken_away(fake, make_session, issue, nothing):
    """A session whose token was taken away is not authorized, and shows none."""
    session = make_session(token=issue())
    assert session.authorized

    session.token = nothing
    session.get(USER_INFO)

    assert ({}, False) == (session.token, session.authorized)
    assert "Authorization" not in fake.requests[0].headers


def test_token__assigned_is_stored(fake, make_session, issue):
    """Assigning a token hands it to the store."""
    store, token = MemoryStore(), issue()

    make_session(store=store).token = token

    stored = store.load(AccountKey(fake.client_key, token["open_id"]))
    assert TikTokToken(token, issuer=LOGIN_KIT.issuer) == stored


def test_token__the_store_knows_better(fake, make_session, issue):
    """A session begun with an old token takes the store's, which is newer."""
    store, old, new = MemoryStore(), issue(), issue()
    store.save(AccountKey(fake.client_key, new["open_id"]), new)

    session = make_session(store=store, token=old)

    assert new == session.token
    assert new == store.load(AccountKey(fake.client_key, new["open_id"]))


def test_token__of_an_account_of_the_store(fake, make_session, log_in):
    """A session is made of a store and an open_id, without a token; a refresh by one is seen by the other."""
    store = MemoryStore()
    first = make_session(store=store)
    log_in(first)
    second = make_session(store=store, open_id=first.open_id)
    assert first.token == second.token

    renewed, adopted = first.refresh_token(), second.refresh_token()

    assert renewed == adopted == second.token == store.load(AccountKey(fake.client_key, first.open_id))
    assert ["token", "refresh"] == endpoints(fake)


def test_token__account_not_in_the_store(fake, make_session):
    """An account that the store does not hold has to log in; the request is not sent bare."""
    session = make_session(store=MemoryStore(), open_id="fake-nobody")

    with pytest.raises(ReauthorizationRequired):
        session.get(USER_INFO)

    assert [] == fake.requests
