"""Where a request goes, and how far the token goes with it: paths, plain http, redirects, hooks, proxies."""

from __future__ import annotations

import dataclasses
import json
import traceback

import pytest
import requests
from oauthlib.oauth2 import BackendApplicationClient, InsecureTransportError

from tiktok_oauth_session import LOGIN_KIT, LOGIN_KIT_V1, TokenError, tiktok_compliance_fix

PATH = "/v2/user/info/?fields=open_id"
USER_INFO = f"https://open.tiktokapis.com{PATH}"
V1_USER_INFO = "https://open-api.tiktok.com/user/info/"
OWN_HEADER = dataclasses.replace(LOGIN_KIT, access_token_header="Access-Token", access_token_prefix="")
ELSEWHERE = "https://elsewhere.example/"
PROXY = "http://proxy.example:3128"


# --- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "url"),
    [
        (LOGIN_KIT, "https://open.tiktokapis.com/v2/user/info/"),
        (LOGIN_KIT.at("https://proxy.example/tiktok"), "https://proxy.example/tiktok/v2/user/info/"),
        (LOGIN_KIT.at("http://127.0.0.1:9400"), "http://127.0.0.1:9400/v2/user/info/"),
        (LOGIN_KIT_V1, "https://open-api.tiktok.com/v2/user/info/"),
    ],
)
def test_path__goes_to_the_platform(make_session, issue, platform, url):
    """A path is completed with the platform's API address, and sent with the token."""
    session = make_session(token=issue(), platform=platform)

    response = session.get("/v2/user/info/")

    sent = response.request.url
    assert url == sent.partition("?")[0]
    assert ("access_token=" in sent) == (platform is LOGIN_KIT_V1)
    assert ("Authorization" in response.request.headers) == (platform is not LOGIN_KIT_V1)


def test_path__served_fake(issue, fake):
    """A program reaches a fake on a socket by `platform=` alone: login, call and refresh."""
    from tiktok_oauth_session import TikTokOAuth2Session

    redirect_uri = "https://app.example/callback/"
    with (
        fake.serve() as server,
        TikTokOAuth2Session(
            fake.client_key,
            client_secret=fake.client_secret,
            redirect_uri=redirect_uri,
            platform=LOGIN_KIT.at(server.url),
            token_updater=lambda token: None,
        ) as session,
    ):
        url, _ = session.authorization_url()
        token = session.fetch_token(authorization_response=fake.authorize(url))
        fake.advance(7200)
        response = session.get(PATH)

    assert token["open_id"] == response.json()["data"]["user"]["open_id"]
    assert ["token", "user_info", "refresh", "user_info"] == [
        record.endpoint for record in fake.requests if record.endpoint != "authorize"
    ]


@pytest.mark.parametrize("path", ["//evil.example/v2/", "/\\evil.example/v2/", "v2/user/info/", "\\/v2/"])
def test_path__is_none(fake, make_session, issue, path):
    """What a browser would read as a host, or is no path from the root, is not completed."""
    with pytest.raises(requests.exceptions.MissingSchema):
        make_session(token=issue()).get(path)

    assert [] == fake.requests


def test_path__platform_without_api_base(fake, make_session, issue):
    """Where a platform does not say where its API is, a path is what it is to requests: no URL."""
    platform = dataclasses.replace(LOGIN_KIT, api_base=None)

    with pytest.raises(requests.exceptions.MissingSchema):
        make_session(token=issue(), platform=platform).get(PATH)

    assert [] == fake.requests


def test_path__prepared_request(fake, make_session, issue):
    """A prepared request is sent as it is: without the token, and requests has read its URL."""
    session = make_session(token=issue())

    with pytest.raises(requests.exceptions.MissingSchema):
        session.prepare_request(requests.Request("GET", PATH))
    session.send(session.prepare_request(requests.Request("GET", USER_INFO)))

    assert [None] == [record.headers.get("Authorization") for record in fake.requests]


