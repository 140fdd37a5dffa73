"""What each grant sends: exactly what TikTok documents, and nothing else."""

from __future__ import annotations

import stat
from urllib.parse import parse_qsl, urlsplit

import pytest
from requests.auth import HTTPBasicAuth

from tiktok_oauth_session import LOGIN_KIT_V1, TokenError

DESKTOP = "http://127.0.0.1:3455/callback/"
CALLBACK = "https://app.example/callback/"
V2_HEADERS = {
    "User-Agent",
    "Accept-Encoding",
    "Accept",
    "Content-Type",
    "Cache-Control",
    "Content-Length",
}
V1_HEADERS = V2_HEADERS - {"Content-Type"}


def code_of(callback):
    """The code of a callback."""
    return dict(parse_qsl(urlsplit(callback).query))["code"]


def sent(record):
    """Everything of a request that TikTok sees, parameters as they were placed."""
    return (
        record.method,
        record.url.partition("?")[0],
        record.query,
        record.form,
        record.json,
        set(record.headers),
    )


def v2(url, form):
    """A request as v2 documents it."""
    return "POST", url, {}, form, None, V2_HEADERS


def v1(url, query):
    """A request as v1 documents it."""
    return "POST", url, query, {}, None, V1_HEADERS


def v2_code(fake, **more):
    """The exchange of a code on v2."""
    credentials = {"client_key": fake.client_key, "client_secret": fake.client_secret}
    form = {**credentials, "grant_type": "authorization_code", **more}
    return v2("https://open.tiktokapis.com/v2/oauth/token/", form)


def v2_refresh(fake, refresh_token):
    """A refresh on v2."""
    form = {
        "client_key": fake.client_key,
        "client_secret": fake.client_secret,
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
    }
    return v2("https://open.tiktokapis.com/v2/oauth/token/", form)


def v1_refresh(fake, refresh_token):
    """A refresh on v1."""
    query = {
        "client_key": fake.client_key,
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
    }
    return v1("https://open-api.tiktok.com/oauth/refresh_token/", query)


