"""The dialect: the authorize URL, and the client."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qsl, urlsplit

import pytest
from oauthlib.oauth2 import (
    BackendApplicationClient,
    InsecureTransportError,
    TokenExpiredError,
    WebApplicationClient,
)
from surfaces import CALLBACK, CHALLENGE, DESKTOP, VERIFIER

from tiktok_oauth_session import (
    BUSINESS,
    LOGIN_KIT,
    LOGIN_KIT_V1,
    SHOP,
    AuthorizationError,
    RevocationError,
)
from tiktok_oauth_session.compliance import (
    TikTokClient,
)
from tiktok_oauth_session.errors import StateMismatch

# --- the authorize URL ---------------------------------------------------------------------------------


def test_authorize_url__v2_web():
    """The web's URL is what TikTok's template says: client_key, and scopes with commas."""
    url = TikTokClient("fake-key").prepare_request_uri(
        LOGIN_KIT.authorization_endpoint,
        redirect_uri=CALLBACK,
        scope=["user.info.basic", "video.list"],
        state="fake-state",
    )

    page, _, query = url.partition("?")
    assert "https://www.tiktok.com/v2/auth/authorize/" == page
    assert sorted(
        [
            "client_key=fake-key",
            "response_type=code",
            "scope=user.info.basic%2Cvideo.list",
            "redirect_uri=https%3A%2F%2Fapp.example%2Fcallback%2F",
            "state=fake-state",
        ]
    ) == sorted(query.split("&"))


def test_authorize_url__v2_desktop():
    """The desktop's URL has the hex challenge and S256 beside the web's five."""
    client = TikTokClient("fake-key")

    url = client.prepare_request_uri(
        LOGIN_KIT.authorization_endpoint,
        redirect_uri=DESKTOP,
        scope="user.info.basic video.list",
        state="fake-state",
        code_challenge=client.create_code_challenge(VERIFIER, "S256"),
        code_challenge_method="S256",
    )

    expected = {
        "client_key": "fake-key",
        "response_type": "code",
        "scope": "user.info.basic,video.list",
        "redirect_uri": DESKTOP,
        "state": "fake-state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    assert expected == dict(parse_qsl(urlsplit(url).query))


def test_authorize_url__v1():
    """The legacy URL has the web's five parameters, and no others."""
    url = TikTokClient("fake-key", platform=LOGIN_KIT_V1).prepare_request_uri(
        LOGIN_KIT_V1.authorization_endpoint,
        redirect_uri=CALLBACK,
        scope=("user.info.basic", "video.list"),
        state="fake-state",
        code_challenge="fake",
        code_challenge_method="S256",
    )

    expected = {
        "client_key": "fake-key",
        "response_type": "code",
        "scope": "user.info.basic,video.list",
        "redirect_uri": CALLBACK,
        "state": "fake-state",
    }
    assert url.startswith("https://www.tiktok.com/auth/authorize/?")
    assert expected == dict(parse_qsl(urlsplit(url).query))


def test_authorize_url__shop():
    """Another surface's names are its platform's: no redirect_uri, no scope, no response_type."""
    url = TikTokClient("fake-key", platform=SHOP).prepare_request_uri(
        SHOP.authorization_endpoint,
        redirect_uri=CALLBACK,
        scope=["fake"],
        state="fake-state",
        service_id="fake-service",
    )

    assert {"service_id": "fake-service", "state": "fake-state"} == dict(parse_qsl(urlsplit(url).query))


def test_authorize_url__of_the_session(make_session):
    """The session's URL has exactly these parameters, and those that the caller adds."""
    url, state = make_session().authorization_url(disable_auto_auth=1)

    expected = {
        "client_key": "sbaw-test-key",
        "response_type": "code",
        "scope": "user.info.basic,video.list",
        "redirect_uri": CALLBACK,
        "state": state,
        "disable_auto_auth": "1",
    }
    assert expected == dict(parse_qsl(urlsplit(url).query))


def test_authorize_url__default_scope(make_session):
    """Who names no scope asks for user.info.basic."""
    url, _ = make_session(scope=None).authorization_url()

    assert "user.info.basic" == dict(parse_qsl(urlsplit(url).query))["scope"]


@pytest.mark.parametrize("name", ["client_secret", "code_verifier", "access_token", "refresh_token"])
def test_authorize_url__no_secret(make_session, name):
    """A secret does not become part of a URL that a browser is sent to, and is not in the error."""
    with pytest.raises(ValueError, match=name) as caught:
        make_session().authorization_url(**{name: "fake-secret"})

    assert "fake-secret" not in str(caught.value)