# --- URLs that are wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "open.tiktokapis.com/v2/",
        "//evil.example/",
        "localhost:3128",
        "ftp://127.0.0.1/",
        "http://",
        "http://*example.com",
        "http://.example.com",
        "http://[::1",
        "https://",
        "https:///x",
        "https://open.tiktokapis.com:99999/",
        "mailto:somebody@example.com",
    ],
)
@pytest.mark.parametrize("as_type", [str, str.encode])
def test_request__wrong_url(make_session, issue, url, as_type, caplog):
    """A URL that is merely wrong raises what requests raises for it, and is not spoken of as a host."""
    with requests.Session() as plain, pytest.raises(requests.RequestException) as expected:
        plain.get(as_type(url))
    session = make_session(token=issue())
    session.adapters.clear()
    for prefix, adapter in requests.Session().adapters.items():
        session.mount(prefix, adapter)
    caplog.clear()

    with pytest.raises(type(expected.value)) as caught:
        session.get(as_type(url))

    assert (type(expected.value), str(expected.value)) == (type(caught.value), str(caught.value))
    assert [] == [each for each in caplog.messages if "requests to  go" in each]


@pytest.mark.parametrize("make", [str.encode, lambda url: type("URL", (), {"__str__": lambda _: url})()])
def test_request__url_of_another_type(fake, make_session, issue, make):
    """A URL is whatever requests takes for one: bytes, or an object that `str` makes one of."""
    make_session(token=issue()).get(make(USER_INFO))

    (record,) = fake.requests
    assert record.headers["Authorization"].startswith("Bearer act.")


# --- plain http ------------------------------------------------------------------------------------


def test_insecure__platform_says_so(fake, make_session, log_in):
    """A platform may say that it is reached over plain http: everything goes there."""
    session = make_session(platform=LOGIN_KIT.at("http://fake-tiktok:9400", insecure=True))

    log_in(session)
    fake.advance(7200)
    response = session.get(PATH)
    session.revoke_token()

    assert 200 == response.status_code
    assert ["token", "user_info", "refresh", "user_info", "revoke"] == [
        record.endpoint for record in fake.requests if record.endpoint != "authorize"
    ]
    assert [] == [
        record.url for record in fake.requests if not record.url.startswith("http://fake-tiktok:9400/")
    ]


@pytest.mark.parametrize(
    "url", ["http://fake-tiktok:9401/x", "http://other:9400/x", "http://open.tiktokapis.com/x"]
)
def test_insecure__that_host_only(fake, make_session, issue, url):
    """What a platform says of its host holds for no other one, nor for another port of it."""
    session = make_session(token=issue(), platform=LOGIN_KIT.at("http://fake-tiktok:9400", insecure=True))

    with pytest.raises(InsecureTransportError):
        session.get(url)

    assert [] == fake.requests


