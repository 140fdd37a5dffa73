"""TikTok for Business: the logins of account holders and advertisers, from their page to their end."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from pages import blocks, run
from surfaces import CALLBACK

from tiktok_oauth_session import (
    BUSINESS,
    BUSINESS_ADVERTISER,
    LOGIN_KIT_V1,
    SHOP,
    AccountKey,
    APIError,
    AuthorizationError,
    FileStore,
    MemoryStore,
    ReauthorizationRequired,
    RevocationError,
    TokenError,
    revoke_token,
    unwrap,
)

PAGE = "docs/business.md"
BUSINESS_GET = "/business/get/"
ADVERTISERS = "/oauth2/advertiser/get/"


@pytest.fixture
def holder(make_session):
    """A session of an account holder."""
    return make_session(platform=BUSINESS, store=MemoryStore(), token_updater=None)


@pytest.fixture
def advertiser(make_session):
    """A session of an advertiser."""
    return make_session(
        platform=BUSINESS_ADVERTISER, store=MemoryStore(), token_updater=None, open_id="fake-agency"
    )


def ask(session):
    """Call the API for the account."""
    return session.get(BUSINESS_GET, params={"business_id": session.open_id, "fields": '["display_name"]'})


# --- what is sent --------------------------------------------------------------------------------------


def test_authorize_url__holder(holder, fake):
    """The page is Login Kit's, without its slash and without PKCE."""
    url, state = holder.authorization_url()

    assert url.startswith("https://www.tiktok.com/v2/auth/authorize?")
    assert {
        "client_key": [fake.client_key],
        "response_type": ["code"],
        "redirect_uri": [CALLBACK],
        "scope": ["user.info.basic,video.list"],
        "state": [state],
    } == parse_qs(urlsplit(url).query)


def test_authorize_url__advertiser(advertiser, fake):
    """The page wants the app's id, and no scope."""
    url, state = advertiser.authorization_url()

    assert url.startswith("https://business-api.tiktok.com/portal/auth?")
    assert {"app_id": [fake.client_key], "redirect_uri": [CALLBACK], "state": [state]} == parse_qs(
        urlsplit(url).query
    )


@pytest.mark.parametrize(
    ("platform", "lacks"),
    [
        (BUSINESS, "client_key"),
        (BUSINESS, "redirect_uri"),
        (BUSINESS, "scope"),
        (BUSINESS_ADVERTISER, "client_key"),
        (BUSINESS_ADVERTISER, "redirect_uri"),
    ],
)
def test_authorize_url__not_registered(make_session, platform, lacks):
    """Nobody is sent to a page that can only show an error."""
    session = make_session(platform=platform)
    setattr(session, "client_id" if lacks == "client_key" else lacks, None)

    with pytest.raises(ValueError, match=f"needs the {lacks}"):
        session.authorization_url()


@pytest.mark.parametrize("platform", [LOGIN_KIT_V1, BUSINESS, BUSINESS_ADVERTISER, SHOP])
def test_authorize_url__no_pkce(make_session, platform):
    """Who asks for PKCE where there is none is told so, instead of being sent without it."""
    session = make_session(platform=platform, pkce="S256")

    with pytest.raises(ValueError, match="knows no PKCE"):
        session.authorization_url(service_id="7")


def test_authorize_url__copied_from_the_portal(make_session, fake):
    """Of the portal's link everything stays but its state, and what the session has itself."""
    link = (
        "https://www.tiktok.com/v2/auth/authorize?client_key=from-the-portal&scope=user.info.basic"
        "&response_type=code&redirect_uri=https%3A%2F%2Fother.example%2F&state=your_custom_params&rid=7&empty="
    )
    session = make_session(platform=BUSINESS, scope=None)
    url, state = session.authorization_url(link)
    query = urlsplit(url).query

    assert {
        "client_key": [fake.client_key],
        "scope": ["user.info.basic"],
        "response_type": ["code"],
        "redirect_uri": [CALLBACK],
        "state": [state],
        "rid": ["7"],
        "empty": [""],
    } == parse_qs(query, keep_blank_values=True)


