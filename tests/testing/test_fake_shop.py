"""The fake TikTok Shop: its page, tokens by GET, and a call that has to be signed."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests

from tiktok_oauth_session.testing import FakePageError, FakeTikTok, shop

PAGE = "https://services.tiktokshop.com/open/authorize"
TOKEN = "https://auth.tiktok-shops.com/api/v2/token"
SHOPS = "https://open-api.tiktokglobalshop.com/authorization/202309/shops"
CALLBACK = "https://app.example/callback/"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def session(fake):
    """A session with the fake's adapter."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        yield session


@pytest.fixture
def ask(fake, session):
    """Asks a token endpoint, and returns the envelope."""

    def send(name, **query):
        app = {"app_key": fake.client_key, "app_secret": fake.client_secret}
        reply = session.get(f"{TOKEN}/{name}", params={**app, **query})
        assert 200 == reply.status_code
        return reply.json()

    return send


@pytest.fixture
def exchange(ask):
    """Exchanges a code, and returns the envelope."""

    def send(code, **change):
        return ask("get", **{"auth_code": code, "grant_type": "authorized_code", **change})

    return send


@pytest.fixture
def refresh(ask):
    """Refreshes, and returns the envelope."""

    def send(token, **change):
        return ask("refresh", **{"refresh_token": token, "grant_type": "refresh_token", **change})

    return send


def authorize(fake, query=(), page=PAGE, **choices):
    """Let a seller consent, and return what the callback says."""
    asked = {"service_id": fake.service_id, "state": "a-state", **dict(query)}
    callback = fake.authorize(f"{page}?{urlencode(asked)}", **choices)
    assert callback.startswith(f"{CALLBACK}?")
    return dict(parse_qsl(urlsplit(callback).query))


# -- the page ------------------------------------------------------------------------------


def test_service_id__is_not_the_key(fake):
    """The page wants a number of its own, which cannot be changed."""
    assert fake.service_id.isdecimal()
    assert fake.service_id != fake.client_key
    with pytest.raises(AttributeError):
        fake.service_id = "x"


@pytest.mark.parametrize(
    "host", ["services.tiktokshop.com", "services.tiktokshops.us", "services.us.tiktokshop.com"]
)
def test_page__calls_back(fake, host):
    """On every host the seller comes back to the app's first redirect URI, with a code and the state."""
    answer = authorize(fake, page=f"https://{host}/open/authorize")

    assert {"code", "state"} == set(answer)
    assert "a-state" == answer["state"]
    assert {("authorize", "shop")} == {(record.endpoint, record.surface) for record in fake.requests}


def test_page__first_redirect_uri():
    """Of several redirect URIs it is the first."""
    uris = ["https://app.example/callback/", "https://app.example/other/"]

    assert authorize(FakeTikTok(redirect_uris=uris))["code"]


def test_page__cancelled(fake):
    """A refusal has a code that is the word null."""
    assert {"error": "access_denied", "code": "null", "state": "a-state"} == authorize(fake, deny=True)


@pytest.mark.parametrize(
    ("query", "error", "error_type"),
    [
        ({"service_id": "sbaw-test-key"}, "unauthorized_client", "service_id"),
        ({"redirect_uri": CALLBACK}, "invalid_request", "redirect_uri"),
        ({"scope": "seller.authorization.info"}, "invalid_request", "scope"),
        ({"response_type": "code"}, "invalid_request", "response_type"),
        ({"state": ""}, "invalid_request", "state"),
    ],
)
def test_page__errors(fake, query, error, error_type):
    """What is wrong with the page's URL is shown there, and the app is never called."""
    with pytest.raises(FakePageError) as caught:
        authorize(fake, query)

    assert (error, error_type) == (caught.value.error, caught.value.error_type)


def test_page__tolerant():
    """What nobody documents is noted and left aside; there may be no state."""
    fake = FakeTikTok(strict=False)

    answer = authorize(fake, {"redirect_uri": "https://elsewhere.example/", "state": ""})

    assert {"code"} == set(answer)
    assert ["undocumented for authorize: redirect_uri", "a login without state"] == fake.warnings


def test_page__parameter_twice(fake):
    """A page whose URL says a thing twice is an error."""
    with pytest.raises(FakePageError, match="correct state"):
        fake.authorize(f"{PAGE}?service_id={fake.service_id}&state=s&state=t")


