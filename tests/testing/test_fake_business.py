"""The fake TikTok for Business: the token of an account's holder, and the one of an advertiser."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests

from tiktok_oauth_session.testing import FakePageError, FakeTikTok

HOST = "https://business-api.tiktok.com"
API = f"{HOST}/open_api/v1.3"
ACCOUNT_PAGE = "https://www.tiktok.com/v2/auth/authorize"
ADVERTISER_PAGE = f"{HOST}/portal/auth"
CALLBACK = "https://app.example/callback/"
DAY_S = 86_400


@pytest.fixture
def session(fake):
    """A session with the fake's adapter."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        yield session


@pytest.fixture
def post(session):
    """Posts JSON to a path of the API, and returns the envelope."""

    def send(path, content, **options):
        reply = session.post(f"{API}/{path}", json=content, **options)
        assert 200 == reply.status_code
        envelope = reply.json()
        assert {"code", "message", "request_id", "data"} == set(envelope)
        return envelope

    return send


@pytest.fixture
def app(fake):
    """What the account holder's token endpoints are told of the app."""
    return {"client_id": fake.client_key, "client_secret": fake.client_secret}


@pytest.fixture
def advertising_app(fake):
    """What the advertiser's endpoints are told of the app."""
    return {"app_id": fake.client_key, "secret": fake.client_secret}


def authorize(fake, page=ACCOUNT_PAGE, query=(), **choices):
    """Let somebody consent, and return what the callback says."""
    asked = {
        ACCOUNT_PAGE: {
            "client_key": fake.client_key,
            "response_type": "code",
            "scope": "user.info.basic,video.list",
        },
        ADVERTISER_PAGE: {"app_id": fake.client_key},
    }[page]
    asked = {**asked, "redirect_uri": CALLBACK, "state": "a-state", **dict(query)}
    callback = fake.authorize(f"{page}?{urlencode(asked)}", **choices)
    assert callback.startswith(f"{CALLBACK}?")
    return dict(parse_qsl(urlsplit(callback).query))


def exchange(app, code, **change):
    """Return what an account holder's code is exchanged with."""
    about = {"grant_type": "authorization_code", "auth_code": code, "redirect_uri": CALLBACK}
    return {**app, **about, **change}


def refresh(app, token, **change):
    """Return what an account holder's token is refreshed with."""
    return {**app, "grant_type": "refresh_token", "refresh_token": token, **change}


# -- the holder of a TikTok account --------------------------------------------------------


def test_token__of_a_code(fake, post, app):
    """The code of Login Kit's page is good for a token, in the envelope and with this surface's names."""
    answer = authorize(fake, grant=["user.info.basic"])

    envelope = post("tt_user/oauth2/token/", exchange(app, answer["code"]))

    data = envelope["data"]
    assert (0, "OK") == (envelope["code"], envelope["message"])
    assert {
        "access_token": data["access_token"],
        "expires_in": 7200,
        "open_id": fake.users[0].open_id,
        "refresh_token": data["refresh_token"],
        "refresh_token_expires_in": 15_552_000,
        "scope": "user.info.basic",
        "token_type": "Bearer",
    } == data
    assert fake.is_alive(data["access_token"])
    assert fake.is_alive(data["refresh_token"])
    assert ("token", "business", True) == (
        fake.requests[-1].endpoint,
        fake.requests[-1].surface,
        fake.requests[-1].committed,
    )
    assert "v2" == fake.requests_to("authorize")[-1].surface


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"client_id": "x"}, 40002),
        ({"client_secret": "x"}, 40002),
        ({"client_secret": ""}, 40002),
        ({"client_secret": "\ud800"}, 40002),
        ({"client_id": 5}, 40002),
        ({"grant_type": "refresh_token"}, 40108),
        ({"auth_code": "x"}, 40110),
        ({"auth_code": ""}, 40002),
        ({"redirect_uri": "https://app.example/callback"}, 40002),
        ({"redirect_uri": None}, 40002),
        ({"code_verifier": "x"}, 40002),
    ],
)
def test_token__refused(fake, post, app, change, number):
    """Each mistake has its number, with HTTP 200, and leaves the code as it was."""
    code = authorize(fake)["code"]

    envelope = post("tt_user/oauth2/token/", exchange(app, code, **change))

    assert (number, {}) == (envelope["code"], envelope["data"])
    assert (str(number), False) == (fake.requests[-1].error, fake.requests[-1].committed)
    assert 0 == post("tt_user/oauth2/token/", exchange(app, code))["code"]