@pytest.mark.parametrize("variable", ["", "1"])
def test_insecure__nobody_said_so(fake, make_session, issue, monkeypatch, variable):
    """Without that word plain http is refused, whatever OAUTHLIB_INSECURE_TRANSPORT says."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", variable)
    session = make_session(token=issue(), platform=LOGIN_KIT.at("http://fake-tiktok:9400"))

    for act in (lambda: session.get(PATH), session.refresh_token, session.authorization_url):
        with pytest.raises(InsecureTransportError):
            act()

    assert [] == fake.requests


# --- redirects -------------------------------------------------------------------------------------


def shown(record, token):
    """Where in a request the token is."""
    secret = token["access_token"]
    return [
        place
        for place, content in {
            "header": str(record.headers),
            "query": str(record.query),
            "body": record.sent.decode(),
        }.items()
        if secret in content
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "leaving",
    [
        ELSEWHERE,
        "http://elsewhere.example/",
        "https://open.tiktokapis.com.elsewhere.example/",
        "http://{host}/user/info/",
        "https://{host}:8443/user/info/",
        "https://elsewhere@{host}:8443/user/info/",
    ],
)
@pytest.mark.parametrize(
    ("platform", "method", "body", "place"),
    [
        (LOGIN_KIT, "GET", {}, "header"),
        (OWN_HEADER, "GET", {}, "header"),
        (OWN_HEADER, "POST", {"json": {"max_count": 1}}, "header"),
        (LOGIN_KIT_V1, "GET", {"json": {"max_count": 1}}, "body"),
        (LOGIN_KIT_V1, "POST", {"json": {"max_count": 1}}, "body"),
        (LOGIN_KIT_V1, "GET", {"params": {"max_count": 1}}, "query"),
    ],
    ids=["bearer", "own header", "own header, POST", "v1 get(json=)", "v1 post(json=)", "v1 query"],
)
def test_redirect__leaves_the_token_behind(
    fake, make_session, issue, status, leaving, platform, method, body, place
):
    """Wherever the token is, it goes on to no other host, port or scheme. The request does."""
    token, host = issue(), platform.api_hosts[0]
    path = "/user/info/" if platform is LOGIN_KIT_V1 else "/v2/user/info/"
    fake.fail("user_info", "redirect", location=leaving.format(host=host), status=status)

    # As `Session.get` does.
    make_session(token=token, platform=platform).request(
        method, f"https://{host}{path}", **body, allow_redirects=True
    )

    first, second = fake.requests
    assert ([place], []) == (shown(first, token), shown(second, token))
    if "json" in body and status in (307, 308):
        assert {"max_count": 1} == json.loads(second.sent)
        assert str(len(second.sent)) == second.headers["Content-Length"]


@pytest.mark.parametrize(
    ("platform", "place"), [(LOGIN_KIT, "header"), (OWN_HEADER, "header"), (LOGIN_KIT_V1, "body")]
)
def test_redirect__on_the_api(fake, make_session, issue, platform, place):
    """A redirect that stays where it was takes the token along."""
    token, host = issue(), platform.api_hosts[0]
    path = "/user/info/" if platform is LOGIN_KIT_V1 else "/v2/user/info/"
    fake.fail("user_info", "redirect", location=f"https://{host}/moved/", status=307)

    make_session(token=token, platform=platform).post(f"https://{host}{path}", json={"max_count": 1})

    assert [[place], [place]] == [shown(record, token) for record in fake.requests]


@pytest.mark.parametrize("placement", ["body", "query", "auth_header"])
def test_client__says_where_the_token_goes(fake, make_session, issue, placement):
    """A surface that wants the token in a header gets it there, wherever oauthlib's client would put it."""
    token = issue()
    client = BackendApplicationClient(fake.client_key, default_token_placement=placement)
    fake.fail("user_info", "redirect", location=ELSEWHERE, status=307)

    make_session(token=token, client=client).post(USER_INFO, data={"a": "b"})

    first, second = fake.requests
    assert (["header"], []) == (shown(first, token), shown(second, token))


@pytest.mark.parametrize("body", [{"data": {"b": "2"}}, {"files": {"b": b"2"}}], ids=["data", "files"])
def test_v1__json_that_is_not_sent(fake, make_session, issue, body):
    """Beside other data requests sends no JSON: then the token is in the query."""
    token = issue()
    make_session(token=token, platform=LOGIN_KIT_V1).post(V1_USER_INFO, json={"a": "b"}, **body)

    assert ["query"] == shown(fake.requests[0], token)


def test_redirect__query_that_the_server_repeats(fake, make_session, issue):
    """A server that repeats the query at the redirect does not send the token on either."""
    token = issue()
    fake.fail(
        "user_info",
        "redirect",
        location=f"{ELSEWHERE}?a=&access_token={token['access_token']}&b=2",
        status=302,
    )

    make_session(token=token, platform=LOGIN_KIT_V1).get(V1_USER_INFO)

    assert [["query"], []] == [shown(record, token) for record in fake.requests]
    assert {"a": "", "b": "2"} == fake.requests[1].query


def test_redirect__what_is_not_ours(fake, make_session, issue):
    """Between hosts that never see the token, a parameter of that name is the caller's own."""
    session = make_session(token=issue(), platform=LOGIN_KIT_V1)
    seen = []

    class Moving(requests.adapters.BaseAdapter):
        def send(self, request, **options):
            seen.append(request.url)
            response = requests.Response()
            response.status_code, response.request, response.url = 200, request, request.url
            if len(seen) == 1:
                response.status_code = 302
                response.headers["Location"] = "https://other.example/?access_token=mine"
            response.raw, response._content = None, b""
            return response

        def close(self):
            pass

    session.mount("https://", Moving())
    session.get("https://elsewhere.example/")

    assert "https://other.example/?access_token=mine" == seen[1]


