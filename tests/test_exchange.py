"""One request to an OAuth endpoint: what it takes along, and what may be sent a second time."""

from __future__ import annotations

import email.utils
import stat

import pytest
import requests
from requests.auth import HTTPBasicAuth
from tiktok_oauth_session import TokenError
from tiktok_oauth_session.exchange import (
    CODE,
    HARMLESS,
    REFRESH_AT_LAST,
    REFRESH_IN_TIME,
    REFRESH_WAITED_FOR,
    REVOCATION,
    NoReply,
    Retry,
    Transport,
    post,
)

URL = "https://open.tiktokapis.com/v2/oauth/token/"
NO_RETRY = Retry(unsent=False, busy=False)


@pytest.fixture
def http(fake):
    """A plain requests session that reaches the fake."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        yield session


def ask(http, retry=NO_RETRY, transport=None, **body):
    """Ask for a token of the app itself."""
    body = body or {"data": {"grant_type": "client_credentials", "client_secret": "fake-secret"}}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return post(http, "POST", URL, headers, body, transport or Transport(), retry)


# --- what it takes along -------------------------------------------------------------------------------


def test_post__nothing_of_the_session(fake, http, monkeypatch, tmp_path):
    """Parameters, cookies, headers and credentials of the session and of .netrc stay out of it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine open.tiktokapis.com login fake-login password fake-password\n")
    netrc.chmod(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setenv("NETRC", str(netrc))
    http.params = {"private": "1"}
    http.headers.update({"X-Private": "1", "Authorization": "Bearer fake", "User-Agent": "mine/1.0"})
    http.cookies.set("private", "1")
    http.auth = HTTPBasicAuth("fake-user", "fake-password")

    ask(http)

    (record,) = fake.requests
    assert ({}, {"grant_type": "client_credentials", "client_secret": "fake-secret"}) == (record.query, record.form)
    assert {"User-Agent", "Accept-Encoding", "Content-Type", "Content-Length"} == set(record.headers)
    assert "mine/1.0" == record.headers["User-Agent"]


def test_post__cookies_are_not_answered(fake, http):
    """A cookie that the endpoint sets is not sent back to it the next time."""
    fake.fail("client_token", "body", body=b"{}", headers={"Set-Cookie": "fake=1; Path=/"})

    ask(http)
    ask(http)

    assert [None, None] == [record.headers.get("Cookie") for record in fake.requests]


def test_post__transport(fake, http, monkeypatch):
    """Timeout, credentials, certificates and proxies are what the transport says."""
    seen = {}
    adapter = http.get_adapter(URL)
    answer = adapter.send

    def send(request, **options):
        seen.update(options)
        return answer(request, **options)

    monkeypatch.setattr(adapter, "send", send)
    transport = Transport(
        timeout=(1, 2),
        auth=("fake-user", "fake-password"),
        verify="/fake/ca.pem",
        cert="/fake/cert.pem",
        proxies={"https": "http://127.0.0.1:3128"},
    )

    ask(http, transport=transport)

    assert ((1, 2), "/fake/ca.pem", "/fake/cert.pem") == (seen["timeout"], seen["verify"], seen["cert"])
    assert "http://127.0.0.1:3128" == seen["proxies"]["https"]
    assert fake.requests[0].headers["Authorization"].startswith("Basic ")


def test_post__settings_of_the_session(http, monkeypatch):
    """Where the transport says nothing, certificates and proxies of the session are used."""
    seen = {}
    adapter = http.get_adapter(URL)
    answer = adapter.send

    def send(request, **options):
        seen.update(options)
        return answer(request, **options)

    monkeypatch.setattr(adapter, "send", send)
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)  # requests prefers it to the session's
    http.verify, http.cert, http.proxies = "/mine/ca.pem", "/mine/cert.pem", {"https": "http://127.0.0.1:3129"}

    ask(http)

    assert ("/mine/ca.pem", "/mine/cert.pem", "http://127.0.0.1:3129") == (
        seen["verify"],
        seen["cert"],
        seen["proxies"]["https"],
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_post__redirect(fake, http, status):
    """A redirect is handed back as it is; nothing goes where it points."""
    fake.fail("client_token", "redirect", location="https://evil.example/", status=status)

    response = ask(http, HARMLESS)

    assert (status, "https://evil.example/") == (response.status_code, response.headers["Location"])
    assert [URL] == [record.url for record in fake.requests]


def test_post__whatever_it_says(fake, http):
    """An error of TikTok's is a reply like any other: judging it is somebody else's task."""
    fake.fail("client_token", "error", error="invalid_client", status=400)

    assert (400, "invalid_client") == ((response := ask(http)).status_code, response.json()["error"])


# --- what became of it ---------------------------------------------------------------------------------


class Broken(requests.adapters.BaseAdapter):
    """An adapter on which every request ends the same way."""

    def __init__(self, failure):
        super().__init__()
        self.failure = failure
        self.tries = 0

    def send(self, request, **options):
        self.tries += 1
        raise self.failure

    def close(self):
        """Nothing is open."""


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("refuse", False), ("reset_before", True), ("reset_after", True), ("truncated", True), ("slow", True)],
)
def test_no_reply__sent_or_not(fake, http, kind, sent):
    """Only a connection that was never made counts as nothing sent."""
    fake.fail("client_token", kind)

    with pytest.raises(NoReply) as caught:
        ask(http, transport=Transport(timeout=(1, 1)))

    assert ("no_reply", sent, None) == (caught.value.error, caught.value.sent, caught.value.status_code)
    assert isinstance(caught.value, TokenError)
    assert isinstance(caught.value, requests.ConnectionError)
    assert ("nothing was sent" in str(caught.value)) is not sent


