"""The fake TikTok's token and revocation endpoints: codes, rotation, lifetimes, strictness."""

from __future__ import annotations

import hashlib
import threading
import time
from base64 import urlsafe_b64encode
from urllib.parse import quote

import pytest
from token_client import TOKEN_URL, WEB, TokenClient

from tiktok_oauth_session.testing import FakeTikTok

REVOKE_URL = "https://open.tiktokapis.com/v2/oauth/revoke/"
DESKTOP = "http://127.0.0.1:8123/callback/"
# The vector of the Android SDK's unit test.
VERIFIER = "gaeCq5mVvbhA8Ce6w5O9XBVIKMkySgv-_9A-rnhm9Ns"
CHALLENGE = "e6a178b120743d08509508f269652b0bdf91e29332921bc9e9744fd3dd41bfef"


@pytest.fixture
def fake():
    """A fresh fake."""
    return FakeTikTok()


@pytest.fixture
def client(fake):
    """A client of the fake."""
    return TokenClient(fake)


def told(body):
    """Return the error and TikTok's own words, without the detail."""
    return body["error"], body["error_description"].partition(" (")[0]


def test_code__is_exchanged_once(client, fake):
    """A code yields the seven documented fields, and nothing the second time."""
    code = client.code()

    first, second = client.exchange(code), client.exchange(code)

    assert code.endswith("*0!5413")
    assert sorted(first) == [
        "access_token",
        "expires_in",
        "open_id",
        "refresh_expires_in",
        "refresh_token",
        "scope",
        "token_type",
    ]
    assert (first["expires_in"], first["refresh_expires_in"]) == (7200, 15_552_000)
    assert (first["scope"], first["token_type"]) == ("user.info.basic,video.list", "Bearer")
    assert first["open_id"] == fake.users[0].open_id
    assert told(second) == ("invalid_grant", "Authorization code is expired.")
    assert [(r.committed, r.status) for r in fake.requests_to("token")] == [
        (True, 200),
        (False, 200),
    ]


def test_code__double_encoded(client):
    """A code that was encoded twice is an unknown code."""
    code = client.code()

    body = client.exchange(quote(code, safe=""))

    assert told(body) == ("invalid_grant", "Authorization code is expired.")


@pytest.mark.parametrize(("seconds", "alive"), [(599, True), (600, False), (601, False)])
def test_code__expires(client, fake, seconds, alive):
    """A code works until its lifetime is over, to the second."""
    code = client.code()

    fake.advance(seconds)

    assert ("access_token" in client.exchange(code)) is alive


def test_code__other_redirect_uri(client):
    """The redirect URI of the exchange is the one of the authorization, byte for byte."""
    body = client.exchange(client.code(), WEB.rstrip("/"))

    assert told(body) == (
        "invalid_request",
        "Redirect_uri is not matched with the uri when requesting code.",
    )


def test_pkce__hex_challenge(client):
    """The challenge is the lower-case hex SHA-256 of the verifier."""
    assert hashlib.sha256(VERIFIER.encode()).hexdigest() == CHALLENGE
    code = client.code(DESKTOP, code_challenge=CHALLENGE, code_challenge_method="S256")

    body = client.exchange(code, DESKTOP, code_verifier=VERIFIER)

    assert body["access_token"].startswith("act.")


def test_pkce__base64url_challenge(client):
    """An RFC 7636 challenge passes the authorization page and fails in the exchange."""
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
    code = client.code(DESKTOP, code_challenge=challenge, code_challenge_method="S256")

    body = client.exchange(code, DESKTOP, code_verifier=VERIFIER)

    assert told(body) == ("invalid_request", "Code verifier or code challenge is invalid.")


@pytest.mark.parametrize("verifier", ["a" * 42, "a" * 129, "a" * 42 + "+"])
def test_pkce__verifier_outside_the_rules(client, verifier):
    """A verifier has 43 to 128 unreserved characters."""
    challenge = hashlib.sha256(verifier.encode()).hexdigest()
    code = client.code(DESKTOP, code_challenge=challenge, code_challenge_method="S256")

    body = client.exchange(code, DESKTOP, code_verifier=verifier)

    assert told(body) == ("invalid_request", "Code verifier or code challenge is invalid.")