# --- hooks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", [LOGIN_KIT, OWN_HEADER, LOGIN_KIT_V1], ids=["v2", "own header", "v1"])
def test_hook__leads_elsewhere(fake, make_session, issue, platform, caplog):
    """A hook that changes the URL does not take the token along, and the log says so once."""
    token, host = issue(), platform.api_hosts[0]
    session = make_session(token=token, platform=platform)
    session.register_compliance_hook("protected_request", lambda _, headers, data: (ELSEWHERE, headers, data))

    session.post(f"https://{host}/v2/user/info/", json={"max_count": 1})
    session.post(f"https://{host}/v2/user/info/", json={"max_count": 1})

    assert [[], []] == [shown(record, token) for record in fake.requests]
    assert 1 == caplog.text.count("requests to elsewhere.example go without the token")


def test_hook__leads_to_plain_http(fake, make_session, issue):
    """A hook that leads to plain http has the request refused."""
    session = make_session(token=issue())
    session.register_compliance_hook(
        "protected_request", lambda url, headers, data: (url.replace("https:", "http:"), headers, data)
    )

    with pytest.raises(InsecureTransportError):
        session.get(USER_INFO)

    assert [] == fake.requests


def test_hook__elsewhere_says_no(fake, make_session, issue):
    """What another host says of a token that it never saw brings about no refresh."""
    session = make_session(token=issue(), platform=LOGIN_KIT_V1)
    elsewhere = "https://elsewhere.example/user/info/"
    session.register_compliance_hook("protected_request", lambda _, headers, data: (elsewhere, headers, data))
    body = json.dumps({"data": {"error_code": 2190008}, "message": "error"}).encode()
    fake.fail("user_info", "body", body=body)

    session.get(V1_USER_INFO)

    assert [] == fake.requests_to("refresh")
    assert 1 == len(fake.requests)


# --- proxies ---------------------------------------------------------------------------------------


@pytest.fixture
def proxied(monkeypatch):
    """An environment that names a proxy for everything."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, PROXY)


class Asked(requests.adapters.HTTPAdapter):
    """Takes note of the proxies that each request was to go through."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.through = inner, []

    def send(self, request, **options):
        through = requests.utils.select_proxy(request.url, options["proxies"])
        self.through.append((requests.utils.urlparse(request.url).hostname, through))
        return self.inner.send(request, **options)


def test_proxies__loopback(fake, make_session, issue, proxied):
    """Plain http to this machine goes past every proxy: API calls, refreshes, and after a redirect."""
    session = make_session(
        token=issue(), platform=LOGIN_KIT.at("http://localhost:9400"), api_hosts=["127.0.0.1:9400"]
    )
    session.proxies = {"http": PROXY}
    asked = Asked(fake.adapter())
    session.mount("http://", asked)
    session.mount("https://", asked)
    fake.fail("user_info", "redirect", location="http://127.0.0.1:9400/moved/", status=302)

    session.get(PATH)
    session.get(ELSEWHERE)
    session.refresh_token()

    assert [
        ("localhost", None),
        ("127.0.0.1", None),
        ("elsewhere.example", PROXY),
        ("localhost", None),
    ] == asked.through


def test_proxies__credentials_at_a_redirect(fake, make_session, issue, monkeypatch, proxied):
    """The proxy's credentials are not for the server on this machine that a redirect leads to."""
    monkeypatch.setenv("http_proxy", "http://proxy-user:proxy-secret@proxy.example:3128")
    session = make_session(token=issue(), platform=LOGIN_KIT.at("http://127.0.0.1:9400"))
    fake.fail("user_info", "redirect", location="http://127.0.0.1:9400/moved/", status=302)

    session.get(PATH)

    assert [] == [record for record in fake.requests if "Proxy-Authorization" in record.headers]


def test_proxies__loopback_that_sees_no_token(fake, make_session, issue, proxied):
    """A service on this machine that sees no token is reached as requests would."""
    session = make_session(token=issue())
    asked = Asked(fake.adapter())
    session.mount("http://", asked)

    session.get("http://127.0.0.1:9400/")

    assert [("127.0.0.1", PROXY)] == asked.through