@pytest.mark.parametrize("redirect_uri", [CALLBACK, None])
def test_authorize_url__portal_link_alone(make_session, fake, redirect_uri):
    """The redirect URI of a link is not known to the session, which sends its own with the code."""
    session = make_session(platform=BUSINESS, scope=None, redirect_uri=redirect_uri)
    link = (
        f"{BUSINESS.authorization_endpoint}?scope=user.info.basic&response_type=code&redirect_uri={CALLBACK}"
    )
    callback = fake.authorize(session.authorization_url(link)[0])

    if redirect_uri:
        assert session.fetch_token(authorization_response=callback).access_token
    else:
        with pytest.raises(TokenError):
            session.fetch_token(authorization_response=callback)


def test_requests__holder(holder, fake, log_in):
    """Each request is JSON with the names that are documented, and nothing else."""
    log_in(holder)
    first = dict(holder.token)
    assert 200 == ask(holder).status_code
    holder.refresh_token()
    second = dict(holder.token)
    holder.revoke_token()

    app = {"client_id": fake.client_key, "client_secret": fake.client_secret}
    token, call, refresh, revoke = fake.requests[-4:]
    assert {
        **app,
        "grant_type": "authorization_code",
        "auth_code": token.json["auth_code"],
        "redirect_uri": CALLBACK,
    } == token.json
    assert (first["access_token"], None) == (call.headers["Access-Token"], call.headers.get("Authorization"))
    assert {**app, "grant_type": "refresh_token", "refresh_token": first["refresh_token"]} == refresh.json
    assert {**app, "access_token": second["access_token"]} == revoke.json
    assert [{}] * 4 == [each.form for each in (token, call, refresh, revoke)]
    assert ["POST", "GET", "POST", "POST"] == [each.method for each in (token, call, refresh, revoke)]


def test_requests__advertiser(advertiser, fake, log_in):
    """Each request is JSON with the names that are documented, and nothing else."""
    token = log_in(advertiser)
    advertiser.revoke_token()

    app = {"app_id": fake.client_key, "secret": fake.client_secret}
    exchange, revoke = fake.requests[-2:]
    assert {**app, "auth_code": exchange.json["auth_code"]} == exchange.json
    assert {**app, "access_token": token["access_token"]} == revoke.json


# --- a holder's life -----------------------------------------------------------------------------------


def test_holder__token(holder, log_in):
    """The token is what every other session has, under its user's id."""
    token = log_in(holder)

    key = AccountKey(holder.client_id, token.open_id)
    assert holder.store.load(key) == token
    assert ["user.info.basic", "video.list"] == holder.granted_scopes
    assert {"expires_at", "expires_in", "refresh_expires_at", "refresh_expires_in"} <= token.keys()
    assert "refresh_token_expires_in" not in token


def test_holder__expired(holder, clock, fake, log_in):
    """An expired token is refreshed before the call, once."""
    log_in(holder)
    clock.advance(7201)

    assert 200 == ask(holder).status_code
    assert [1, 0] == [len(fake.requests_to("refresh")), fake.reuse_attempts]


@pytest.mark.parametrize("code", [40102, 40104, 40105])
def test_holder__refused_with_200(holder, fake, log_in, code):
    """A reply with HTTP 200 that refuses the token leads to another token and the same call once more."""
    log_in(holder)
    fake.fail("user_info", "error", code=code)

    assert {"display_name": "Fake User"} == unwrap(ask(holder))
    assert 1 == len(fake.requests_to("refresh"))


