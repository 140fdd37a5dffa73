"""The tests on the page about testing, run as they are printed there."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
import vcr
from pytest_runs import WITHOUT_PLUGIN, run_tests
from surfaces import CALLBACK, DESKTOP, SURFACES

from tiktok_oauth_session import BUSINESS_ADVERTISER, LOGIN_KIT, SHOP, TikTokOAuth2Session
from tiktok_oauth_session._http.redaction import SECRET_PARAMETERS
from tiktok_oauth_session.errors import WebhookError
from tiktok_oauth_session.platforms import BY_NAME
from tiktok_oauth_session.shop_signature import ShopSignature
from tiktok_oauth_session.webhooks import verify, verify_shop

PAGE = Path(__file__).parents[1] / "docs/testing.md"


def block(heading, number=0):
    """Return a block of Python code below a heading of the page."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[number]


@pytest.fixture
def write(tmp_path):
    """Writes a block of the page into a file."""

    def write_block(*where):
        path = tmp_path / "test_page.py"
        path.write_text(block(*where))
        return path

    return write_block


FIVE = ["test_log_in", "test_call", "test_expired", "test_401", "test_revoke"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), WITHOUT_PLUGIN], ids=["with the plugin", "without"])
@pytest.mark.parametrize("order", [FIVE, FIVE[::-1]], ids=["as printed", "the other way round"])
def test_requests_mock(write, options, order):
    """The five tests pass in any order, though all of them use the same literal refresh token."""
    path = write("requests-mock")

    passed, failed, names, output = run_tests(path, *options, *(f"{path}::{name}" for name in order))

    assert (5, 0, order) == (passed, failed, names), output


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2], ids=["without a socket", "over HTTP", "shop"])
def test_fake(write, number):
    """The tests with the fixtures of the package's plugin pass."""
    passed, failed, _, output = run_tests(write("The fake TikTok", number))

    assert (1, 0) == (passed, failed), output


@pytest.mark.slow
def test_cassette__recorded_and_played(write, fake):
    """A cassette is recorded with an account, holds no secret, and is played without account and network."""
    path, token = write("Cassettes"), fake.issue_token()
    with fake.serve() as server:
        play = {**os.environ, "TIKTOK_API": server.url}
        record = {
            **play,
            "TIKTOK_CLIENT_KEY": fake.client_key,
            "TIKTOK_CLIENT_SECRET": fake.client_secret,
            "TIKTOK_REFRESH_TOKEN": token["refresh_token"],
        }
        recorded = run_tests(path, env=record)
    played = run_tests(path, env=play)
    cassette = (path.parent / "cassettes/profile.yaml").read_text()

    assert (1, 0) == recorded[:2], recorded[-1]
    assert (1, 0) == played[:2], played[-1]
    assert ["refresh", "user_info"] == [each.endpoint for each in fake.requests]
    assert 2 == cassette.count("- request:")
    assert [] == [secret for secret in secrets_of(fake, token) if secret in cassette]


def test_shop__by_the_fakes_clock_alone(make_session, fake, clock, issue):
    """Beyond five minutes the signature is refused before the token, and nobody refreshes."""
    shop = SURFACES["shop"]
    session = make_session(platform=SHOP, token=issue(surface="shop"))
    session.auth = ShopSignature(fake.client_key, fake.client_secret)
    fake.advance(7200)

    assert 36009004 == shop.ask(session).json()["code"]
    assert [] == fake.requests_to("refresh")


@pytest.mark.parametrize(
    ("name", "status", "code"), [("business", 200, 40102), ("login-kit-v1", 200, 2190008)]
)
def test_numbers__by_the_fakes_clock_alone(make_session, fake, clock, issue, name, status, code):
    """Where errors have numbers, the refusal has the one that the page says, and a refresh follows."""
    surface = SURFACES[name]
    session = make_session(platform=surface.platform, token=issue(surface=surface.name))
    fake.advance(7200)

    assert 0 == surface.ask(session).json().get("code", 0)
    refused, refresh, _ = fake.requests
    assert ("refresh", status, str(code)) == (refresh.endpoint, refused.status, refused.error)


def test_webhook__by_the_fakes_clock_alone(fake, clock):
    """A webhook of the fake's future is refused as one: after minutes, and of Shop's after a day."""
    fake.advance(7200)
    headers, body = fake.webhook("authorization.removed", fake.users[0], reason=1)

    with pytest.raises(WebhookError) as caught:
        verify(headers, body, fake.client_secret)
    assert "from now" in str(caught.value)

    headers, body = fake.shop_webhook(6, shop_id="fake-shop")
    assert "6" == verify_shop(headers, body, fake.client_key, fake.client_secret).event
    fake.advance(90_000 - 7200)
    headers, body = fake.shop_webhook(6, shop_id="fake-shop")
    with pytest.raises(WebhookError):
        verify_shop(headers, body, fake.client_key, fake.client_secret)