def test_authorize_url__over_plain_http():
    """Nobody is sent to a page over plain http."""
    with pytest.raises(InsecureTransportError):
        TikTokClient("fake-key").prepare_request_uri("http://www.tiktok.com/v2/auth/authorize/")


# --- the client ----------------------------------------------------------------------------------------


def test_challenge__test_vector():
    """The challenge is TikTok's: the hex SHA-256 of the verifier, in lower case."""
    client = TikTokClient("fake-key")

    assert CHALLENGE == client.create_code_challenge(VERIFIER, "S256") == client.code_challenge
    assert hashlib.sha256(VERIFIER.encode()).hexdigest() == CHALLENGE


@pytest.mark.parametrize("method", ["plain", None, "s256"])
def test_challenge__other_methods(method):
    """TikTok takes no other method."""
    with pytest.raises(ValueError, match="S256"):
        TikTokClient("fake-key").create_code_challenge(VERIFIER, method)


def test_client__of_another():
    """A plain web client is copied into one that speaks TikTok; any other one is left alone."""
    plain, other = WebApplicationClient("fake-key", state="fake"), BackendApplicationClient("fake-key")

    speaking = TikTokClient.of(plain, LOGIN_KIT_V1)

    assert (TikTokClient, LOGIN_KIT_V1, "fake-key") == (type(speaking), speaking.platform, speaking.client_id)
    assert WebApplicationClient is type(plain)
    assert other is TikTokClient.of(other, LOGIN_KIT)


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        (LOGIN_KIT, ("https://a.example/?x=1", {"X": "1", "Authorization": "Bearer act.fake*!"})),
        (LOGIN_KIT_V1, ("https://a.example/?x=1&access_token=act.fake%2A%21", {"X": "1"})),
        (BUSINESS, ("https://a.example/?x=1", {"X": "1", "Access-Token": "act.fake*!"})),
    ],
)
def test_client__shows_the_token(platform, expected):
    """The token is shown where the surface wants to see it, and the caller's headers are not changed."""
    client = TikTokClient("fake-key", platform=platform)
    client.token, headers = {"access_token": "act.fake*!"}, {"X": "1"}

    url, shown, body = client.add_token("https://a.example/?x=1", headers=headers, body=b"x")

    assert expected == (url.replace("*", "%2A").replace("!", "%21"), shown)
    assert (b"x", {"X": "1"}) == (body, headers)


@pytest.mark.parametrize(("seconds", "expired"), [(-1, False), (0, True), (1, True)])
def test_client__token_expired(clock, seconds, expired):
    """A plain session is told by TokenExpiredError that it is time to refresh."""
    client = TikTokClient("fake-key")
    client.token = {"access_token": "act.fake"}
    client._expires_at = clock.now - seconds

    if expired:
        with pytest.raises(TokenExpiredError):
            client.add_token("https://a.example/")
    else:
        assert "Authorization" in client.add_token("https://a.example/")[1]


def test_client__callback():
    """A plain session's callback is read: the code, if the state is right."""
    client = TikTokClient("fake-key")
    callback = f"{CALLBACK}?code=fake%2Acode&scopes=user.info.basic%2Cvideo.list&state=fake-state"

    answer = client.parse_request_uri_response(callback, state="fake-state")

    assert ("fake*code", "user.info.basic,video.list") == (client.code, answer["scopes"])
    with pytest.raises(StateMismatch):
        client.parse_request_uri_response(callback, state="fake-other")
    with pytest.raises(AuthorizationError, match="access_denied"):
        client.parse_request_uri_response(
            f"{CALLBACK}?error=access_denied&state=fake-state", state="fake-state"
        )


def test_client__revocation():
    """A surface that documents a parameter for revocation gets it, or an error that names it."""
    client = TikTokClient("fake-key", platform=LOGIN_KIT)

    _, _, parameters = client.prepare_token_revocation_request(
        "https://a.example/", "act.fake", "access_token", client_secret="fake-secret", open_id="fake-id"
    )

    assert {"client_key": "fake-key", "client_secret": "fake-secret", "token": "act.fake"} == parameters
    with pytest.raises(RevocationError, match="client_secret"):
        client.prepare_token_revocation_request("https://a.example/", "act.fake")