def test_pkce__verifier_missing(client):
    """A code with a challenge needs the verifier."""
    code = client.code(DESKTOP, code_challenge=CHALLENGE, code_challenge_method="S256")

    body = client.exchange(code, DESKTOP)

    assert told(body) == ("invalid_request", "The request is missing a required parameter.")


def test_pkce__verifier_without_challenge(client):
    """A verifier that nothing asked for is refused."""
    body = client.exchange(client.code(), code_verifier=VERIFIER)

    assert told(body) == ("invalid_request", "The request parameters are malformed.")


def test_refresh__hard_rotation(client, fake):
    """A refresh spends the refresh token at once and leaves the old access token alone."""
    old = fake.issue_token()

    new = client.refresh(old["refresh_token"])
    again = client.refresh(old["refresh_token"])

    assert new["refresh_token"] != old["refresh_token"]
    assert new["access_token"] != old["access_token"]
    assert fake.is_alive(old["access_token"])
    assert not fake.is_alive(old["refresh_token"])
    assert told(again) == ("invalid_grant", "Refresh token is invalid or expired.")
    assert fake.reuse_attempts == 1
    with pytest.raises(AssertionError, match="1 times in 2 refresh requests"):
        fake.assert_no_token_reuse()


def test_refresh__lifetime_starts_anew(client, fake):
    """The refresh token's lifetime counts from each refresh."""
    old = fake.issue_token()
    fake.advance(1000)

    new = client.refresh(old["refresh_token"])

    assert new["refresh_expires_in"] == 15_552_000
    assert new["scope"] == old["scope"]
    assert new["open_id"] == old["open_id"]


@pytest.mark.parametrize(("seconds", "same"), [(29, True), (30, False), (31, False)])
def test_refresh__grace(clock, seconds, same):
    """Within the grace period a spent token returns the same successor, aged; then nothing."""
    fake = FakeTikTok(rotation="grace")
    client = TokenClient(fake)
    old = fake.issue_token()
    new = client.refresh(old["refresh_token"])
    fake.advance(seconds)

    again = client.refresh(old["refresh_token"])

    assert (again.get("refresh_token") == new["refresh_token"]) is same
    assert fake.reuse_attempts == 1
    assert fake.requests[-1].committed is False
    if same:
        assert again["expires_in"] == 7200 - seconds


def test_refresh__grace_ends_with_the_successor():
    """Only the previous generation is forgiven."""
    fake = FakeTikTok(rotation="grace")
    client = TokenClient(fake)
    first = fake.issue_token()
    second = client.refresh(first["refresh_token"])
    client.refresh(second["refresh_token"])

    body = client.refresh(first["refresh_token"])

    assert body["error"] == "invalid_grant"


def test_refresh__no_rotation():
    """Without rotation the refresh token stays, and its lifetime starts anew."""
    fake = FakeTikTok(rotation="none")
    client = TokenClient(fake)
    old = fake.issue_token()
    fake.advance(10)

    first, second = client.refresh(old["refresh_token"]), client.refresh(old["refresh_token"])

    assert first["refresh_token"] == second["refresh_token"] == old["refresh_token"]
    assert first["access_token"] != second["access_token"]
    assert first["refresh_expires_in"] == 15_552_000
    assert all(fake.is_alive(body["access_token"]) for body in (old, first, second))
    fake.assert_no_token_reuse()


def test_refresh__reuse_revokes():
    """If asked to, the fake ends the connection when a spent token comes back."""
    fake = FakeTikTok(reuse_revokes=True)
    client = TokenClient(fake)
    old = fake.issue_token()
    new = client.refresh(old["refresh_token"])

    client.refresh(old["refresh_token"])

    assert not fake.is_alive(new["access_token"])
    assert not fake.is_alive(new["refresh_token"])
    assert fake.requests[-1].committed