def secrets_of(fake, *tokens):
    """Return every secret that was sent or told, as it is and as a URL and JSON spell it."""
    told = [dict(each) for each in (*tokens, *fake.tokens)]
    sent = [each.parameters for each in fake.requests]
    found = {str(each[name]) for each in (*told, *sent) for name in SECRET_PARAMETERS if each.get(name)}
    found |= {
        each.headers[name].removeprefix("Bearer ")
        for each in fake.requests
        for name in ("Authorization", "Access-Token", "x-tts-access-token")
        if name in each.headers
    }
    return found | {quote(each, safe="") for each in found} | {json.dumps(each)[1:-1] for each in found}


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """The recorder of the page, whose cassettes lie in a directory of this test."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    exec(compile(block("Cassettes"), PAGE.name, "exec"), names)  # noqa: S102 - our own documentation
    return names["recorder"]


def advertisers(session):
    """Call for an advertiser, with the secret in the address."""
    app = {"app_id": session.client_id, "secret": session.client_secret}
    return session.get("/oauth2/advertiser/get/", params=app)


def live(surface, fake, url):
    """Log in, call, refresh and revoke, as far as the surface can; return the tokens that there were."""
    platform = surface.platform.at(url)
    redirect_uri = DESKTOP if platform.loopback_needs_pkce else CALLBACK
    session = surface._replace(platform=platform).session(
        fake, redirect_uri=redirect_uri, token_updater=lambda token: None
    )
    tokens = [session.fetch_token(authorization_response=surface.callback(fake, session))]
    if platform.refresh_endpoint:
        tokens.append(session.refresh_token())
    asked = surface.ask(session) if surface.name != "advertiser" else advertisers(session)
    assert 200 == asked.status_code
    assert "error" not in asked.json() or asked.json()["error"]["code"] in ("ok", 0)
    assert 0 == asked.json().get("code", 0)
    if platform.revocation_endpoint:
        session.revoke_token()
    return tokens


#: Every surface, and what of a life is on a cassette.
LIFE = ["token", "refresh", "user_info", "revoke"]
LIVES = {
    **{name: (surface, LIFE) for name, surface in SURFACES.items()},
    "business-advertiser": (
        SURFACES["business"]._replace(platform=BUSINESS_ADVERTISER, name="advertiser"),
        ["token", "advertisers", "revoke"],
    ),
    "shop": (SURFACES["shop"], ["token", "refresh", "shops"]),
}


def test_lives__every_surface():
    """No surface is forgotten; the one of Shop in the United States differs in its page alone."""
    assert set(BY_NAME) == {*LIVES, "shop-us"}


@pytest.mark.parametrize(("surface", "life"), LIVES.values(), ids=LIVES)
def test_cassette__no_secret(recorder, fake, tmp_path, surface, life):
    """Nor does one with a login, a refresh and a revocation hold any, on whatever surface."""
    with fake.serve() as server, recorder.use_cassette("life.yaml"):
        tokens = live(surface, fake, server.url)
    cassette = (tmp_path / "cassettes/life.yaml").read_text()

    assert life == [each.endpoint for each in fake.requests if each.endpoint != "authorize"]
    assert len(life) == cassette.count("- request:")
    assert [] == [secret for secret in secrets_of(fake, *tokens) if secret in cassette]


@pytest.mark.parametrize(("surface", "life"), LIVES.values(), ids=LIVES)
def test_cassette__the_search_finds_secrets(fake, tmp_path, surface, life):
    """The search is no sham: a recorder that filters nothing is caught by it, secret and tokens."""
    with fake.serve() as server, vcr.use_cassette(str(tmp_path / "plain.yaml")):
        tokens = live(surface, fake, server.url)
    cassette = (tmp_path / "plain.yaml").read_text()

    found = {secret for secret in secrets_of(fake, *tokens) if secret in cassette}
    assert {fake.client_secret, *(token["access_token"] for token in tokens)} <= found


def test_cassette__of_shop_is_played(recorder, fake, clock, issue):
    """A call that is signed by the clock is found on the cassette at another time."""
    shop = SURFACES["shop"]
    with fake.serve() as server:
        shop = shop._replace(platform=SHOP.at(server.url))
        session = shop.session(fake, token=issue(surface="shop"), token_updater=print)
        said = []
        for _ in range(2):
            with recorder.use_cassette("shops.yaml"):
                said.append(shop.ask(session).json())
            clock.advance(60)

    assert said[0]["data"]["shops"]
    assert said[0] == said[1]
    assert ["shops"] == [each.endpoint for each in fake.requests]


def test_cassette__compressed_reply(recorder, fake, tmp_path):
    """A compressed reply is searched for tokens as well."""
    reply = gzip.compress(json.dumps(fake.issue_token()).encode())
    fake.fail("refresh", "body", body=reply, headers={"Content-Encoding": "gzip"})
    token = fake.issue_token()
    with fake.serve() as server, recorder.use_cassette("compressed.yaml"):
        session = TikTokOAuth2Session(
            fake.client_key,
            client_secret=fake.client_secret,
            token=token,
            token_updater=lambda token: None,
            platform=LOGIN_KIT.at(server.url),
        )
        new = session.refresh_token()
    cassette = (tmp_path / "cassettes/compressed.yaml").read_text()

    assert token["refresh_token"] != new["refresh_token"]
    assert 2 == len(re.findall(r'_token\\?": ?\\?"filtered', cassette)), "in the reply"
    assert [] == [secret for secret in secrets_of(fake, new) if secret in cassette]
