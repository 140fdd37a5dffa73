"""When the session refreshes, and what a refresh that fails leaves behind."""

from __future__ import annotations

import io
import logging

import pytest
from oauthlib.oauth2 import InvalidGrantError, TokenExpiredError
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from tiktok_oauth_session import (
    LOGIN_KIT,
    LOGIN_KIT_V1,
    AccountKey,
    MemoryStore,
    ReauthorizationRequired,
    TokenError,
)
from tiktok_oauth_session.stores import StoreError

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
V1_USER_INFO = "https://open-api.tiktok.com/user/info/"


def endpoints(fake):
    """Where requests went, but for the browser's."""
    return [record.endpoint for record in fake.requests if record.endpoint != "authorize"]


@pytest.mark.parametrize(
    ("before_expiry", "refreshes"), [(601, 0), (600, 1), (599, 1), (1, 1), (0, 1), (-1, 1)]
)
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


def test_refresh__refused_after_a_401(fake, make_session, issue):
    """The error of a refresh that a 401 led to holds the answer to the refresh."""
    session = make_session(token=issue())
    fake.fail("user_info", "error", error="access_token_invalid", status=401)
    fake.fail("refresh", "status", status=429, retry_after=7)

    with pytest.raises(TokenError) as caught:
        session.get(USER_INFO)

    assert 429 == caught.value.status_code == caught.value.response.status_code
    assert "7" == caught.value.response.headers["Retry-After"]


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


def test_refresh__own_token_given_after_a_logout(fake, make_session, issue):
    """As with requests-oauthlib, the session's own refresh token may be given; a logout stays one."""
    store = MemoryStore()
    session = make_session(token=issue(), store=store)
    key = AccountKey(fake.client_key, session.open_id)
    session.refresh_token(refresh_token=session.token["refresh_token"])
    assert session.token == store.load(key)
    store.delete(key)

    with pytest.raises(ReauthorizationRequired):
        session.refresh_token(refresh_token=session.token["refresh_token"])

    assert store.load(key) is None
    assert len(fake.requests) == 1


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


def test_request__refused_with_other_credentials(fake, make_session, issue):
    """A refusal of the caller's own credentials spends no refresh token."""
    session = make_session(token=issue())
    response = session.get(
        "https://open.tiktokapis.com/v2/user/info/?fields=open_id", auth=("user", "fake-password")
    )

    assert 401 == response.status_code
    assert [] == fake.requests_to("refresh")


# --- streamed replies --------------------------------------------------------------------------------

DOWNLOAD_BYTES = 200_000


class Download(HTTPAdapter):
    """Answers every request with the same reply, and knows how much of its body was read."""

    def __init__(self, body, headers, status=200):
        super().__init__()
        self.body, self.headers, self.status = io.BytesIO(body), headers, status

    def send(self, request, **kwargs):
        options = {"status": self.status, "headers": self.headers, "preload_content": False}
        return self.build_response(request, HTTPResponse(self.body, **options))


@pytest.mark.parametrize(
    ("platform", "headers"),
    [
        (LOGIN_KIT_V1, {"Content-Type": "video/mp4", "Content-Length": "40"}),
        (LOGIN_KIT_V1, {"Content-Length": "40"}),
        (LOGIN_KIT_V1, {"Content-Type": "application/json"}),
        (LOGIN_KIT_V1, {"Content-Type": "application/json", "Content-Length": "65537"}),
        (LOGIN_KIT_V1, {"Content-Type": "application/json", "Content-Length": "many"}),
        (LOGIN_KIT_V1, {"Content-Type": "application/json", "Content-Length": "9" * 5_000}),
        (LOGIN_KIT, {"Content-Type": "application/json", "Content-Length": "40"}),
    ],
)
def test_stream__left_to_the_caller(make_session, issue, platform, headers):
    """Of a reply that the caller streams, nothing is read that is not known to be small and JSON."""
    body = b"x" * DOWNLOAD_BYTES
    adapter = Download(body, headers)
    session = make_session(token=issue(), platform=platform)
    session.mount("https://", adapter)

    response = session.get(f"{platform.api_base}/download/", stream=True)

    assert not adapter.body.closed
    assert 0 == adapter.body.tell()
    assert response.raw.read(10) == body[:10]


@pytest.mark.parametrize(
    ("platform", "method", "url"), [(LOGIN_KIT, "GET", USER_INFO), (LOGIN_KIT_V1, "POST", V1_USER_INFO)]
)
def test_stream__dead_token(fake, make_session, issue, platform, method, url):
    """A token that a streamed reply says is dead is refreshed all the same."""
    session = make_session(token=issue(), platform=platform)
    fake.advance(7200)

    response = session.request(method, url, json={"fields": ["open_id"]}, stream=True)
    text = b"".join(response.iter_content(16))

    assert b"open_id" in text
    assert ["user_info", "refresh", "user_info"] == endpoints(fake)


def test_stream__largest_that_is_looked_at(fake, make_session, issue):
    """A streamed reply of the legacy surface says that a token is dead in 65,536 bytes at most."""
    session = make_session(token=issue(), platform=LOGIN_KIT_V1)
    refusal = b'{"data": {"error_code": 2190008}, "message": "error"}'.ljust(65_536)
    headers = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(refusal))}
    session.mount(V1_USER_INFO, Download(refusal, headers))

    session.post(V1_USER_INFO, json={}, stream=True)

    assert ["refresh"] == endpoints(fake)


def test_stream__refused_without_a_length(fake, make_session, issue):
    """A 401 is looked at however it is sent: nobody asked for its body."""
    session = make_session(token=issue())
    refusal = b'{"data": {}, "error": {"code": "access_token_invalid"}}'
    session.mount(USER_INFO, Download(refusal, {"Content-Type": "application/json"}, 401))

    response = session.get(USER_INFO, stream=True)

    assert 401 == response.status_code
    assert ["refresh"] == endpoints(fake)