@pytest.mark.parametrize(("seconds", "alive"), [(99, True), (100, False), (101, False)])
def test_refresh__expired(seconds, alive):
    """A refresh token works until its lifetime is over, to the second."""
    fake = FakeTikTok(refresh_lifetime=100)
    client = TokenClient(fake)
    token = fake.issue_token()["refresh_token"]
    fake.advance(seconds)

    assert fake.is_alive(token) is alive
    assert ("access_token" in client.refresh(token)) is alive


def test_refresh__many_threads():
    """Of 200 threads that present one refresh token, exactly one gets a new one."""
    fake = FakeTikTok()
    token = fake.issue_token()["refresh_token"]
    bodies = []

    def refresh():
        bodies.append(TokenClient(fake).refresh(token))

    threads = [threading.Thread(target=refresh) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum("access_token" in body for body in bodies) == 1
    assert fake.reuse_attempts == 199
    assert len(fake.requests_to("refresh")) == 200
    assert len(fake.tokens) == 1


def test_client_credentials__three_fields(client, fake):
    """The app's own token has no user, no scope and no refresh token."""
    body = client.post(grant_type="client_credentials").json()

    assert sorted(body) == ["access_token", "expires_in", "token_type"]
    assert body["access_token"].startswith("clt.")
    assert fake.is_alive(body["access_token"])
    fake.advance(7200)
    assert not fake.is_alive(body["access_token"])
    assert [record.endpoint for record in fake.requests] == ["client_token"]


@pytest.mark.parametrize("body", [b"{}", b""])
def test_revoke__ends_the_connection(body):
    """Revoking an access token kills every token of that user, and of no other."""
    fake = FakeTikTok(revoke_body=body)
    client = TokenClient(fake)
    mine, mine_too = fake.issue_token(), fake.issue_token()
    other = fake.issue_token(user=fake.add_user())

    reply = client.post(REVOKE_URL, token=mine["access_token"])

    assert (reply.status_code, reply.content) == (200, body)
    assert not fake.is_alive(mine_too["access_token"])
    assert not fake.is_alive(mine["refresh_token"])
    assert fake.is_alive(other["access_token"])
    assert client.refresh(mine["refresh_token"])["error"] == "invalid_grant"
    assert fake.reuse_attempts == 0


def test_revoke__token_that_does_not_work(client, fake):
    """Neither a dead access token nor a refresh token can be revoked."""
    token = fake.issue_token()
    refused = client.post(REVOKE_URL, token=token["refresh_token"]).json()
    fake.advance(7200)

    expired = client.post(REVOKE_URL, token=token["access_token"]).json()

    assert (
        told(refused)
        == told(expired)
        == (
            "invalid_request",
            "The request parameters are malformed.",
        )
    )
    assert fake.is_alive(token["refresh_token"])


def test_remove_connection__by_the_user(client, fake):
    """A user who removes the app in TikTok takes all tokens along."""
    token = fake.issue_token()

    fake.remove_connection(token["open_id"])

    assert fake.tokens == []
    assert client.refresh(token["refresh_token"])["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"client_id": "x"}, "undocumented for refresh: client_id"),
        ({"scope": "video.list"}, "undocumented for refresh: scope"),
        ({"refresh_token": ""}, "missing a required parameter"),
        ({"client_key": None}, "missing a required parameter"),
        ({"client_secret": None}, "Client secret is missed in request."),
        ({"client_secret": "wrong"}, "Client info is illegal or malformed"),
        ({"client_key": "wrong"}, "Client info is illegal or malformed"),
        ({"grant_type": "password"}, "grant type is not supported"),
    ],
)
def test_token__parameters_are_exact(client, fake, change, words):
    """One parameter too many, too few or wrong is refused, and nothing is spent."""
    token = fake.issue_token()["refresh_token"]
    form = {**client.credentials, "grant_type": "refresh_token", "refresh_token": token} | change

    reply = client.http.post(TOKEN_URL, form)

    assert reply.status_code == 200
    assert words in reply.json()["error_description"]
    assert reply.json()["error"] == fake.requests[-1].error
    assert len(reply.json()["log_id"]) == 34
    assert reply.headers["X-Tt-Logid"] == reply.json()["log_id"]
    assert fake.is_alive(token)


