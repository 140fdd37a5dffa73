"""TikTok Shop: a seller's login, from its page to its end."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from pages import blocks, run
from servers import require_module
from surfaces import SURFACES

from tiktok_oauth_session import (
    SHOP,
    SHOP_US,
    AccountKey,
    APIError,
    AuthorizationError,
    FileStore,
    MemoryStore,
    ReauthorizationRequired,
    RevocationError,
    StateMismatch,
    TikTokToken,
    TokenError,
    unwrap,
)
from tiktok_oauth_session.shop_signature import ShopSignature
from tiktok_oauth_session.testing import FakeTikTok

PAGE = "docs/shop.md"
SHOPS = "/authorization/202309/shops"


@pytest.fixture
def seller(make_session, fake):
    """A session of a seller."""
    session = make_session(
        platform=SHOP, store=MemoryStore(), token_updater=None, redirect_uri=None, scope=None
    )
    session.auth = ShopSignature(fake.client_key, fake.client_secret)
    return session


@pytest.fixture
def connect(fake):
    """Plays seller and browser for a session, and returns the token."""

    def play(session):
        url, _ = session.authorization_url(service_id=fake.service_id)
        return session.fetch_token(authorization_response=fake.authorize(url))

    return play


# --- what is sent --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "page"),
    [
        (SHOP, "https://services.tiktokshop.com/open/authorize?"),
        (SHOP_US, "https://services.tiktokshops.us/open/authorize?"),
    ],
)
def test_authorize_url(make_session, fake, platform, page):
    """The page wants the service id and a state, and nothing else."""
    url, state = make_session(platform=platform).authorization_url(service_id=fake.service_id)

    assert url.startswith(page)
    assert {"service_id": [fake.service_id], "state": [state]} == parse_qs(urlsplit(url).query)


def test_authorize_url__without_a_service_id(seller):
    """Nobody is sent to a page that can only show an error."""
    with pytest.raises(ValueError, match=r"needs the service_id .* pass `service_id=` to authorization_url"):
        seller.authorization_url()


@pytest.mark.parametrize(
    "link",
    [
        "https://services.us.tiktokshop.com/open/authorize?service_id=7",
        "https://shop.tiktok.com/alliance/creator/auth?app_key=7",
    ],
)
def test_authorize_url__copied_from_the_portal(seller, link):
    """The portal's link, or that of creators, is enough."""
    url, state = seller.authorization_url(link)

    assert f"{link}&state={state}" == url


def test_requests(seller, fake, connect):
    """Each request is a GET with the parameters that are documented, and nothing else."""
    first = connect(seller)
    assert 200 == seller.get(SHOPS).status_code
    seller.refresh_token()

    app = {"app_key": fake.client_key, "app_secret": fake.client_secret}
    token, call, refresh = fake.requests[-3:]
    assert {**app, "auth_code": token.query["auth_code"], "grant_type": "authorized_code"} == token.query
    assert {**app, "refresh_token": first["refresh_token"], "grant_type": "refresh_token"} == refresh.query
    assert (first["access_token"], None) == (
        call.headers["x-tts-access-token"],
        call.headers.get("Authorization"),
    )
    assert {"app_key", "sign", "timestamp"} == call.query.keys()
    assert [("GET", b"")] * 3 == [(each.method, each.sent) for each in (token, call, refresh)]


# --- a seller's life -----------------------------------------------------------------------------------


def test_token(seller, clock, connect):
    """The token is what every other session has: its ends are counted in seconds, too."""
    token = connect(seller)

    assert seller.store.load(AccountKey(seller.client_id, token.open_id)) == token
    assert clock() + 7200 == pytest.approx(token.expires_at, abs=1)
    assert 7200 == pytest.approx(token["expires_in"], abs=1)
    assert token["refresh_expires_at"] - clock() == pytest.approx(token["refresh_expires_in"], abs=1)
    assert isinstance(token["scope"], str)
    assert token["seller_name"]