@pytest.mark.parametrize(("seconds", "number"), [(599, 0), (600, 40131), (601, 40131)])
def test_token__code_expires(fake, clock, post, app, seconds, number):
    """A code lives as long as the fake was told."""
    code = authorize(fake)["code"]
    fake.advance(seconds)

    assert number == post("tt_user/oauth2/token/", exchange(app, code))["code"]


def test_token__code_twice(fake, post, app):
    """A code is good once."""
    code = authorize(fake)["code"]
    post("tt_user/oauth2/token/", exchange(app, code))

    assert 40110 == post("tt_user/oauth2/token/", exchange(app, code))["code"]


def test_token__code_of_an_advertiser(fake, post, app):
    """The code of another page is none."""
    code = authorize(fake, ADVERTISER_PAGE)["code"]

    assert 40110 == post("tt_user/oauth2/token/", exchange(app, code))["code"]


@pytest.mark.parametrize("strict", [False, True])
def test_token__pkce(strict):
    """A verifier has no name here, so a challenge is noted, and a strict fake refuses it."""
    fake = FakeTikTok(strict=strict)
    pkce = {"code_challenge": "0" * 64, "code_challenge_method": "S256"}
    code = authorize(fake, query=pkce)["code"]
    app = {"client_id": fake.client_key, "client_secret": fake.client_secret}
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        reply = session.post(f"{API}/tt_user/oauth2/token/", json=exchange(app, code)).json()

    assert (40002 if strict else 0) == reply["code"]
    assert len(fake.warnings) == (not strict)


@pytest.mark.parametrize(
    "options",
    [
        {"data": {"grant_type": "authorization_code"}},
        {"data": b"{", "headers": {"Content-Type": "application/json"}},
        {"json": ["x"]},
        {"json": {}, "params": {"client_id": "x"}},
        {"params": {"client_id": "x"}},
    ],
)
def test_token__not_one_json_object(session, options):
    """Parameters stand in one JSON object, and nowhere else."""
    reply = session.post(f"{API}/tt_user/oauth2/token/", **options)

    assert (200, 40002) == (reply.status_code, reply.json()["code"])