def test_token__undocumented_parameter_cites_the_page(client):
    """The refusal of an undocumented parameter says where the documented ones are."""
    body = client.post(grant_type="client_credentials", client_id="x").json()

    assert "https://developers.tiktok.com/doc/client-access-token-management" in (body["error_description"])


@pytest.mark.parametrize(
    "how",
    [
        {"json": {"grant_type": "client_credentials"}},
        {"data": {"grant_type": "client_credentials"}, "auth": ("key", "secret")},
        {"data": {"grant_type": "client_credentials"}, "params": {"client_key": "x"}},
        {"data": "grant_type=client_credentials"},
        {"data": [("grant_type", "client_credentials"), ("grant_type", "client_credentials")]},
    ],
)
def test_token__form_only(client, how):
    """No JSON, no Basic header, no query string, no other content type, nothing twice."""
    if isinstance(how.get("data"), dict):
        how = {**how, "data": {**client.credentials, **how["data"]}}

    reply = client.http.post(TOKEN_URL, **how)

    assert told(reply.json()) == ("invalid_request", "The request parameters are malformed.")


def test_token__path_is_byte_exact(client):
    """Without its trailing slash, or on another of TikTok's hosts, the path does not exist."""
    assert client.post(TOKEN_URL.rstrip("/")).status_code == 404
    assert client.post(TOKEN_URL.replace("open.tiktokapis", "www.tiktok")).status_code == 404
    assert client.http.get(TOKEN_URL).status_code == 405


def test_token__error_status():
    """The HTTP status of OAuth errors is a choice, since TikTok documents none."""
    client = TokenClient(FakeTikTok(error_status=400))

    assert client.post(grant_type="refresh_token", refresh_token="x").status_code == 400


def test_clock__follows_a_frozen_one(monkeypatch):
    """The default clock is looked up at each call, so that a replaced one counts."""
    fake = FakeTikTok()
    token = fake.issue_token()["access_token"]
    later = time.time() + 7200
    assert fake.is_alive(token)

    monkeypatch.setattr(time, "time", lambda: later)

    assert not fake.is_alive(token)


def test_clock__of_ones_own():
    """A given clock is used, and `advance` adds to it."""
    fake = FakeTikTok(clock=lambda: 1000.0)

    fake.advance(5)

    assert fake.now() == 1005.0


def test_record__repr_shows_no_secret(client, fake):
    """A record's repr shows names and outcome, but no value."""
    token = fake.issue_token()
    client.refresh(token["refresh_token"])
    record = fake.requests[-1]

    shown = f"{record!r} {fake!r}"

    assert "refresh_token" in shown
    assert "committed delivered" in shown
    secrets = [fake.client_secret, token["refresh_token"], *fake.tokens[0].values()]
    assert not [s for s in secrets if str(s) in shown.replace("Bearer", "")]


def test_reset__starts_anew(client, fake):
    """After a reset nothing is left but the app and its default user."""
    user, token = fake.users[0], fake.issue_token()
    fake.add_user()
    fake.fail("refresh", "html", times=None)
    fake.advance(100)
    client.post(grant_type="refresh_token", refresh_token=token["refresh_token"])

    fake.reset()

    assert (fake.users, fake.tokens, fake.requests) == ([user], [], [])
    assert abs(fake.now() - time.time()) < 10
    assert client.refresh(token["refresh_token"])["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://app.example/callback/",
        "https://app.example/callback/?a=b",
        "https://app.example/#top",
        "http://127.0.0.1/callback/",
        "https://app.example:*/callback/",
        "https://app.example/" + "a" * 500,
    ],
)
def test_app__redirect_uri_that_cannot_be_registered(redirect_uri):
    """What the developer portal would refuse is refused at once."""
    with pytest.raises(ValueError, match="redirect URI"):
        FakeTikTok(redirect_uris=[redirect_uri])


def test_app__misspelt_rotation():
    """A rotation mode that does not exist is refused at once."""
    with pytest.raises(ValueError, match="'hard', 'grace' or 'none', not 'soft'"):
        FakeTikTok(rotation="soft")