@pytest.mark.parametrize("code", [40001, 40100, 40130, 40132, 61000])
def test_holder__refused_for_another_reason(holder, fake, log_in, code):
    """Any other refusal is the caller's, and no reason to refresh."""
    log_in(holder)
    fake.fail("user_info", "error", code=code)

    with pytest.raises(APIError) as caught:
        unwrap(ask(holder))

    assert (str(code), code) == (caught.value.error, caught.value.error_code)
    assert [] == fake.requests_to("refresh")


def test_holder__removed_at_tiktok(holder, clock, fake, log_in):
    """Who has removed the app has to log in again, and nothing is asked twice."""
    log_in(holder)
    fake.remove_connection(holder.open_id)
    clock.advance(7201)

    for _ in range(2):
        with pytest.raises(ReauthorizationRequired):
            ask(holder)
    assert 1 == len(fake.requests_to("refresh"))


def test_holder__revoked_without_a_session(holder, fake, log_in, monkeypatch):
    """The helper revokes it, too."""
    token = log_in(holder)
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)

    revoke_token(token, client_key=fake.client_key, client_secret=fake.client_secret, platform=BUSINESS)

    assert not fake.is_alive(token.refresh_token)


def test_holder__cancelled(holder, fake):
    """A user who cancels is an AuthorizationError."""
    url, _ = holder.authorization_url()

    with pytest.raises(AuthorizationError) as caught:
        holder.fetch_token(authorization_response=fake.authorize(url, deny=True))
    assert caught.value.error == "access_denied"


def test_holder__code_twice(holder, make_session, fake):
    """A code that was used is refused in OAuth's words, with TikTok's number."""
    url, _ = holder.authorization_url()
    callback = fake.authorize(url)
    holder.fetch_token(authorization_response=callback)
    code = parse_qs(urlsplit(callback).query)["code"][0]

    with pytest.raises(TokenError) as caught:
        make_session(platform=BUSINESS).fetch_token(code=code)
    assert ("invalid_grant", 40110) == (caught.value.error, caught.value.error_code)


def test_refresh__partial_success(holder, fake, log_in):
    """A token that came is a token, whatever else was not done."""
    log_in(holder)
    data = {**fake.issue_token(surface="business"), "open_id": holder.open_id}
    body = json.dumps({"code": 20001, "message": "Partial success", "data": data}).encode()
    fake.fail("refresh", "body", body=body, headers={"Content-Type": "application/json"})

    assert data["access_token"] == holder.refresh_token().access_token


def test_unwrap__no_data(holder, fake, log_in):
    """A success without data is one."""
    log_in(holder)
    body = b'{"code": 0, "message": "OK", "request_id": "1"}'
    fake.fail("user_info", "body", body=body, headers={"Content-Type": "application/json"})

    assert {} == unwrap(ask(holder))


def test_error__number_once(holder, fake, log_in):
    """A number that is the error's name is said once."""
    log_in(holder)
    fake.fail("user_info", "error", code=40001)

    with pytest.raises(APIError, match=r"refused the call: 40001: "):
        unwrap(ask(holder))


def test_unwrap__partial_success(holder, fake, log_in):
    """What was done in part is returned."""
    log_in(holder)
    body = b'{"code": 20001, "message": "Partial success", "request_id": "1", "data": {"list": [1]}}'
    fake.fail("user_info", "body", body=body, headers={"Content-Type": "application/json"})

    assert {"list": [1]} == unwrap(ask(holder))


# --- an advertiser's life ------------------------------------------------------------------------------


def test_advertiser__token(advertiser, log_in, clock):
    """The token has no end, and is kept under the name that it was given."""
    token = log_in(advertiser)
    clock.advance(10 * 365 * 86_400)

    assert {} == {name: token[name] for name in ("expires_at", "refresh_token", "open_id") if name in token}
    assert token["advertiser_ids"]
    assert advertiser.store.load(AccountKey(advertiser.client_id, "fake-agency")) == token
    app = {"app_id": advertiser.client_id, "secret": advertiser.client_secret}
    assert 0 == advertiser.get(ADVERTISERS, params=app).json()["code"]