def test_expired(seller, clock, fake, connect):
    """An expired token is refreshed before the call, once; the call is signed."""
    connect(seller)
    clock.advance(7201)

    assert unwrap(seller.get(SHOPS))["shops"]
    assert [1, 0] == [len(fake.requests_to("refresh")), fake.reuse_attempts]


@pytest.mark.parametrize("code", [105001, 105002])
def test_refused(seller, clock, fake, connect, code):
    """A call whose token was refused is signed anew with the next one."""
    connect(seller)
    fake.after("refresh", lambda _: clock.advance(2))
    fake.fail("shops", "error", code=code)

    assert unwrap(seller.get(SHOPS))["shops"]
    first, second = fake.requests_to("shops")
    assert int(second.query["timestamp"]) == int(first.query["timestamp"]) + 2
    assert first.query["sign"] != second.query["sign"]


@pytest.mark.parametrize("code", [36009004, 105005, 106001])
def test_refused__for_another_reason(seller, fake, connect, code):
    """Any other refusal is the caller's, and no reason to refresh."""
    connect(seller)
    fake.fail("shops", "error", code=code)

    with pytest.raises(APIError) as caught:
        unwrap(seller.get(SHOPS))
    assert (str(code), code) == (caught.value.error, caught.value.error_code)
    assert [] == fake.requests_to("refresh")


def test_calls__unsigned(seller, fake, connect):
    """Without a signature TikTok answers with a number of many causes, and nothing is refreshed for it."""
    connect(seller)
    seller.auth = None

    with pytest.raises(APIError, match="read the message") as caught:
        unwrap(seller.get(SHOPS))
    assert caught.value.error_code == 36009004
    assert [] == fake.requests_to("refresh")


def test_calls__any_query():
    """The query of a call is signed as it is sent, whatever it holds: TikTok comes to the same signature."""
    fake, shop = FakeTikTok(strict=False), SURFACES["shop"]
    session = shop.session(fake)
    session.mount("https://", fake.adapter())
    session.fetch_token(authorization_response=shop.callback(fake, session))

    for params in ({"shop_cipher": "ä b&c=+%2B"}, {"empty": ""}, {"b": "1", "a": "2", "A": "~"}):
        assert unwrap(session.get(SHOPS, params=params))["shops"], params
    assert "ä b&c=+%2B" == fake.requests_to("shops")[0].query["shop_cipher"]


@pytest.mark.parametrize(("rotation", "different"), [("hard", 2), ("none", 1)])
def test_refresh__whether_tokens_work_once(rotation, different):
    """Of a TikTok that tells a new refresh token the old one is not sent again; one that stays is."""
    fake, shop = FakeTikTok(rotation=rotation), SURFACES["shop"]
    session = shop.session(fake, store=MemoryStore())
    session.mount("https://", fake.adapter())
    session.fetch_token(authorization_response=shop.callback(fake, session))
    for _ in range(2):
        session.refresh_token()

    assert different == len({each.query["refresh_token"] for each in fake.requests_to("refresh")})
    assert 0 == fake.reuse_attempts


def test_deauthorized(seller, clock, fake, connect):
    """A seller who has ended it has to authorize again, and nothing is asked twice."""
    connect(seller)
    fake.remove_connection(seller.open_id)
    clock.advance(7201)

    for _ in range(2):
        with pytest.raises(ReauthorizationRequired):
            seller.get(SHOPS)
    assert 1 == len(fake.requests_to("refresh"))


def test_revoke(seller, fake, connect):
    """Nothing revokes: the error says who can, and the account stays."""
    token = connect(seller)

    with pytest.raises(RevocationError, match="no endpoint that revokes"):
        seller.revoke_token()
    assert token == seller.token
    assert [] == fake.requests_to("revoke")


@pytest.mark.parametrize("word", ["access_denied", "auth_denied"])
def test_refusal(seller, word):
    """The code of a refusal is the word null, which is none."""
    _, state = seller.authorization_url(service_id="fake-service")

    with pytest.raises(AuthorizationError) as caught:
        seller.fetch_token(authorization_response=f"https://a.example/?code=null&error={word}&state={state}")
    assert word == caught.value.error
    assert "The user said no" in str(caught.value)


