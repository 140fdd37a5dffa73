"""The session's token: who is told of a new one, and what becomes of the old one."""

from __future__ import annotations

import logging

import pytest
from oauthlib.oauth2 import InvalidGrantError, TokenExpiredError
from tiktok_oauth_session import (
    LOGIN_KIT_V1,
    AccountKey,
    MemoryStore,
    ReauthorizationRequired,
    TikTokToken,
    TokenError,
    TokenNotSaved,
)
from tiktok_oauth_session.stores import StoreError

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
V1_USER_INFO = "https://open-api.tiktok.com/user/info/"


def endpoints(fake):
    return [record.endpoint for record in fake.requests if record.endpoint != "authorize"]


# --- who is told ---------------------------------------------------------------------------------------


def test_updater__after_every_change(fake, make_session, log_in, clock):
    """The updater gets every new token: of a login, of both kinds of refresh, and the app's own."""
    told = []
    session = make_session(token_updater=told.append)

    tokens = [log_in(session), session.refresh_token()]
    clock.advance(7200)
    session.get(USER_INFO)
    tokens += [session.token, session.fetch_client_token()]

    assert tokens == told
    assert ["token", "refresh", "refresh", "user_info", "client_token"] == endpoints(fake)


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
    """A new token that the updater cannot take is in the error, and is handed over again before anything else."""
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


def test_updater__failing_login(fake, make_session, log_in, issue):
    """A login whose token cannot be handed over leaves the old token in use; the new one is in the error."""
    old = issue()

    def update(_):
        raise OSError("fake disk full")

    session = make_session(token=old, token_updater=update)
    with pytest.raises(TokenNotSaved) as caught:
        log_in(session)

    assert old == session.token
    assert fake.is_alive(caught.value.token["access_token"])
    assert 200 == session.get(USER_INFO).status_code
    assert f"Bearer {old['access_token']}" == fake.requests[-1].headers["Authorization"]


def test_memory_only__said_once(make_session, issue, caplog):
    """With neither store nor updater one warning says that the new token will be lost, and one only."""
    session = make_session(token=issue(), token_updater=None)

    with caplog.at_level(logging.WARNING, "tiktok_oauth_session"):
        session.refresh_token()
        session.refresh_token()

    (record,) = caplog.records
    assert "memory only" in record.getMessage()


# --- the token attribute -------------------------------------------------------------------------------


def test_token__is_a_copy(make_session, issue):
    """Changing the dict that a session was made with changes nothing in the session."""
    given = dict(issue())
    session = make_session(token=given)
    expected = dict(given)
    given.clear()

    assert expected == session.token
    assert isinstance(session.token, TikTokToken)


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

    assert token == store.load(AccountKey(fake.client_key, token["open_id"]))


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


# --- refreshing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before_expiry", "refreshes"), [(601, 0), (600, 1), (599, 1), (1, 1), (0, 1), (-1, 1)])
def test_refresh__when_it_is_due(fake, make_session, issue, clock, before_expiry, refreshes):
    """A token of two hours is refreshed from ten minutes before its end, and not a second sooner."""
    session = make_session(token=issue())
    clock.advance(7200 - before_expiry)

    response = session.get(USER_INFO)

    assert 200 == response.status_code
    assert refreshes == len(fake.requests_to("refresh"))
    assert f"Bearer {session.token['access_token']}" == fake.requests[-1].headers["Authorization"]


def test_refresh__lifetime_counts_from_before_the_request(fake, make_session, issue, clock):
    """However long the reply takes, the token is not believed to live longer than it does."""
    session = make_session(token=issue())
    asked_at = clock.now
    fake.before("refresh", lambda record: clock.advance(20))

    token = session.refresh_token()

    assert (asked_at + 7200, asked_at + 15_552_000) == (token["expires_at"], token["refresh_expires_at"])


@pytest.mark.parametrize("before_expiry", [600, 100, 1])
def test_refresh__failed_while_the_old_token_works(fake, make_session, issue, clock, caplog, before_expiry):
    """While the old token works a failed refresh is a log line, and is not repeated at every request."""
    session = make_session(token=issue())
    old = session.token
    clock.advance(7200 - before_expiry)
    fake.fail("refresh", "error", error="invalid_request", description="fake", times=None)

    with caplog.at_level(logging.WARNING, "tiktok_oauth_session"):
        responses = [session.get(USER_INFO), session.get(USER_INFO)]

    assert [200, 200] == [response.status_code for response in responses]
    assert ["refresh", "user_info", "user_info"] == endpoints(fake)
    assert old == session.token
    assert 1 == len([record for record in caplog.records if "still works" in record.getMessage()])