def test_proxies__without_a_session(fake, proxied):
    """Without a session of ours, a revocation goes past every proxy to this machine."""
    from tiktok_oauth_session import revoke_token

    token = fake.issue_token()["access_token"]
    with fake.serve() as server:
        revoke_token(
            token,
            client_key=fake.client_key,
            client_secret=fake.client_secret,
            platform=LOGIN_KIT.at(server.url),
        )

    assert not fake.is_alive(token)


# --- tokens that must not be quoted ----------------------------------------------------------------


@pytest.mark.parametrize("spoilt", ["{}\n", "{}\r\n", "\n{}", " {}", "{}\u2028", "{}é", "{}\x00"])
@pytest.mark.parametrize("client", [None, BackendApplicationClient("sbaw-test-key")], ids=["", "own client"])
@pytest.mark.parametrize("platform", [LOGIN_KIT, OWN_HEADER], ids=["v2", "own header"])
def test_token__fits_no_header(fake, make_session, spoilt, platform, client):
    """A token that fits no header is refused before requests quotes it; nothing is sent."""
    token = {"access_token": spoilt.format("act.secret")}
    session = make_session(token=token, platform=platform, client=client)

    with pytest.raises(TokenError, match="fits into no header") as caught:
        session.get(USER_INFO)

    assert "act.secret" not in "".join(traceback.format_exception(caught.value))
    assert [] == fake.requests


def test_token__fits_no_header_of_a_plain_session(fake):
    """The same on a plain OAuth2Session that was taught the dialect."""
    from requests_oauthlib import OAuth2Session

    with OAuth2Session(fake.client_key, token={"access_token": "act.secret\n"}) as session:
        session.mount("https://", fake.adapter())
        tiktok_compliance_fix(session)
        with pytest.raises(TokenError, match="fits into no header") as caught:
            session.get(USER_INFO)

    assert "act.secret" not in str(caught.value)


def test_v1__response_does_not_quote_the_token(fake, make_session, issue):
    """`raise_for_status` and `response.url` show no token; what was sent stands in the request."""
    token = issue()
    session = make_session(token=token, platform=LOGIN_KIT_V1)
    fake.fail("user_info", "redirect", location="https://open-api.tiktok.com/moved/", status=302)

    response = session.get(V1_USER_INFO, params={"open_id": token["open_id"]})
    fake.fail("user_info", "body", body=b"", status=500)
    failed = session.get(V1_USER_INFO, params={"open_id": token["open_id"]})
    with pytest.raises(requests.HTTPError) as caught:
        failed.raise_for_status()

    said = [str(caught.value), failed.url, *(each.url for each in (response, *response.history))]
    assert not [each for each in said if token["access_token"] in requests.utils.unquote(each)]
    assert token["open_id"] in failed.url
    assert token["access_token"] in requests.utils.unquote(failed.request.url)


def test_v1__error_of_a_hook(fake, make_session, issue):
    """What `raise_for_status` raises as a hook keeps its response, and quotes no token."""
    token = issue()
    session = make_session(token=token, platform=LOGIN_KIT_V1)
    session.hooks["response"].append(lambda response, **_: response.raise_for_status())
    fake.fail("user_info", "body", body=b"", status=500)

    with pytest.raises(requests.HTTPError) as caught:
        session.get(V1_USER_INFO)

    assert 500 == caught.value.response.status_code
    assert token["access_token"] not in requests.utils.unquote(str(caught.value))


def test_warnings__of_hosts_in_data(make_session, issue, caplog):
    """However many hosts a program's data names, the session says of a hundred that they see no token."""
    session = make_session(token=issue())
    for number in range(150):
        session.get(f"https://host-{number}.example/")

    assert 100 == sum("go without the token" in record.message for record in caplog.records)


def test_compliance_fix__secret_in_no_repr(fake):
    """The hooks of a plain session do not show the secret they were given."""
    from requests_oauthlib import OAuth2Session

    with OAuth2Session(fake.client_key) as session:
        tiktok_compliance_fix(session, client_secret="fake-hidden-secret")

        hooks = [hook for kind in session.compliance_hook.values() for hook in kind]
        assert 4 == len(hooks)
        assert "fake-hidden-secret" not in repr(hooks) + repr(session.compliance_hook)