@pytest.mark.parametrize(
    ("failure", "sent"),
    [
        (requests.ConnectTimeout("fake"), False),
        (requests.ReadTimeout("fake"), True),
        (requests.exceptions.ChunkedEncodingError("fake"), True),
        (requests.exceptions.ContentDecodingError("fake"), True),
        (requests.exceptions.InvalidURL("fake"), True),
        (requests.ConnectionError("fake"), True),
        (requests.ConnectionError(), True),
        (ConnectionResetError(104, "fake"), True),
        (TimeoutError("fake"), True),
        (ValueError("fake"), True),
    ],
)
def test_no_reply__whatever_was_raised(http, failure, sent):
    """Whatever an adapter raises is a NoReply; in doubt the request counts as sent."""
    http.mount("https://", Broken(failure))

    with pytest.raises(NoReply) as caught:
        ask(http)

    assert sent is caught.value.sent
    assert type(failure).__name__ in str(caught.value)


@pytest.mark.parametrize("body", [{"data": {"code": "fake*code!"}}, {"params": {"code": "fake*code!"}}])
def test_no_reply__quotes_no_secret(http, body):
    """Text of requests' that quotes the request is quoted without its secrets, and is not chained either."""
    http.mount("https://", Broken(requests.ConnectionError("url: /?code=fake*code! and /?code=fake%2Acode%21")))

    with pytest.raises(NoReply) as caught:
        ask(http, **body)

    assert "/?code=*** and /?code=***" in str(caught.value)
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