def test_advertiser__code_by_either_name(advertiser, fake):
    """The code of the callback may have no other name than TikTok's own."""
    url, _ = advertiser.authorization_url()
    callback = fake.authorize(url)
    assert {"auth_code", "code", "state"} == parse_qs(urlsplit(callback).query).keys()
    address, _, query = callback.partition("?")
    kept = "&".join(pair for pair in query.split("&") if not pair.startswith("code="))

    assert advertiser.fetch_token(authorization_response=f"{address}?{kept}").access_token


def test_advertiser__code_twice_in_one_callback(advertiser):
    """A callback that repeats the code, by either name, is none of TikTok's."""
    _, state = advertiser.authorization_url()

    with pytest.raises(AuthorizationError, match="repeats auth_code"):
        advertiser.fetch_token(authorization_response=f"{CALLBACK}?auth_code=a&auth_code=b&state={state}")


def test_advertiser__works_and_cannot_be_refreshed(advertiser, log_in):
    """Who refreshes a token that lives on is told that nothing refreshes it, not that it is dead."""
    log_in(advertiser)

    with pytest.raises(ReauthorizationRequired, match=r"no refresh token .* once it no longer works"):
        advertiser.refresh_token()


def test_advertiser__needs_a_name(make_session, fake):
    """Without a name for the account nothing is spent that a store could not keep."""
    session = make_session(platform=BUSINESS_ADVERTISER, store=MemoryStore(), token_updater=None)
    url, _ = session.authorization_url()

    with pytest.raises(ValueError, match="pass `open_id=`"):
        session.fetch_token(authorization_response=fake.authorize(url))
    assert [] == fake.requests_to("token")


def test_advertiser__without_a_store(make_session, log_in):
    """Without a store no name is needed."""
    assert log_in(make_session(platform=BUSINESS_ADVERTISER)).access_token


def test_advertiser__revoked_at_tiktok(advertiser, fake, log_in):
    """A token that was revoked leads to a new login, and to no request that could not help."""
    log_in(advertiser)
    fake.fail("advertisers", "error", code=40105)

    with pytest.raises(ReauthorizationRequired):
        advertiser.get(ADVERTISERS, params={"app_id": fake.client_key, "secret": fake.client_secret})
    assert [] == fake.requests_to("refresh")


@pytest.mark.parametrize("platform", [BUSINESS, BUSINESS_ADVERTISER])
def test_tokens_of_the_app(make_session, platform, fake):
    """There is no token of the app itself, and nothing is sent to find that out."""
    with pytest.raises(TokenError, match="has no client tokens"):
        make_session(platform=platform).fetch_client_token()
    assert [] == fake.requests


@pytest.mark.parametrize("platform", [BUSINESS, BUSINESS_ADVERTISER])
def test_qr_login(make_session, platform):
    """There is no login by QR code."""
    with pytest.raises(ValueError, match="QR code"):
        make_session(platform=platform).start_qr_login()


# --- the page ------------------------------------------------------------------------------------------


def test_page(fake, monkeypatch, tmp_path, capsys):
    """The programs of the page log in and call the API."""
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    monkeypatch.chdir(tmp_path)
    names = {"APP_ID": fake.client_key, "APP_SECRET": fake.client_secret}
    holder, called, advertiser, listed = blocks(PAGE)
    run(holder, PAGE, names)
    names["callback"] = fake.authorize(names["url"])
    run(called, PAGE, names)
    run(advertiser, PAGE, names)
    names["callback"] = fake.authorize(names["url"])
    run(listed, PAGE, names)

    out = capsys.readouterr().out
    assert "'display_name': 'Fake User'" in out
    assert 2 == len(list(FileStore("tokens").keys()))
    with pytest.raises(RevocationError):
        # Who has no store revokes by the token.
        revoke_token("", platform=BUSINESS_ADVERTISER)
