"""A plain requests_oauthlib.OAuth2Session that was taught TikTok's dialect by `tiktok_compliance_fix`."""

from __future__ import annotations

import time

import pytest
from requests_oauthlib import OAuth2Session

from tiktok_oauth_session import LOGIN_KIT, LOGIN_KIT_V1, SHOP, TokenError, tiktok_compliance_fix

CALLBACK = "https://app.example/callback/"
DESKTOP = "http://127.0.0.1:3455/callback/"
USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
V1_USER_INFO = "https://open-api.tiktok.com/user/info/"


@pytest.fixture
def plain(fake):
    """Makes plain OAuth2Sessions that were taught TikTok's dialect."""
    made = []

    def make(platform, **options):
        options = {"scope": ["user.info.basic", "video.list"], "redirect_uri": CALLBACK, **options}
        session = OAuth2Session(fake.client_key, **options)
        session.mount("https://", fake.adapter())
        made.append(session)
        return tiktok_compliance_fix(session, platform=platform, client_secret=fake.client_secret)

    yield make
    for session in made:
        session.close()


def log_in_plainly(session, fake, platform, **choices):
    """Log in as the documentation of requests-oauthlib says."""
    url, _ = session.authorization_url(platform.authorization_endpoint)
    return session.fetch_token(
        platform.token_endpoint,
        authorization_response=fake.authorize(url, **choices),
        client_secret=fake.client_secret,
        include_client_id=True,
    )


def call_the_api(session, platform):
    """Read the profile."""
    if platform is LOGIN_KIT:
        return session.get(USER_INFO).json()
    return session.post(V1_USER_INFO, json={"fields": ["open_id"]}).json()


PLATFORMS = {"v2": LOGIN_KIT, "v1": LOGIN_KIT_V1}


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
def test_plain_session__logs_in(fake, plain, platform):
    """A plain session logs in, with the documented parameters only, and calls the API."""
    session = plain(platform)

    token = log_in_plainly(session, fake, platform)

    (record,) = fake.requests_to("token")
    names = {"client_key", "client_secret", "grant_type", "code"}
    if platform is LOGIN_KIT:
        assert (names | {"redirect_uri"}, set()) == (set(record.form), set(record.query))
    else:
        assert (names, set()) == (set(record.query), set(record.form))
    assert "Authorization" not in record.headers
    assert (7200, "user.info.basic,video.list") == (token["expires_in"], token["scope"])
    assert token["open_id"] == call_the_api(session, platform)["data"]["user"]["open_id"]


def test_plain_session__shop(fake, plain):
    """A plain session logs a seller in by GET; of its refresh, which is a POST, nothing comes."""
    session = plain(SHOP, redirect_uri=None, scope=None)
    url, _ = session.authorization_url(SHOP.authorization_endpoint, service_id=fake.service_id)
    options = {"client_secret": fake.client_secret, "include_client_id": True}
    callback = fake.authorize(url)

    token = session.fetch_token(SHOP.token_endpoint, authorization_response=callback, method="GET", **options)

    assert fake.is_alive(token["access_token"])
    with pytest.raises(TokenError):
        session.refresh_token(SHOP.refresh_endpoint)
    assert fake.is_alive(token["refresh_token"])


def test_plain_session__pkce(fake, plain):
    """A plain session with `pkce="S256"` sends TikTok's hex challenge, which fits its verifier."""
    session = plain(LOGIN_KIT, redirect_uri=DESKTOP, pkce="S256")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "")
        token = log_in_plainly(session, fake, LOGIN_KIT)

    assert fake.is_alive(token["access_token"])
    assert {"code_verifier"} < set(fake.requests_to("token")[0].form)


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
def test_plain_session__partial_consent(fake, plain, platform):
    """A user who grants less than was asked is logged in: no warning is raised."""
    token = log_in_plainly(plain(platform), fake, platform, grant=["user.info.basic"])

    assert "user.info.basic" == token["scope"]


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
def test_plain_session__refreshes(fake, plain, clock, platform):
    """A plain session refreshes by itself, with nothing of the API request in the refresh."""
    told = []
    session = plain(platform, auto_refresh_url=platform.refresh_endpoint, token_updater=told.append)
    old = dict(log_in_plainly(session, fake, platform))
    clock.advance(7200)

    profile = call_the_api(session, platform)

    (record,) = fake.requests_to("refresh")
    names = {"client_key", "grant_type", "refresh_token"}
    if platform is LOGIN_KIT:
        assert (names | {"client_secret"}, set()) == (set(record.form), set(record.query))
    else:
        assert (names, set()) == (set(record.query), set(record.form))
    assert old["refresh_token"] == record.parameters["refresh_token"]
    assert old["open_id"] == profile["data"]["user"]["open_id"] == told[0]["open_id"]
    assert old["access_token"] != told[0]["access_token"]


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
def test_plain_session__refused(fake, plain, platform):
    """A refusal is a TokenError with TikTok's words, whatever envelope they came in."""
    session = plain(platform)
    _, state = session.authorization_url(platform.authorization_endpoint)

    with pytest.raises(TokenError) as caught:
        session.fetch_token(
            platform.token_endpoint,
            authorization_response=f"{CALLBACK}?code=fake-code&state={state}",
            client_secret=fake.client_secret,
            include_client_id=True,
        )

    assert "invalid_grant" == caught.value.error
    assert caught.value.description.startswith("Authorization code")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"<html>", b'{"access_token": null}'])
def test_plain_session__malformed_reply(fake, plain, body):
    """A malformed reply is a TokenError on a plain session, too."""
    session = plain(LOGIN_KIT, token={"access_token": "act.fake", "expires_at": time.time() + 60})
    fake.fail("refresh", "body", body=body)

    with pytest.raises(TokenError):
        session.refresh_token(LOGIN_KIT.refresh_endpoint, refresh_token="rft.fake")

    assert "act.fake" == session.token["access_token"]
