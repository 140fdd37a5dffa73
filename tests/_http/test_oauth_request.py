"""One request to an OAuth endpoint: what it takes along, and what became of it."""

from __future__ import annotations

import stat

import pytest
import requests
from exchanges import URL, ask
from requests.auth import HTTPBasicAuth

from tiktok_oauth_session import TokenError
from tiktok_oauth_session._http.oauth_request import NoReply
from tiktok_oauth_session._http.transport import Transport

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
    assert ({}, {"grant_type": "client_credentials", "client_secret": "fake-secret"}) == (
        record.query,
        record.form,
    )
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
    http.verify, http.cert, http.proxies = (
        "/mine/ca.pem",
        "/mine/cert.pem",
        {"https": "http://127.0.0.1:3129"},
    )

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

    response = ask(http, may_replay=True)

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
    fake.fail("client_token", kind, times=None)

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
    """Whatever an adapter raises is a NoReply; in doubt the request counts as sent, and is not sent again."""
    broken = Broken(failure)
    http.mount("https://", broken)

    with pytest.raises(NoReply) as caught:
        ask(http)

    assert (1 if sent else 2) == broken.tries
    assert sent is caught.value.sent
    assert type(failure).__name__ in str(caught.value)


@pytest.mark.parametrize("body", [{"data": {"code": "fake*code!"}}, {"params": {"code": "fake*code!"}}])
def test_no_reply__quotes_no_secret(http, body):
    """Text of requests' that quotes the request is quoted without its secrets, and is not chained either."""
    http.mount(
        "https://", Broken(requests.ConnectionError("url: /?code=fake*code! and /?code=fake%2Acode%21"))
    )

    with pytest.raises(NoReply) as caught:
        ask(http, **body)

    assert "/?code=*** and /?code=***" in str(caught.value)
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


def test_no_reply__not_for_an_interrupt(http):
    """Ctrl-C is no lost reply."""
    broken = Broken(KeyboardInterrupt())
    http.mount("https://", broken)

    with pytest.raises(KeyboardInterrupt):
        ask(http, may_replay=True)

    assert 1 == broken.tries