@pytest.mark.parametrize(
    ("change", "headers", "what"),
    [
        ({"redirect_uri": CALLBACK}, {}, "redirect_uri"),
        ({}, {"Authorization": "x"}, "an Authorization header"),
        ({}, {"Access-Token": "x"}, "an Access-Token header"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_undocumented__noted_or_refused(strict, change, headers, what):
    """What nobody documents is noted with the page that has it not; a strict fake refuses it."""
    fake = FakeTikTok(strict=strict)
    app = {"client_id": fake.client_key, "client_secret": fake.client_secret}
    content = refresh(app, fake.issue_token(surface="business")["refresh_token"], **change)
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        reply = session.post(f"{API}/tt_user/oauth2/refresh_token/", json=content, headers=headers).json()

    page = "https://business-api.tiktok.com/portal/docs?id=1738084387220481"
    assert (40002 if strict else 0) == reply["code"]
    assert ([] if strict else [f"undocumented for refresh: {what}: {page}"]) == fake.warnings


def test_refresh__rotates(fake, post, app):
    """A refresh spends the refresh token, and the end of the year stays where the login put it."""
    token = fake.issue_token(surface="business")
    fake.advance(100)

    envelope = post("tt_user/oauth2/refresh_token/", refresh(app, token["refresh_token"]))

    data = envelope["data"]
    assert (0, 7200, 15_552_000 - 100) == (
        envelope["code"],
        data["expires_in"],
        data["refresh_token_expires_in"],
    )
    assert fake.is_alive(data["refresh_token"])
    assert not fake.is_alive(token["refresh_token"])
    assert ("refresh", "business") == (fake.requests[-1].endpoint, fake.requests[-1].surface)


def test_refresh__spent_token(fake, post, app):
    """A spent refresh token is refused, and counted."""
    spent = fake.issue_token(surface="business")["refresh_token"]
    post("tt_user/oauth2/refresh_token/", refresh(app, spent))

    assert 40107 == post("tt_user/oauth2/refresh_token/", refresh(app, spent))["code"]
    assert 1 == fake.reuse_attempts
    with pytest.raises(AssertionError, match="1 times in 2 refresh requests"):
        fake.assert_no_token_reuse()


def test_refresh__no_rotation():
    """With rotation="none" the refresh token stays, and so does its end."""
    fake = FakeTikTok(rotation="none")
    app = {"client_id": fake.client_key, "client_secret": fake.client_secret}
    token = fake.issue_token(surface="business")
    fake.advance(100)
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        content = refresh(app, token["refresh_token"])
        data = session.post(f"{API}/tt_user/oauth2/refresh_token/", json=content).json()["data"]

    assert (token["refresh_token"], 15_552_000 - 100) == (
        data["refresh_token"],
        data["refresh_token_expires_in"],
    )


@pytest.mark.parametrize(("seconds", "number"), [(-1, 0), (0, 40103), (1, 40103)])
def test_refresh__expires(fake, clock, post, app, seconds, number):
    """A refresh token that is too old has a number of its own."""
    token = fake.issue_token(surface="business")
    fake.advance(15_552_000 + seconds)

    assert number == post("tt_user/oauth2/refresh_token/", refresh(app, token["refresh_token"]))["code"]


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"client_id": "x"}, 40002),
        ({"client_secret": "x"}, 40002),
        ({"refresh_token": "x"}, 40107),
        ({"refresh_token": None}, 40002),
        ({"grant_type": "authorization_code"}, 40108),
    ],
)
def test_refresh__refused(fake, post, app, change, number):
    """Each mistake has its number, and spends nothing."""
    token = fake.issue_token(surface="business")["refresh_token"]

    assert number == post("tt_user/oauth2/refresh_token/", refresh(app, token, **change))["code"]
    assert fake.is_alive(token)


def test_refresh__query_beside_the_body(fake, post, app):
    """A query string is refused, whatever the body says."""
    token = fake.issue_token(surface="business")["refresh_token"]

    envelope = post("tt_user/oauth2/refresh_token/", refresh(app, token), params={"x": "y"})

    assert (40002, True) == (envelope["code"], fake.is_alive(token))


def test_revoke__ends_this_surface(fake, post, app):
    """A revocation ends all of the user's tokens here, and leaves Login Kit's alone."""
    token, second = fake.issue_token(surface="business"), fake.issue_token(surface="business")
    of_login_kit = fake.issue_token()

    envelope = post("tt_user/oauth2/revoke/", {**app, "access_token": token["access_token"]})

    assert (0, {}) == (envelope["code"], envelope["data"])
    ended = [each[name] for each in (token, second) for name in ("access_token", "refresh_token")]
    assert not any(map(fake.is_alive, ended))
    assert [of_login_kit["access_token"]] == [each["access_token"] for each in fake.tokens]
    assert 40105 == post("tt_user/oauth2/revoke/", {**app, "access_token": token["access_token"]})["code"]


@pytest.mark.parametrize(
    ("change", "number"),
    [({"client_secret": "x"}, 40002), ({"access_token": "x"}, 40105), ({"access_token": ""}, 40002)],
)
def test_revoke__refused(fake, post, app, change, number):
    """Each mistake has its number, and ends nothing."""
    token = fake.issue_token(surface="business")["access_token"]

    assert number == post("tt_user/oauth2/revoke/", {**app, "access_token": token, **change})["code"]
    assert fake.is_alive(token)


def test_remove_connection__ends_every_surface(fake):
    """A user who removes the app in TikTok removes it everywhere."""
    tokens = [fake.issue_token(surface=name) for name in ("v2", "business", "advertiser", "shop")]

    fake.remove_connection(fake.users[0].open_id)

    assert not any(fake.is_alive(token["access_token"]) for token in tokens)
    assert [] == fake.tokens