def test_refusal__of_the_fake(seller, fake):
    """A seller who cancels is an AuthorizationError."""
    url, _ = seller.authorization_url(service_id=fake.service_id)

    with pytest.raises(AuthorizationError):
        seller.fetch_token(authorization_response=fake.authorize(url, deny=True))
    assert [] == fake.requests_to("token")


def test_installed_from_the_app_store(seller, fake):
    """A callback without a state is refused; who knows what they do pass its code alone."""
    url, _ = seller.authorization_url(service_id=fake.service_id)
    query = parse_qs(urlsplit(fake.authorize(url)).query)
    (code,) = query["code"]

    with pytest.raises(StateMismatch):
        seller.fetch_token(authorization_response=f"https://app.example/callback/?code={code}")
    assert seller.fetch_token(code=code).access_token


def test_code_twice(seller, fake):
    """A code that was used is refused in OAuth's words, with TikTok's number."""
    url, _ = seller.authorization_url(service_id=fake.service_id)
    (code,) = parse_qs(urlsplit(fake.authorize(url)).query)["code"]
    seller.fetch_token(code=code)

    with pytest.raises(TokenError) as caught:
        seller.fetch_token(code=code)
    assert ("invalid_grant", 36004004) == (caught.value.error, caught.value.error_code)


# --- replies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [0, 1, 1_799_999_999, 1_800_000_000])
def test_from_reply__end_that_has_passed(end):
    """A token that was issued just now has not ended: such an end counts as none."""
    token = TikTokToken.from_reply({"access_token": "a", "expires_at": end}, requested_at=1_800_000_000.0)

    assert token.expires_at is None
    assert 1_800_000_000 == token.issued_at


def test_from_reply__list_of_scopes():
    """Scopes that come as a list are kept as every other platform's."""
    token = TikTokToken.from_reply({"access_token": "a", "scope": [4, "seller.a"]}, requested_at=0.0)

    assert "4,seller.a" == token["scope"]


# --- the page ------------------------------------------------------------------------------------------


def test_page__site(fake, monkeypatch, tmp_path):
    """The site of the page logs a seller in, and calls the API for them with a signature."""
    require_module("flask_dance")
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    monkeypatch.chdir(tmp_path)
    names = {"APP_KEY": fake.client_key, "APP_SECRET": fake.client_secret, "SERVICE_ID": fake.service_id}
    begin, *_, site = blocks(PAGE)
    run(begin, PAGE, names)
    names |= {"__name__": "__main__", "SECRET_KEY": "fake"}
    run(site, PAGE, names)
    seller = names["app"].test_client()
    callback = urlsplit(fake.authorize(seller.get("/tiktok").headers["Location"]))
    came = seller.get(f"/tiktok/authorized?{callback.query}")

    assert 302 == came.status_code
    assert fake.users[0].display_name == seller.get("/").json["shops"][0]["name"]


def test_page(fake, monkeypatch, tmp_path, capsys):
    """The programs of the page log in, and call the API with a signature."""
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    monkeypatch.chdir(tmp_path)
    names = {"APP_KEY": fake.client_key, "APP_SECRET": fake.client_secret, "SERVICE_ID": fake.service_id}
    begin, call, cipher, creator, _ = blocks(PAGE)
    run(begin, PAGE, names)
    names["callback"] = fake.authorize(names["url"])
    run(call, PAGE, names)
    run(cipher, PAGE, names)

    assert capsys.readouterr().out == f"{[shop['name'] for shop in names['shops']]}\n"
    names["session"].get("/order/202309/orders")
    assert names["shops"][0]["cipher"] == fake.requests[-1].query["shop_cipher"]
    assert 1 == len(list(FileStore("tokens").keys()))
    run(creator, PAGE, names)
    assert names["url"].startswith(
        "https://shop.tiktok.com/alliance/creator/auth?app_key=sbaw-test-key&state="
    )