def test_page__no_address_to_return_to():
    """A first redirect URI with any port is no address."""
    fake = FakeTikTok(redirect_uris=["http://127.0.0.1:*/callback/"])

    with pytest.raises(FakePageError, match="correct redirect_uri"):
        authorize(fake)


# -- tokens --------------------------------------------------------------------------------


def test_token__of_a_code(fake, clock, exchange):
    """A code is good for a token whose ends are Unix times."""
    code = authorize(fake, grant=["seller.authorization.info"])["code"]

    envelope = exchange(code)

    data = envelope.pop("data")
    assert (0, "success") == (envelope["code"], envelope["message"])
    assert {
        "access_token": data["access_token"],
        "access_token_expire_in": 1_800_007_200,
        "refresh_token": data["refresh_token"],
        "refresh_token_expire_in": 1_800_000_000 + 15_552_000,
        "open_id": fake.users[0].open_id,
        "seller_name": "Fake User",
        "seller_base_region": "GB",
        "user_type": 0,
        "granted_scopes": ["seller.authorization.info"],
    } == data
    assert fake.is_alive(data["access_token"])
    assert fake.is_alive(data["refresh_token"])
    record = fake.requests[-1]
    assert ("token", "shop", True) == (record.endpoint, record.surface, record.committed)
    assert 36004004 == exchange(code)["code"]


@pytest.mark.parametrize(("seconds", "number"), [(1799, 0), (1800, 36004004), (1801, 36004004)])
def test_token__code_expires(fake, clock, exchange, seconds, number):
    """A code lives half an hour."""
    code = authorize(fake)["code"]
    fake.advance(seconds)

    assert number == exchange(code)["code"]


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"app_key": "x"}, 36009004),
        ({"app_secret": "x"}, 36009004),
        ({"app_secret": ""}, 98001004),
        ({"auth_code": "x"}, 36004004),
        ({"auth_code": ""}, 98001004),
        ({"grant_type": "authorization_code"}, 98001004),
        ({"redirect_uri": CALLBACK}, 98001004),
    ],
)
def test_token__refused(fake, exchange, change, number):
    """Each mistake has its number, with HTTP 200, and leaves the code as it was."""
    code = authorize(fake)["code"]

    envelope = exchange(code, **change)

    assert (number, None) == (envelope["code"], envelope["data"])
    assert (str(number), False) == (fake.requests[-1].error, fake.requests[-1].committed)
    assert 0 == exchange(code)["code"]


@pytest.mark.parametrize("options", [{"json": {}}, {"headers": {"Authorization": "x"}}])
def test_token__only_a_query(fake, session, options):
    """A GET with a body or with credentials in its header is not what is documented."""
    app = {"app_key": fake.client_key, "app_secret": fake.client_secret}
    token = fake.issue_token(surface="shop")["refresh_token"]
    query = {**app, "refresh_token": token, "grant_type": "refresh_token"}

    reply = session.get(f"{TOKEN}/refresh", params=query, **options)

    assert (98001004, True) == (reply.json()["code"], fake.is_alive(token))


@pytest.mark.parametrize("path", ["get", "refresh", "nothing"])
def test_token__posted(fake, session, path):
    """There is nothing at all to POST to."""
    reply = session.post(f"{TOKEN}/{path}", json={"app_key": fake.client_key})

    assert (404, "404 page not found") == (reply.status_code, reply.text)
    assert "not_found" == fake.requests[-1].error


def test_token__another_path(session):
    """The host of the tokens has nothing else."""
    reply = session.get("https://auth.tiktok-shops.com/authorization/202309/shops")

    assert (404, "404 page not found") == (reply.status_code, reply.text)


@pytest.mark.parametrize("strict", [False, True])
def test_token__undocumented(strict):
    """What nobody documents is noted; a strict fake refuses it."""
    fake = FakeTikTok(strict=strict)
    query = {
        "app_key": fake.client_key,
        "app_secret": fake.client_secret,
        "refresh_token": fake.issue_token(surface="shop")["refresh_token"],
        "grant_type": "refresh_token",
        "scope": "x",
    }
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        reply = session.get(f"{TOKEN}/refresh", params=query).json()

    assert (98001004 if strict else 0) == reply["code"]
    noted = [] if strict else ["undocumented for refresh: scope: https://partner.tiktokshop.com/docv2"]
    assert noted == fake.warnings