def test_token_info__tells_scopes(fake, post):
    """An access token's owner and scopes can be asked for without a secret."""
    token = fake.issue_token(["user.info.basic", "video.list"], surface="business")

    asked = {"app_id": fake.client_key, "access_token": token["access_token"]}
    data = post("tt_user/token_info/get/", asked)["data"]

    scope = "user.info.basic,video.list"
    assert {"app_id": fake.client_key, "creator_id": token["open_id"], "scope": scope} == data
    assert ("token_info", "business") == (fake.requests[-1].endpoint, fake.requests[-1].surface)
    assert 40002 == post("tt_user/token_info/get/", {**asked, "app_id": "x"})["code"]
    assert 40105 == post("tt_user/token_info/get/", {**asked, "access_token": "x"})["code"]


@pytest.fixture
def business_get(session):
    """Asks for an account's fields, and returns the envelope."""

    def send(token, headers=None, **query):
        query = {"business_id": token["open_id"], **query}
        headers = {"Access-Token": token["access_token"]} if headers is None else headers
        reply = session.get(f"{API}/business/get/", params=query, headers=headers)
        assert 200 == reply.status_code
        return reply.json()

    return send


def test_user_info__fields(fake, business_get):
    """An account has the fields that are asked for, or two."""
    token = fake.issue_token(surface="business")

    default, asked = business_get(token), business_get(token, fields='["followers_count", "is_verified"]')

    assert ["display_name", "profile_image"] == list(default["data"])
    assert ("Fake User", {"followers_count": 0, "is_verified": False}) == (
        default["data"]["display_name"],
        asked["data"],
    )
    assert ("user_info", "business") == (fake.requests[-1].endpoint, fake.requests[-1].surface)


@pytest.mark.parametrize(
    ("query", "headers", "number"),
    [
        ({}, {}, 40104),
        ({}, {"Authorization": "Bearer x"}, 40104),
        ({}, {"Access-Token": "x"}, 40105),
        ({"business_id": ""}, None, 40002),
        ({"business_id": "x"}, None, 40001),
        ({"fields": "display_name"}, None, 40002),
        ({"fields": "[]"}, None, 40002),
        ({"fields": '["nothing"]'}, None, 40002),
        ({"fields": '{"display_name": 1}'}, None, 40002),
        ({"fields": '["username"]'}, None, 40130),
        ({"fields": '["followers_count"]'}, None, 40130),
        ({"page": "1"}, None, 40002),
    ],
)
def test_user_info__refused(fake, business_get, query, headers, number):
    """Each mistake of an API call has its number."""
    token = fake.issue_token(["user.info.basic"], surface="business")

    assert number == business_get(token, headers, **query)["code"]


@pytest.mark.parametrize("options", [{"json": {}}, {"params": [("business_id", "x"), ("business_id", "y")]}])
def test_user_info__one_query_and_no_body(fake, session, options):
    """Parameters of an API call stand in the query, once each."""
    token = fake.issue_token(surface="business")
    options = {"params": {"business_id": token["open_id"]}, **options}

    reply = session.get(f"{API}/business/get/", headers={"Access-Token": token["access_token"]}, **options)

    assert 40002 == reply.json()["code"]


@pytest.mark.parametrize(("seconds", "number"), [(-1, 0), (0, 40102), (1, 40102)])
def test_user_info__token_expires(fake, clock, business_get, seconds, number):
    """An expired access token has a number of its own."""
    token = fake.issue_token(surface="business")
    fake.advance(7200 + seconds)

    assert number == business_get(token)["code"]


# -- an advertiser -------------------------------------------------------------------------


def test_advertiser__whole_story(fake, session, post, advertising_app):
    """An advertiser's token comes without an end, is good ten years later, and dies when it is revoked."""
    answer = authorize(fake, ADVERTISER_PAGE)
    asked = {**advertising_app, "auth_code": answer["auth_code"], "return_advertiser_ids": True}
    data = post("oauth2/access_token/", asked)["data"]
    number, name = fake.users[0].number(), fake.users[0].display_name

    assert {"auth_code": answer["code"], "code": answer["code"], "state": "a-state"} == answer
    assert {"access_token": data["access_token"], "advertiser_ids": [number], "scope": [4, 15]} == data
    fake.advance(3650 * DAY_S)
    header = {"Access-Token": data["access_token"]}
    listed = session.get(f"{API}/oauth2/advertiser/get/", params=advertising_app, headers=header).json()
    assert {"list": [{"advertiser_id": number, "advertiser_name": name}]} == listed["data"]
    content = {**advertising_app, "access_token": data["access_token"]}
    revoked = post("oauth2/revoke_token/", content)
    assert {"app_id": fake.client_key, "advertiser_ids": [number]} == revoked["data"]
    listed = session.get(f"{API}/oauth2/advertiser/get/", params=advertising_app, headers=header).json()
    assert 40105 == listed["code"]
    assert [
        ("authorize", "advertiser"),
        ("authorize", "advertiser"),
        ("token", "advertiser"),
        ("advertisers", "advertiser"),
        ("revoke", "advertiser"),
        ("advertisers", "advertiser"),
    ] == [(record.endpoint, record.surface) for record in fake.requests]


