"""Whatever stands in a URL, in `api_hosts` or in a platform's address: only documented errors come out."""

from __future__ import annotations

import contextlib

import pytest
import requests
from hypothesis import example, given, settings, strategies as st
from oauthlib.oauth2 import InsecureTransportError

from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session, TikTokOAuthError
from tiktok_oauth_session._http.allowed_hosts import (
    is_loopback,
    is_one_of,
    origin_of,
    require_secure,
    verdict_on,
)

ACCESS_TOKEN = "act.fake-and-long-enough"
API = "open.tiktokapis.com"
#: What parsers of URLs disagree about, and what they do not expect.
PIECES = st.sampled_from(
    [
        *(
            "https://",
            "http://",
            "HTTPS:",
            "//",
            "ftp://",
            "file:///",
            "data:",
            API,
            "evil.example",
            "127.0.0.1",
        ),
        *(
            "localhost",
            "[::1]",
            "[::1",
            "[v1.x]",
            "0x7f.1",
            "2130706433",
            "xn--",
            "xn--a",
            "\u3002",
            "\uff0e",
        ),
        *(
            "@",
            ":",
            ":443",
            ":0",
            ":99999",
            ":x",
            ":-1",
            "/",
            "\\",
            "?",
            "#",
            "%",
            "%2f",
            "%00",
            "%zz",
            ".",
            "..",
        ),
        *(
            " ",
            "\t",
            "\n",
            "\r\n",
            "\x00",
            "\x7f",
            "\u202e",
            "\ud800",
            "\u0130",
            "\u00df",
            "a" * 64,
            "*",
            ",",
            "'",
            '"',
        ),
    ]
)
ANYTHING = st.lists(PIECES | st.text(max_size=3), max_size=7).map("".join)
URLS = ANYTHING | ANYTHING.map(f"https://{API}{{}}".format) | ANYTHING.map(f"https://{{}}{API}/".format)
#: ValueError: what requests raises over credentials that no header could hold, and over crooked addresses.
REFUSALS = (requests.RequestException, InsecureTransportError, ValueError)
many = settings(max_examples=300, deadline=None, database=None)


class Nowhere(requests.adapters.HTTPAdapter):
    """An adapter that only keeps where a request would have gone, and whether the token would have."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def send(self, request, **options):
        pool = self.poolmanager.connection_from_url(request.url)
        host = f"[{pool.host}]" if ":" in pool.host else pool.host.rstrip(".")
        everything = f"{request.url}{request.headers}{request.body}"
        self.shown.append((pool.scheme, host, ACCESS_TOKEN in everything))
        raise requests.ConnectionError("nobody is there")


@contextlib.contextmanager
def session_on(adapter, **options):
    """Lend a session whose token is fresh, on an adapter."""
    token = {"access_token": ACCESS_TOKEN, "expires_in": 7200, "expires_at": 9e9}
    session = TikTokOAuth2Session("sbaw-test-key", token=token, **options)
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter)
    with session:
        yield session


@pytest.mark.slow
@many
@given(url=URLS, host=ANYTHING)
@example(url="https://[::1", host=":99999")
@example(url="https://evil.example/", host="[")
def test_judgements__anything(url, host):
    """What is judged of a URL is yes or no; `require_secure` says no in its own way, also to no URL."""
    assert {bool} == {
        type(answer) for answer in (is_loopback(url), is_one_of(url, [host]), *verdict_on(url, (host,)))
    }
    assert 3 == len(origin_of(url))
    try:
        require_secure(url)
    except InsecureTransportError:
        assert (origin_of(url).scheme != "http", False) == verdict_on(url, (host,))
    else:
        assert verdict_on(url, (host,)).may_travel


@pytest.mark.slow
@many
@given(url=URLS, hosts=st.lists(ANYTHING, max_size=2))
@example(url=f"https://{API}/", hosts=[":99999"])
@example(url="https://rc8[\x91@\xe7/?code=", hosts=[])
@example(url="http://[::1]", hosts=["[::1]"])
@example(url=f"https://\u3002:x@{API}/", hosts=[])
def test_request__anything(url, hosts):
    """A request with any URL and any `api_hosts` is sent, or refused as requests or oauthlib would."""
    adapter = Nowhere()
    refused = pytest.raises(REFUSALS)
    with session_on(adapter, api_hosts=hosts) as session, refused as caught:
        session.get(url)

    assert ACCESS_TOKEN not in str(caught.value)
    if not isinstance(caught.value, REFUSALS[:2]):
        bare = requests.Session()
        bare.mount("https://", adapter)
        with pytest.raises(type(caught.value)):
            bare.get(url)
    for scheme, host, shown in adapter.shown:
        assert scheme == "https" or is_loopback(f"http://{host}/")
        assert not shown or host == API or is_one_of(f"{scheme}://{host}/", hosts)


@many
@given(url=URLS)
@example(url=f"https://{API}@evil.example/")
def test_request__token_to_the_api_only(url):
    """Whatever a URL looks like, the token is shown exactly where the connection goes to the API by https."""
    adapter = Nowhere()
    with (
        session_on(adapter) as session,
        contextlib.suppress(*REFUSALS),
    ):
        session.get(url)

    for scheme, host, shown in adapter.shown:
        assert shown == (scheme == "https" and host == API)


@pytest.mark.slow
@many
@given(base=URLS)
@example(base="https://[::1")
@example(base="http://evil.example")
@example(base=f"https://\u3002:x@{API}")
def test_platform__anywhere(base):
    """A platform at any address is none, which is said, or one to which secrets go over https only."""
    adapter = Nowhere()
    try:
        platform = LOGIN_KIT.at(base)
    except ValueError:
        return
    options = {"client_secret": "fake-secret", "redirect_uri": "https://app.example/", "token_updater": print}
    with session_on(adapter, platform=platform, **options) as session:
        session.token = {"refresh_token": "rft.fake", "access_token": ACCESS_TOKEN, "expires_at": 1}
        for use in (
            session.fresh_token,
            session.authorization_url,
            session.fetch_client_token,
            session.start_qr_login,
            session.revoke_token,
        ):
            with contextlib.suppress(TikTokOAuthError, *REFUSALS):
                use()

    for scheme, host, *_ in adapter.shown:
        assert scheme == "https" or is_loopback(f"http://{host}/")


ELSEWHERE = "http://evil.example/v2/oauth/token/"


@pytest.mark.parametrize("hook_leads", [False, True], ids=["the endpoint", "a hook"])
@pytest.mark.parametrize("grant", ["access_token", "refresh_token"])
def test_secret__over_plain_http(grant, hook_leads):
    """The app's secret goes to no token endpoint over plain http, wherever its address comes from."""
    adapter = Nowhere()
    platform = LOGIN_KIT if hook_leads else LOGIN_KIT.at("http://evil.example")
    options = {"client_secret": "fake-secret", "token_updater": print}
    with session_on(adapter, platform=platform, **options) as session:
        session.token = {"refresh_token": "rft.fake", "access_token": ACCESS_TOKEN, "expires_at": 1}
        if hook_leads:
            session.register_compliance_hook(f"{grant}_request", lambda _, *rest: (ELSEWHERE, *rest))
        with pytest.raises(InsecureTransportError):
            {"access_token": session.fetch_client_token, "refresh_token": session.refresh_token}[grant]()

    assert [] == adapter.shown