@pytest.fixture
def nosy(make_session, monkeypatch, tmp_path, fake):
    """Makes sessions with everything set that must stay out of an OAuth request."""
    netrc = tmp_path / "netrc"
    lines = (
        f"machine {host} login fake-login password fake-password\n"
        for host in ("open.tiktokapis.com", "open-api.tiktok.com")
    )
    netrc.write_text("".join(lines))
    netrc.chmod(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setenv("NETRC", str(netrc))

    def make(**options):
        session = make_session(**options)
        session.params = {"private_param": "1"}
        session.headers["X-Private"] = "1"
        session.headers["Authorization"] = "Bearer fake-of-somebody-else"
        session.headers["Cookie"] = "private=1"
        session.cookies.set("private", "1")
        session.auth = HTTPBasicAuth("fake-user", "fake-password")
        return session

    return make


def test_exchange_code__web(fake, nosy):
    """A web app's code is exchanged with the five documented parameters in the form."""
    session = nosy()
    callback = fake.authorize(session.authorization_url()[0])

    session.fetch_token(authorization_response=callback)

    (record,) = fake.requests_to("token")
    assert v2_code(fake, code=code_of(callback), redirect_uri=CALLBACK) == sent(record)


def test_exchange_code__desktop(fake, nosy):
    """A desktop app's code is exchanged with the verifier beside the five."""
    session = nosy(redirect_uri=DESKTOP)
    callback = fake.authorize(session.authorization_url()[0])
    verifier = session.code_verifier

    session.fetch_token(authorization_response=callback)

    (record,) = fake.requests_to("token")
    more = {"code": code_of(callback), "redirect_uri": DESKTOP, "code_verifier": verifier}
    assert v2_code(fake, **more) == sent(record)


def test_exchange_code__v1(fake, nosy):
    """The legacy surface gets its four parameters in the query, and no body."""
    session = nosy(platform=LOGIN_KIT_V1)
    callback = fake.authorize(session.authorization_url()[0])

    session.fetch_token(authorization_response=callback)

    (record,) = fake.requests_to("token")
    query = {
        "client_key": fake.client_key,
        "client_secret": fake.client_secret,
        "code": code_of(callback),
        "grant_type": "authorization_code",
    }
    assert v1("https://open-api.tiktok.com/oauth/access_token/", query) == sent(record)
    assert b"" == record.sent


def test_exchange_code__what_the_caller_adds(fake, nosy):
    """What TikTok does not document is not sent, even when the caller of `fetch_token` adds it."""
    session = nosy()
    callback = fake.authorize(session.authorization_url()[0])

    session.fetch_token(
        "https://open.tiktokapis.com/v2/oauth/token/",
        authorization_response=callback,
        body="audience=fake",
        include_client_id=False,
        username="fake-user",
        password="fake-password",
        resource="fake",
    )

    (record,) = fake.requests_to("token")
    assert v2_code(fake, code=code_of(callback), redirect_uri=CALLBACK) == sent(record)


@pytest.mark.parametrize("include_client_id", [None, True, False])
def test_exchange_code__include_client_id(fake, make_session, include_client_id):
    """`include_client_id` changes nothing: there is never a client_id and never an HTTP Basic header."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])

    session.fetch_token(authorization_response=callback, include_client_id=include_client_id)

    (record,) = fake.requests_to("token")
    assert v2_code(fake, code=code_of(callback), redirect_uri=CALLBACK) == sent(record)


def test_exchange_code__hook_of_the_user(fake, make_session, log_in):
    """A user's hook runs after ours, in its turn, and sees what is about to be sent."""
    session = make_session()
    seen = []

    def hook(url, headers, request):
        seen.append((url, sorted(request["data"])))
        return url, headers, request

    session.register_compliance_hook("access_token_request", hook)
    log_in(session)

    names = ["client_key", "client_secret", "code", "grant_type", "redirect_uri"]
    assert [("https://open.tiktokapis.com/v2/oauth/token/", names)] == seen


def test_refresh__v2(fake, nosy, issue):
    """A refresh sends the four documented parameters, and no scope."""
    token = issue()
    session = nosy(token=token)

    session.refresh_token()

    (record,) = fake.requests
    assert v2_refresh(fake, token["refresh_token"]) == sent(record)


def test_refresh__v1(fake, nosy, issue):
    """A legacy refresh sends three parameters in the query, without the secret."""
    token = issue()
    session = nosy(token=token, platform=LOGIN_KIT_V1)

    session.refresh_token()

    (record,) = fake.requests
    assert v1_refresh(fake, token["refresh_token"]) == sent(record)
    assert b"" == record.sent


def test_refresh__what_the_caller_adds(fake, nosy, issue):
    """What TikTok does not document is not sent, even when the caller of `refresh_token` adds it."""
    token = issue()
    session = nosy(token=token, auto_refresh_kwargs={"audience": "fake", "client_id": fake.client_key})

    session.refresh_token(body="resource=fake", allow_redirects=True)

    (record,) = fake.requests
    assert v2_refresh(fake, token["refresh_token"]) == sent(record)


API_REQUESTS = {
    "params": {"params": {"private": "1"}},
    "json": {"json": {"caption": "private"}},
    "data": {"data": {"caption": "private"}},
    "files": {"files": {"video": b"private"}},
    "auth": {"auth": ("fake-user", "fake-password")},
    "headers": {"headers": {"X-Private": "1", "Content-Type": "application/json"}},
    "cookies": {"cookies": {"private": "1"}},
    "stream": {"stream": True},
    "timeout": {"timeout": 1},
    "allow_redirects": {"allow_redirects": False},
    "hooks": {"hooks": {"response": []}},
}


@pytest.mark.parametrize(
    ("platform", "expected"),
    [({}, v2_refresh), ({"platform": LOGIN_KIT_V1}, v1_refresh)],
    ids=["v2", "v1"],
)
@pytest.mark.parametrize("arguments", API_REQUESTS.values(), ids=API_REQUESTS)
def test_refresh__nothing_of_the_api_request(fake, nosy, issue, clock, platform, expected, arguments):
    """A refresh that an API request brings about has nothing of that request in it."""
    token = issue()
    session = nosy(token=token, **platform)
    clock.advance(7200)

    session.post(f"https://{session.platform.api_hosts[0]}/v2/video/list/", **arguments)

    # Credentials of one's own replace the bearer, so the API may ask for a second refresh.
    record = fake.requests_to("refresh")[0]
    assert expected(fake, token["refresh_token"]) == sent(record)


def test_refresh__api_request_keeps_its_own(fake, make_session, issue, clock):
    """What a refresh does not take goes where it belongs: to the API."""
    session = make_session(token=issue())
    clock.advance(7200)

    session.post(
        "https://open.tiktokapis.com/v2/video/list/",
        params={"fields": "id"},
        json={"max_count": 1},
        headers={"X-Mine": "1"},
    )

    (record,) = fake.requests_to("video_list")
    assert ({"fields": "id"}, {"max_count": 1}, "1") == (record.query, record.json, record.headers["X-Mine"])
    assert 200 == record.status


def test_client_credentials__v2(fake, nosy):
    """A token for the app itself takes three parameters."""
    nosy().fetch_client_token()

    (record,) = fake.requests
    form = {
        "client_key": fake.client_key,
        "client_secret": fake.client_secret,
        "grant_type": "client_credentials",
    }
    assert v2("https://open.tiktokapis.com/v2/oauth/token/", form) == sent(record)


def test_client_credentials__v1(fake, make_session):
    """The legacy surface has no such grant: that is said, and nothing is sent."""
    session = make_session(platform=LOGIN_KIT_V1)

    with pytest.raises(TokenError) as caught:
        session.fetch_client_token()

    assert "unsupported_grant_type" == caught.value.error
    assert [] == fake.requests


@pytest.mark.parametrize("act", ["token", "refresh", "client_token", "revoke"])
def test_redirect__never_followed(fake, nosy, issue, log_in, act):
    """A redirect of an OAuth endpoint is an error, and the secrets stay where they were sent."""
    session = nosy(token=issue())
    fake.fail(act, "redirect", location="https://evil.example/collect", status=307)
    acts = {
        "token": lambda: log_in(session),
        "refresh": session.refresh_token,
        "client_token": session.fetch_client_token,
        "revoke": session.revoke_token,
    }

    with pytest.raises(Exception, match="redirect") as caught:
        acts[act]()

    assert 307 == caught.value.status_code
    assert [] == [record for record in fake.requests if "evil.example" in record.url]


@pytest.mark.parametrize("act", ["token", "refresh", "client_token", "revoke"])
@pytest.mark.parametrize(("option", "timeout"), [({}, (5.0, 20.0)), ({"token_timeout": 7}, 7)])
def test_timeout__every_oauth_request(fake, make_session, issue, log_in, act, option, timeout, monkeypatch):
    """No OAuth request waits for ever."""
    session = make_session(token=issue(), **option)
    seen = []
    adapter = session.get_adapter("https://open.tiktokapis.com/")
    answer = adapter.send

    def send(request, **options):
        if "/oauth/" in request.url:
            seen.append(options["timeout"])
        return answer(request, **options)

    monkeypatch.setattr(adapter, "send", send)
    acts = {
        "token": lambda: log_in(session),
        "refresh": session.refresh_token,
        "client_token": session.fetch_client_token,
        "revoke": session.revoke_token,
    }

    acts[act]()

    assert [timeout] == seen