def test_no_reply__not_for_an_interrupt(http):
    """Ctrl-C is no lost reply."""
    http.mount("https://", Broken(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        ask(http, HARMLESS)


# --- what is sent again --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "kind", "tries"),
    [
        (CODE, "refuse", 3),
        (CODE, "reset_before", 1),
        (CODE, "reset_after", 1),
        (CODE, "truncated", 1),
        (CODE, "status", 1),
        (REFRESH_IN_TIME, "refuse", 1),
        (REFRESH_IN_TIME, "reset_after", 1),
        (REFRESH_IN_TIME, "status", 1),
        (REFRESH_WAITED_FOR, "refuse", 3),
        (REFRESH_WAITED_FOR, "reset_after", 1),
        (REFRESH_WAITED_FOR, "truncated", 1),
        (REFRESH_WAITED_FOR, "status", 3),
        (REFRESH_AT_LAST, "refuse", 3),
        (REFRESH_AT_LAST, "reset_before", 2),
        (REFRESH_AT_LAST, "reset_after", 2),
        (REFRESH_AT_LAST, "truncated", 2),
        (REFRESH_AT_LAST, "status", 3),
        (HARMLESS, "reset_after", 2),
        (HARMLESS, "status", 3),
        (REVOCATION, "refuse", 3),
        (REVOCATION, "reset_after", 1),
        (REVOCATION, "status", 3),
        *[(policy, "html", 1) for policy in (CODE, REFRESH_AT_LAST, HARMLESS, REVOCATION)],
        *[(policy, "error", 1) for policy in (CODE, REFRESH_AT_LAST, HARMLESS, REVOCATION)],
    ],
)
def test_retry__how_often(fake, http, pauses, policy, kind, tries):
    """Each policy sends again after the failures that it names, with a pause before each time, and no more."""
    fake.fail("client_token", kind, times=None)

    try:
        ask(http, policy)
    except NoReply:
        assert kind in ("refuse", "reset_before", "reset_after", "truncated")
    else:
        assert kind in ("status", "html", "error")

    assert (tries, tries - 1) == (len(fake.requests), len(pauses))


@pytest.mark.parametrize("status", [429, 503])
def test_retry__busy_and_then_not(fake, http, pauses, status):
    """What comes after TikTok was busy is the answer."""
    fake.fail("client_token", "status", status=status, times=2)

    ask(http, HARMLESS)

    assert [status, status, 200] == [record.status for record in fake.requests]


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_retry__not_for_other_statuses(fake, http, pauses, status):
    """Other statuses leave open what TikTok did, so nothing is sent again."""
    fake.fail("client_token", "status", status=status, times=None)

    assert status == ask(http, HARMLESS).status_code
    assert ([status], []) == ([record.status for record in fake.requests], pauses)


def test_retry__backs_off(fake, http, pauses):
    """Without a Retry-After the pauses grow, and are spread."""
    fake.fail("client_token", "refuse", times=None)

    for _ in range(20):
        with pytest.raises(NoReply):
            ask(http, HARMLESS)

    assert all(0.5 <= pause <= 0.75 for pause in pauses[::2])
    assert all(1.0 <= pause <= 1.5 for pause in pauses[1::2])
    assert len(set(pauses)) > 20


@pytest.mark.parametrize(
    ("said", "pause"),
    [("2", 2), ("2.5", 2.5), ("29", 29), ("30", 30), ("31", 30), ("86400", 30), ("inf", 30), ("1e999", 30)],
)
def test_retry_after__seconds(fake, http, pauses, said, pause):
    """What Retry-After says is obeyed, up to half a minute."""
    fake.fail("client_token", "status", status=429, retry_after=said)

    ask(http, HARMLESS)

    assert [pause] == pauses


@pytest.mark.parametrize(("ahead", "pause"), [(10, 10), (30, 30), (31, 30), (86400, 30)])
def test_retry_after__date(fake, http, pauses, clock, ahead, pause):
    """An HTTP date is obeyed like a number of seconds."""
    fake.fail("client_token", "status", retry_after=email.utils.formatdate(clock.now + ahead, usegmt=True))

    ask(http, HARMLESS)

    assert [pause] == pauses


@pytest.mark.parametrize(
    "said",
    ["", "0", "-1", "nan", "-inf", "soon", "Wed, 99 Foo 99999 99:99:99 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "\xff"],
)
def test_retry_after__of_no_use(fake, http, pauses, said):
    """A Retry-After that says nothing of use leaves the usual pause."""
    fake.fail("client_token", "status", retry_after=said)

    ask(http, HARMLESS)

    (pause,) = pauses
    assert 0.5 <= pause <= 0.75
