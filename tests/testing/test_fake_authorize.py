"""The fake TikTok's consent and error pages, and the browser that `authorize` plays."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from tiktok_oauth_session.testing import FakePageError, FakeTikTok

PAGE = "https://www.tiktok.com/v2/auth/authorize/"
V1_PAGE = "https://www.tiktok.com/auth/authorize/"
DESKTOP = "http://localhost:8123/callback/"
PKCE = {"code_challenge": "0" * 64, "code_challenge_method": "S256"}


@pytest.fixture
def fake():
    """A fresh fake."""
    return FakeTikTok()


def url(page=PAGE, **changes):
    """Return an authorization URL."""
    query = {
        "client_key": "sbaw-test-key",
        "response_type": "code",
        "scope": "user.info.basic,video.list",
        "redirect_uri": "https://app.example/callback/",
        "state": "a state & more",
        **changes,
    }
    given = {name: value for name, value in query.items() if value is not None}
    return f"{page}?{urlencode(given)}"


def query_of(callback):
    """Return a URL's parameters."""
    return {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}


class Page(HTMLParser):
    """What a browser would find on a page."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def find(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_authorize__a_scope_that_is_asked_for_twice(fake):
    """A scope that an app names twice has one box, and is granted once."""
    with fake.serve() as server, requests.Session() as browser:
        page = Page(
            browser.get(
                url(f"{server.url}/v2/auth/authorize/", scope="user.info.basic,video.list,video.list")
            ).text
        )
    callback = fake.authorize(url(scope="user.info.basic,video.list,video.list"))

    assert ["user.info.basic", "video.list"] == [each["name"] for each in page.find("input")]
    assert "user.info.basic,video.list" == query_of(callback)["scopes"]


@pytest.mark.parametrize("page", [PAGE, PAGE.rstrip("/"), "http://127.0.0.1:1/v2/auth/authorize/"])
def test_authorize__grants_what_was_asked(fake, page):
    """The callback carries code, granted scopes and the state, unchanged."""
    callback = fake.authorize(url(page))

    assert callback.startswith("https://app.example/callback/?code=")
    assert "%2A0%215413&scopes=user.info.basic%2Cvideo.list&state=" in callback
    assert query_of(callback)["state"] == "a state & more"
    assert [(r.method, r.status, r.committed) for r in fake.requests] == [
        ("GET", 200, False),
        ("POST", 302, True),
    ]


@pytest.mark.parametrize(
    ("grant", "scopes"),
    [
        (["video.list"], "user.info.basic,video.list"),
        (["user.info.basic"], "user.info.basic"),
        ([], "user.info.basic"),
    ],
)
def test_authorize__grants_less(fake, grant, scopes):
    """The user may leave scopes out, but not user.info.basic."""
    assert query_of(fake.authorize(url(), grant=grant))["scopes"] == scopes


def test_authorize__cannot_grant_more(fake):
    """A user cannot grant what the app did not ask for."""
    with pytest.raises(ValueError, match="cannot grant"):
        fake.authorize(url(), grant=["video.upload"])


def test_authorize__denied(fake):
    """A user who cancels sends access_denied and the state back."""
    callback = fake.authorize(url(), deny=True)

    assert query_of(callback) == {
        "error": "access_denied",
        "error_description": "access_denied",
        "state": "a state & more",
    }
    assert fake.requests[-1].error == "access_denied"


def test_authorize__another_user(fake):
    """Any user of the fake can be the one who logs in."""
    user = fake.add_user("another-open-id")

    code = query_of(fake.authorize(url(), user=user))["code"]
    session = requests.Session()
    session.mount("https://", fake.adapter())
    body = session.post(
        "https://open.tiktokapis.com/v2/oauth/token/",
        {
            "client_key": fake.client_key,
            "client_secret": fake.client_secret,
            "code": code,
            "grant_type": "authorization_code",
            "redirect_uri": "https://app.example/callback/",
        },
    ).json()

    assert body["open_id"] == "another-open-id"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"client_key": "x"}, ("unauthorized_client", "client_key", "")),
        ({"client_key": None, "client_id": "x"}, ("unauthorized_client", "client_key", "")),
        ({"client_id": "x"}, ("invalid_request", "client_id", "")),
        ({"nonce": "x"}, ("invalid_request", "nonce", "")),
        ({"response_type": "token"}, ("unsupported_response_type", "response_type", "")),
        ({"scope": "user.info.basic video.list"}, ("invalid_scope", "scope", "")),
        ({"scope": "research.data.basic"}, ("invalid_scope", "scope", "")),
        ({"scope": None}, ("invalid_scope", "scope", "")),
        ({"redirect_uri": "https://app.example/callback"}, ("invalid_request", "redirect_uri", "")),
        ({"redirect_uri": "http://127.0.0.1:*/callback/"}, ("invalid_request", "redirect_uri", "")),
        ({"redirect_uri": "http://127.0.0.1/callback/"}, ("invalid_request", "redirect_uri", "")),
        ({"state": None}, ("invalid_request", "state", "")),
        ({"state": ""}, ("invalid_request", "state", "")),
        ({"disable_auto_auth": "yes"}, ("invalid_request", "disable_auto_auth", "")),
        ({"redirect_uri": DESKTOP}, ("invalid_request", "code_challenge", "10007")),
        (
            {"redirect_uri": DESKTOP, "code_challenge": "0" * 64},
            ("invalid_request", "code_challenge_method", "10008"),
        ),
        (
            {"redirect_uri": DESKTOP, **PKCE, "code_challenge_method": "plain"},
            ("invalid_request", "code_challenge_method", "10008"),
        ),
    ],
)
def test_authorize__configuration_error(fake, changes, problem):
    """A configuration error ends on TikTok's own page; the app never hears of it."""
    with pytest.raises(FakePageError) as caught:
        fake.authorize(url(**changes))

    error = caught.value
    assert (error.error, error.error_type, error.err_code) == problem
    assert error.url.startswith(PAGE)
    assert query_of(error.url)["logid"]
    assert problem[1] in str(error)
    assert not any(record.committed for record in fake.requests)