def test_refresh__rotates(fake, clock, refresh):
    """A refresh spends the refresh token, and the authorization ends when it would have."""
    token = fake.issue_token(surface="shop")
    fake.advance(100)

    data = refresh(token["refresh_token"])["data"]

    assert (1_800_007_300, 1_800_000_000 + 15_552_000) == (
        data["access_token_expire_in"],
        data["refresh_token_expire_in"],
    )
    assert fake.is_alive(data["refresh_token"])
    assert ("refresh", "shop") == (fake.requests[-1].endpoint, fake.requests[-1].surface)
    assert 36004005 == refresh(token["refresh_token"])["code"]
    assert 1 == fake.reuse_attempts


@pytest.mark.parametrize(("seconds", "number"), [(-1, 0), (0, 36004001), (1, 36004001)])
def test_refresh__expires(fake, clock, refresh, seconds, number):
    """An authorization that is over has a number of its own."""
    token = fake.issue_token(surface="shop")
    fake.advance(15_552_000 + seconds)

    assert number == refresh(token["refresh_token"])["code"]


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"refresh_token": "x"}, 36004005),
        ({"refresh_token": ""}, 98001004),
        ({"app_secret": "x"}, 36009004),
        ({"grant_type": "authorized_code"}, 98001004),
    ],
)
def test_refresh__refused(fake, refresh, change, number):
    """Each mistake has its number, and spends nothing."""
    token = fake.issue_token(surface="shop")["refresh_token"]

    assert number == refresh(token, **change)["code"]
    assert fake.is_alive(token)


# -- the API -------------------------------------------------------------------------------


def signature(secret, query, path="/authorization/202309/shops"):
    """Sign as TikTok's page says, written once more: this is what a client would do."""
    message = secret + path + "".join(f"{name}{query[name]}" for name in sorted(query)) + secret
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def call(fake, session):
    """Lists a token's shops by a signed request, and returns the reply."""

    def send(access_token, url=SHOPS, *, headers=JSON, method="GET", **change):
        query = {"app_key": fake.client_key, "timestamp": int(fake.now()), **change}
        query["sign"] = change.get("sign", signature(fake.client_secret, query))
        headers = {**headers, **({"x-tts-access-token": access_token} if access_token else {})}
        return session.request(method, url, params=query, headers=headers)

    return send


def test_sign__vector():
    """The signature of the documentation's sample is the documentation's."""
    query = {"app_key": "29a39d", "timestamp": "1623812664", "sign": "x", "access_token": "y"}

    assert "b596b73e0cc6de07ac26f036364178ab16b0a907af13d43f0a0cd2345f582dc8" == shop.sign(
        "e59af819cc", "/authorization/202309/shops", query
    )


def test_sign__body():
    """A body is signed as it is, behind the parameters."""
    expected = hmac.new(b"s", b's/pa1b2{"c":3}s', hashlib.sha256).hexdigest()

    assert expected == shop.sign("s", "/p", {"b": "2", "a": "1"}, b'{"c":3}')


def test_shops__of_a_seller(fake, call):
    """A signed call lists the seller's shops."""
    token = fake.issue_token(surface="shop")

    reply = call(token["access_token"])

    (one,) = reply.json()["data"]["shops"]
    assert (200, 0) == (reply.status_code, reply.json()["code"])
    assert {"cipher", "code", "id", "name", "region", "seller_type"} == set(one)
    assert "Fake User" == one["name"]
    assert ("shops", "shop", None) == (
        fake.requests[-1].endpoint,
        fake.requests[-1].surface,
        fake.requests[-1].error,
    )


@pytest.mark.parametrize(
    ("seconds", "number"), [(-301, 36009004), (-300, 0), (-299, 0), (29, 0), (30, 0), (31, 36009004)]
)
def test_shops__timestamp(fake, clock, call, seconds, number):
    """A request may be five minutes old, and half a minute from the future."""
    token = fake.issue_token(surface="shop")["access_token"]

    reply = call(token, timestamp=int(fake.now()) + seconds)

    assert (200, number) == (reply.status_code, reply.json()["code"])


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"sign": "0" * 64}, 106001),
        ({"sign": ""}, 36009004),
        ({"sign": "é"}, 106001),
        ({"app_key": "x"}, 36009004),
        ({"timestamp": ""}, 36009004),
        ({"timestamp": "now"}, 36009004),
        ({"timestamp": "9" * 5000}, 36009004),
        ({"timestamp": "1e9"}, 36009004),
        ({"shop_id": "1"}, 36009004),
        ({"headers": {}}, 36009004),
    ],
)
def test_shops__refused(fake, call, change, number):
    """Each mistake of a call has its number."""
    reply = call(fake.issue_token(surface="shop")["access_token"], **change)

    assert (200, number) == (reply.status_code, reply.json()["code"])