@pytest.mark.parametrize(("seconds", "number"), [(3599, 0), (3600, 40131), (3601, 40131)])
def test_advertiser__code_expires(fake, clock, post, advertising_app, seconds, number):
    """An advertiser's code lives an hour."""
    code = authorize(fake, ADVERTISER_PAGE)["auth_code"]
    fake.advance(seconds)

    assert number == post("oauth2/access_token/", {**advertising_app, "auth_code": code})["code"]


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"app_id": "x"}, 40002),
        ({"secret": "x"}, 40002),
        ({"secret": None}, 40002),
        ({"auth_code": "x"}, 40110),
        ({"grant_type": "authorization_code"}, 40002),
        ({"redirect_uri": CALLBACK}, 40002),
    ],
)
def test_advertiser__token_refused(fake, post, advertising_app, change, number):
    """Each mistake has its number, and leaves the code as it was."""
    content = {**advertising_app, "auth_code": authorize(fake, ADVERTISER_PAGE)["auth_code"]}

    assert number == post("oauth2/access_token/", {**content, **change})["code"]
    assert 0 == post("oauth2/access_token/", content)["code"]
    assert 40110 == post("oauth2/access_token/", content)["code"]


def test_advertiser__code_of_an_account_holder(fake, post, advertising_app):
    """The code of another page is none."""
    code = authorize(fake)["code"]

    assert 40110 == post("oauth2/access_token/", {**advertising_app, "auth_code": code})["code"]


@pytest.mark.parametrize(
    ("query", "headers", "number"),
    [
        ({}, {}, 40104),
        ({"secret": "x"}, None, 40002),
        ({"secret": ""}, None, 40002),
        ({"page": "1"}, None, 40002),
    ],
)
def test_advertiser__list_refused(fake, session, advertising_app, query, headers, number):
    """Each mistake of the API call has its number."""
    token = fake.issue_token(surface="advertiser")["access_token"]
    headers = {"Access-Token": token} if headers is None else headers

    reply = session.get(f"{API}/oauth2/advertiser/get/", params={**advertising_app, **query}, headers=headers)

    assert (200, number) == (reply.status_code, reply.json()["code"])


def test_advertiser__grants_a_part(fake, post, advertising_app):
    """An advertiser may leave out a permission."""
    code = authorize(fake, ADVERTISER_PAGE, grant=["4"])["auth_code"]

    assert [4] == post("oauth2/access_token/", {**advertising_app, "auth_code": code})["data"]["scope"]
    with pytest.raises(ValueError, match="asked were 4, 15; cannot grant"):
        authorize(fake, ADVERTISER_PAGE, grant=["video.list"])


def test_advertiser__cancels(fake):
    """An advertiser who cancels is told of as Login Kit tells it."""
    answer = authorize(fake, ADVERTISER_PAGE, deny=True)

    assert {"error": "access_denied", "error_description": "access_denied", "state": "a-state"} == answer


@pytest.mark.parametrize(
    ("query", "error", "error_type"),
    [
        ({"app_id": "x"}, "unauthorized_client", "app_id"),
        ({"redirect_uri": "https://elsewhere.example/"}, "invalid_request", "redirect_uri"),
        ({"state": ""}, "invalid_request", "state"),
        ({"scope": "4"}, "invalid_request", "scope"),
    ],
)
def test_advertiser__page_errors(fake, query, error, error_type):
    """What is wrong with the page's URL is shown there, and the app is never called."""
    with pytest.raises(FakePageError) as caught:
        authorize(fake, ADVERTISER_PAGE, query)

    assert (error, error_type) == (caught.value.error, caught.value.error_type)