@pytest.mark.parametrize(
    "changes",
    [
        {"disable_auto_auth": "0"},
        {"disable_auto_auth": "1"},
        {"redirect_uri": DESKTOP, **PKCE},
        {"redirect_uri": "http://127.0.0.1:65535/callback/", **PKCE},
        {"code_challenge": "0" * 64},
    ],
)
def test_authorize__documented_variants(fake, changes):
    """Auto-authorization, any loopback port and a mobile app's PKCE are accepted."""
    assert "code" in query_of(fake.authorize(url(**changes)))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"client_key": "x"}, ("param_error", "client_key", "10003")),
        ({"code_challenge": "x"}, ("param_error", "code_challenge", "10002")),
        ({"response_type": "x"}, ("param_error", "response_type", "10005")),
        ({"redirect_uri": "https://evil.example/"}, ("param_error", "redirect_uri", "10006")),
        ({"scope": "x"}, ("param_error", "scope", "10004")),
        ({"state": None}, ("param_error", "state", "10005")),
    ],
)
def test_authorize__legacy_configuration_error(fake, changes, problem):
    """The legacy page has other names and numbers for the same mistakes."""
    with pytest.raises(FakePageError) as caught:
        fake.authorize(url(V1_PAGE, **changes))

    assert (caught.value.error, caught.value.error_type, caught.value.err_code) == problem


def test_authorize__legacy_checks_the_domain_only(fake):
    """The legacy page accepts any path of a registered domain."""
    callback = fake.authorize(url(V1_PAGE, redirect_uri="https://app.example/else?a=b"))

    assert callback.startswith("https://app.example/else?a=b&code=")


def test_authorize__planned_fault(fake):
    """A gateway's page instead of the consent page is the browser's HTTP error."""
    fake.fail("authorize", "html")

    with pytest.raises(requests.HTTPError, match="502"):
        fake.authorize(url())


def test_authorize__planned_error(fake):
    """A planned error reaches the app as a callback."""
    fake.fail("authorize", "error", error="server_error", description="Oops.")

    callback = fake.authorize(url())

    assert query_of(callback) == {
        "error": "server_error",
        "error_description": "Oops.",
        "state": "a state & more",
    }


def test_consent_page__accessible_and_alone(fake):
    """The page has a checkbox per scope and two buttons, and loads nothing."""
    fake = FakeTikTok(app_name="<Cut & Paste>")
    with fake.serve() as server:
        reply = requests.get(url(f"{server.url}/v2/auth/authorize/"), timeout=5)
    page = Page(reply.text)

    boxes = page.find("input")
    assert [(box["name"], "disabled" in box) for box in boxes] == [
        ("user.info.basic", True),
        ("video.list", False),
    ]
    assert all("checked" in box for box in boxes)
    assert [button["value"] for button in page.find("button")] == ["cancel", "allow"]
    assert page.find("html") == [{"lang": "en"}]
    assert not [t for t, a in page.tags if t in ("script", "img", "link", "iframe") or "src" in a]
    assert "<Cut" not in reply.text
    assert "&lt;Cut &amp; Paste&gt;" in reply.text
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


def test_consent_page__posts_back_to_itself(fake):
    """What a browser would submit leads to the callback, whatever people are called."""
    fake.add_user(display_name="Half a \ud83d")
    with fake.serve() as server, requests.Session() as browser:
        page = Page(browser.get(url(f"{server.url}/v2/auth/authorize/")).text)
        (form,), options = page.find("form"), page.find("option")
        answers = {"decision": "allow", "open_id": options[1]["value"], "video.list": "on"}
        reply = browser.post(server.url + form["action"], answers, allow_redirects=False)

    assert reply.status_code == 302
    assert query_of(reply.headers["Location"])["scopes"] == "user.info.basic,video.list"
    assert len(page.find("select")) == 1


def test_error_page__names_what_to_correct(fake):
    """The error page is an ordinary page whose address carries the details."""
    with fake.serve() as server:
        address = url(f"{server.url}/v2/auth/authorize/", redirect_uri="https://<b>.example/")
        reply = requests.get(address, timeout=5)

    assert (reply.status_code, len(reply.history)) == (200, 1)
    assert "We couldn't log in with TikTok" in reply.text
    assert "<li>redirect_uri</li>" in reply.text
    assert query_of(reply.url)["error"] == "invalid_request"