def test_shops__signed_with_another_secret(fake, session):
    """Who does not know the secret cannot sign."""
    query = {"app_key": fake.client_key, "timestamp": str(int(fake.now()))}
    query["sign"] = signature("another-secret", query)
    headers = {**JSON, "x-tts-access-token": fake.issue_token(surface="shop")["access_token"]}

    assert 106001 == session.get(SHOPS, params=query, headers=headers).json()["code"]


@pytest.mark.parametrize(
    ("seconds", "access_token", "status", "number"),
    [
        (0, "", 200, 36009004),
        (0, "x", 200, 105001),
        (7199, None, 200, 0),
        (7200, None, 200, 105002),
    ],
)
def test_shops__token(fake, clock, call, seconds, access_token, status, number):
    """No token, a wrong one and an expired one each have their number."""
    token = fake.issue_token(surface="shop")["access_token"]
    fake.advance(seconds)

    reply = call(token if access_token is None else access_token)

    assert (status, number) == (reply.status_code, reply.json()["code"])


def test_shops__deauthorized(fake, call):
    """A seller who removes the app ends its tokens."""
    token = fake.issue_token(surface="shop")
    fake.remove_connection(token["open_id"])

    assert 105001 == call(token["access_token"]).json()["code"]


def test_shops__scope(fake, call):
    """A call without the scope that it needs is the one with HTTP 401."""
    token = fake.issue_token(["seller.product.basic"], surface="shop")["access_token"]

    reply = call(token)

    assert (401, 105005) == (reply.status_code, reply.json()["code"])


def test_shops__no_content_type():
    """A call without the documented Content-Type is noted."""
    fake = FakeTikTok(strict=False)
    query = {"app_key": fake.client_key, "timestamp": str(int(fake.now()))}
    query["sign"] = signature(fake.client_secret, query)
    headers = {"x-tts-access-token": fake.issue_token(surface="shop")["access_token"]}
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        reply = session.get(SHOPS, params=query, headers=headers).json()

    assert 0 == reply["code"]
    (noted,) = fake.warnings
    assert noted.startswith("undocumented for shops: another Content-Type than application/json")


@pytest.mark.parametrize(
    ("method", "url", "status", "number"),
    [
        ("POST", SHOPS, 405, 36009010),
        ("GET", f"{SHOPS}/", 404, 36009009),
        ("GET", "https://open-api.tiktokglobalshop.com/api/v2/user/info/", 404, 36009009),
    ],
)
def test_api__not_there(call, method, url, status, number):
    """A path or a method that is not there has a number."""
    reply = call("x", url, method=method)

    assert (status, number) == (reply.status_code, reply.json()["code"])


# -- all of it -----------------------------------------------------------------------------


def test_served__every_path_on_one_host(fake, call):
    """On a socket all of it is below one address."""
    token = fake.issue_token(surface="shop")["access_token"]
    with fake.serve() as server:
        found = call(token, f"{server.url}/authorization/202309/shops")
        lost = call(token, f"{server.url}/authorization/202309/nothing")
        posted = requests.post(f"{server.url}/api/v2/token/get", json={}, timeout=5)

    assert (0, 36009009) == (found.json()["code"], lost.json()["code"])
    assert (404, "404 page not found") == (posted.status_code, posted.text)


@pytest.mark.parametrize(
    ("kind", "details", "status", "number"),
    [
        ("error", {}, 200, 36009007),
        ("error", {"code": 36004004}, 200, 36004004),
        ("error", {"error": "invalid_grant"}, 200, 36004005),
        ("status", {}, 503, 36009007),
        ("status", {"status": 429}, 429, 36009002),
    ],
)
@pytest.mark.parametrize(("endpoint", "url"), [("refresh", f"{TOKEN}/refresh"), ("shops", SHOPS)])
def test_fail__in_this_form(fake, session, endpoint, url, kind, details, status, number):
    """A planned error comes in the envelope, with a number that fits if none is given."""
    fake.fail(endpoint, kind, **details)

    reply = session.get(url)

    assert (status, number, None) == (reply.status_code, reply.json()["code"], reply.json()["data"])
    assert str(number) == fake.requests[-1].error


def test_fail__at_the_page(fake):
    """A planned error of the page returns to the app, with the code that is none."""
    fake.fail("authorize", "error", error="auth_denied")

    assert {"error": "auth_denied", "code": "null", "state": "a-state"} == authorize(fake)