def test_advertiser__page_parameter_twice(fake):
    """A page whose URL says a thing twice is an error."""
    query = urlencode({"app_id": fake.client_key, "state": "s", "redirect_uri": CALLBACK})

    with pytest.raises(FakePageError, match="correct state"):
        fake.authorize(f"{ADVERTISER_PAGE}?{query}&state=t")


def test_advertiser__page_of_a_browser(fake, session):
    """A browser sees a form with the permissions, and an error page."""
    query = {"app_id": fake.client_key, "state": "s", "redirect_uri": CALLBACK}
    page = session.get(ADVERTISER_PAGE, params=query)
    wrong = session.get(ADVERTISER_PAGE, params={**query, "app_id": "x"})

    assert 'name="4"' in page.text
    assert 'value="allow"' in page.text
    assert "<li>app_id</li>" in wrong.text


# -- the host ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/open_api/v1.3/tt_user/oauth2/token/"),
        ("POST", "/open_api/v1.3/tt_user/oauth2/token"),
        ("POST", "/open_api/v1.3/business/get/"),
        ("GET", "/v2/user/info/"),
    ],
)
def test_host__unknown_route(fake, session, method, path):
    """What is not there is plain text, and so is another method."""
    reply = session.request(method, f"{HOST}{path}")

    assert (404, "Not Found") == (reply.status_code, reply.text)
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert "not_found" == fake.requests[-1].error


def test_host__other_hosts_have_no_business(session):
    """Login Kit's host does not know these paths."""
    reply = session.get("https://open.tiktokapis.com/portal/auth")

    assert (404, "not_found") == (reply.status_code, reply.json()["error"])


def test_served__every_path_on_one_host(fake):
    """On a socket all of it is below one address."""
    with fake.serve() as server, requests.Session() as session:
        token = fake.issue_token(surface="business")
        header = {"Access-Token": token["access_token"]}
        url = f"{server.url}/open_api/v1.3/business/get/"
        found = session.get(url, params={"business_id": token["open_id"]}, headers=header).json()
        lost = session.get(f"{server.url}/open_api/v1.3/nothing/")

    assert "Fake User" == found["data"]["display_name"]
    assert (404, "Not Found") == (lost.status_code, lost.text)


# -- accidents -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "details", "status", "number"),
    [
        ("error", {}, 200, 50000),
        ("error", {"code": 40103}, 200, 40103),
        ("error", {"code": "51000", "status": 500}, 500, 51000),
        ("error", {"error": "invalid_grant"}, 200, 40107),
        ("status", {}, 503, 50000),
        ("status", {"status": 429}, 429, 40100),
    ],
)
@pytest.mark.parametrize(
    ("endpoint", "path"), [("refresh", "tt_user/oauth2/refresh_token/"), ("token", "oauth2/access_token/")]
)
def test_fail__in_this_form(fake, session, endpoint, path, kind, details, status, number):
    """A planned error comes in the envelope, with a number that fits if none is given."""
    fake.fail(endpoint, kind, **details)

    reply = session.post(f"{API}/{path}", json={})

    envelope = reply.json()
    assert (status, number, {}) == (reply.status_code, envelope["code"], envelope["data"])
    assert envelope["request_id"] == reply.headers["X-Tt-Logid"]
    assert str(number) == fake.requests[-1].error


def test_fail__at_the_page(fake):
    """A planned error of the advertiser's page returns to the app."""
    fake.fail("authorize", "error", error="server_error", description="No.")

    answer = authorize(fake, ADVERTISER_PAGE)

    assert {"error": "server_error", "error_description": "No.", "state": "a-state"} == answer


def test_fail__reply_lost(fake, session, app):
    """A lost reply has spent the token, and hooks see it arrive and go."""
    token, seen = fake.issue_token(surface="business")["refresh_token"], []
    fake.before("refresh", lambda record: seen.append((record.surface, fake.is_alive(token))))
    fake.after("refresh", lambda record: seen.append((record.status, fake.is_alive(token))))
    fake.fail("refresh", "reset_after")

    with pytest.raises(requests.ConnectionError):
        session.post(f"{API}/tt_user/oauth2/refresh_token/", json=refresh(app, token))

    assert [("business", True), (200, False)] == seen