def test_refresh__failed_after_expiry(fake, make_session, issue, clock):
    """After the expiry a failed refresh is an error; the next request tries again and goes on."""
    session = make_session(token=issue())
    old = session.token
    clock.advance(7200)
    fake.fail("refresh", "error", error="server_error", description="fake")

    with pytest.raises(TokenError) as caught:
        session.get(USER_INFO)
    assert ("server_error", old) == (caught.value.error, session.token)

    assert 200 == session.get(USER_INFO).status_code
    assert ["refresh", "refresh", "user_info"] == endpoints(fake)


def test_refresh__refused_for_good(fake, make_session, issue, clock):
    """A refused refresh token means a new login; TikTok is not asked a second time."""
    store = MemoryStore()
    session = make_session(token=issue(), store=store)
    fake.remove_connection(session.open_id)
    clock.advance(7200)

    for _ in range(2):
        with pytest.raises(ReauthorizationRequired) as caught:
            session.get(USER_INFO)
        assert isinstance(caught.value, InvalidGrantError)
        assert "invalid_grant" == caught.value.error

    assert ["refresh"] == endpoints(fake)
    assert store.load(AccountKey(fake.client_key, session.open_id)) is not None


def test_refresh__given_token(fake, make_session, issue):
    """`refresh_token=` spends another refresh token than the session's."""
    session, other = make_session(token=issue()), issue()

    session.refresh_token(refresh_token=other["refresh_token"])

    (record,) = fake.requests
    assert other["refresh_token"] == record.form["refresh_token"]


def test_refresh__auto_refresh_url(fake, make_session, issue, clock):
    """`auto_refresh_url`, as the parent has it, takes the place of the platform's endpoint."""
    session = make_session(token=issue(), auto_refresh_url="https://proxy.example/v2/oauth/token/")
    clock.advance(7200)

    session.get(USER_INFO)

    assert "https://proxy.example/v2/oauth/token/" == fake.requests[0].url
    assert ["refresh", "user_info"] == endpoints(fake)


def test_refresh__without_secret(fake, make_session, issue, clock):
    """A session without the secret uses its token until it expires, and then says what it lacks."""
    session = make_session(token=issue(), client_secret=None)
    clock.advance(7199)
    assert 200 == session.get(USER_INFO).status_code
    clock.advance(1)

    with pytest.raises(TokenError, match="client_secret"):
        session.get(USER_INFO)

    assert ["user_info"] == endpoints(fake)


def test_refresh__secret_of_the_request(fake, make_session, issue, clock):
    """Credentials passed to `request`, as Flask-Dance does it, serve the refresh."""
    session = make_session(token=issue(), client_secret=None)
    clock.advance(7200)

    response = session.get(USER_INFO, client_id=fake.client_key, client_secret=fake.client_secret)

    assert 200 == response.status_code
    assert ["refresh", "user_info"] == endpoints(fake)


def test_refresh__v1_needs_no_secret(fake, make_session, issue, clock):
    """The legacy surface refreshes without a secret."""
    session = make_session(token=issue(), client_secret=None, platform=LOGIN_KIT_V1)
    clock.advance(7200)

    session.post(V1_USER_INFO, json={"fields": ["open_id"]})

    assert ["refresh", "user_info"] == endpoints(fake)


@pytest.mark.parametrize("expiry", [{}, {"expires_at": 1_800_007_200}], ids=["unknown", "known"])
def test_refresh__without_refresh_token(fake, make_session, issue, clock, expiry):
    """A token without a refresh token is used until TikTok refuses it; the error says what is missing."""
    token = {"access_token": issue()["access_token"], **expiry}
    session = make_session(token=token)
    assert 200 == session.get(USER_INFO).status_code
    clock.advance(7200)

    with pytest.raises(ReauthorizationRequired, match="refresh token") as caught:
        session.get(USER_INFO)

    assert isinstance(caught.value, TokenExpiredError)
    assert [] == fake.requests_to("refresh")
    assert token == session.token


def test_refresh__unwritable_store_found_out_first(fake, make_session, issue, monkeypatch):
    """A store that cannot be written is found out before the refresh token is spent."""
    store = MemoryStore()
    session = make_session(token=issue(), store=store)

    def save(*args, **options):
        raise StoreError("fake disk full")

    monkeypatch.setattr(store, "save", save)

    with pytest.raises(StoreError):
        session.refresh_token()

    assert [] == fake.requests
    assert fake.is_alive(session.token["refresh_token"])
