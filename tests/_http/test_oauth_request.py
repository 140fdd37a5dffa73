"""One request to an OAuth endpoint: what it takes along, and what became of it."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import math
import socket
import stat
import threading
import time

import pytest
import requests
import urllib3
from exchanges import URL, ask
from requests.auth import HTTPBasicAuth

from tiktok_oauth_session import TokenError
from tiktok_oauth_session._http.deadline import REPLY_CAP_BYTES, SHORTEST_BODY_S, longest_try
from tiktok_oauth_session._http.oauth_request import (
    NoReply,
    Transport,
    post,
)

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
    http.mount(
        "https://", Broken(requests.ConnectionError("url: /?code=fake*code! and /?code=fake%2Acode%21"))
    )

    with pytest.raises(NoReply) as caught:
        ask(http, **body)

    assert "/?code=*** and /?code=***" in str(caught.value)
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


def test_no_reply__not_for_an_interrupt(http):
    """Ctrl-C is no lost reply."""
    http.mount("https://", Broken(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        ask(http, may_replay=True)


# --- a reply without an end ----------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#: Seconds between two bytes of a reply that drips, far below any timeout.
DRIP_S = 0.02
#: Bytes of a drip that ends after all, so that a test which waits for its end fails and does not hang.
DRIPS = 150
#: Seconds that one try may take, instead of the sum of its timeouts.
SHORT_S = 0.3
PATIENT = Transport(timeout=(10, 10))


class Endpoint:
    """A token endpoint on a real socket that sends the same bytes to everybody, all at once or in drips."""

    def __init__(self, *parts, drips=()):
        self._parts, self._drips = parts, drips
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.connections = 0
        #: Set when the client has closed a connection.
        self.left = threading.Event()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(OSError):
            # Ends the wait for the next connection.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as received, contextlib.suppress(OSError):
            while headers := b"".join(itertools.takewhile(bytes.strip, received)).lower():
                received.read(int(headers.partition(b"content-length: ")[2].split()[0]))
                for part in self._parts:
                    connection.sendall(part)
                for drip in self._drips:
                    connection.sendall(drip)
                    # Not time.sleep, which other tests replace.
                    threading.Event().wait(DRIP_S)
                if b"Connection: close" in self._parts[0]:
                    connection.shutdown(socket.SHUT_WR)
        self.left.set()


@pytest.fixture
def session():
    """A plain requests session."""
    with requests.Session() as session:
        yield session


@pytest.fixture
def hurry(monkeypatch):
    """Little time for each try."""
    monkeypatch.setattr("tiktok_oauth_session._http.deadline.longest_try", lambda timeout: SHORT_S)
    monkeypatch.setattr("tiktok_oauth_session._http.deadline.SHORTEST_BODY_S", SHORT_S / 2)


def ask_at(session, endpoint, transport=PATIENT):
    """Ask an endpoint."""
    return post(session, "POST", endpoint.url, {}, {"data": {"code": "fake-code"}}, transport)


def chunk(piece):
    """Return a piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


#: How a body may drip: its headers, and what then comes byte by byte.
DRIPPING = {
    "with a length": (b"Content-Length: %d\r\n\r\n" % DRIPS, [b" "] * DRIPS),
    "until closed": (b"Connection: close\r\n\r\n", [b" "] * DRIPS),
    "in chunks": (b"Transfer-Encoding: chunked\r\n\r\n", [chunk(b" ")] * DRIPS + [chunk(b"")]),
}
#: Drips that make no piece of the body, so that only a stopped read ends them.
DRIPPING_WITHOUT_A_PIECE = {
    "in the size of a chunk": (
        b"Transfer-Encoding: chunked\r\n\r\n",
        [b"1;"] + [b"x"] * DRIPS + [b"\r\n \r\n0\r\n\r\n"],
    ),
    "in trailers": (
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        [b"X: y\r\n"] * DRIPS + [b"\r\n"],
    ),
    "in the head of gzip": (
        b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (10 + DRIPS),
        [b"\x1f\x8b\x08\x08\0\0\0\0\0\0"] + [b"x"] * DRIPS,
    ),
}


def assert_given_up(session, endpoint, seconds=SHORT_S, transport=PATIENT):
    """Assert that a reply which does not end is no reply, in good time."""
    began = time.monotonic()
    with pytest.raises(NoReply, match="ReadTimeout") as caught:
        ask_at(session, endpoint, transport)
    took = time.monotonic() - began

    assert caught.value.sent
    assert seconds <= took < DRIPS * DRIP_S


@pytest.mark.parametrize("status", [b"200 OK", b"307 Temporary Redirect", b"503 Service Unavailable"])
@pytest.mark.parametrize("how", DRIPPING)
@pytest.mark.usefixtures("hurry")
def test_no_reply__drips(session, how, status):
    """A body that comes byte by byte is waited for as long as a try may take; then the connection ends."""
    headers, drips = DRIPPING[how]
    head = HEAD.replace(b"200 OK", status) + b"Location: http://127.0.0.1:1/\r\n"

    with Endpoint(head + headers, drips=drips) as endpoint:
        assert_given_up(session, endpoint)

        assert endpoint.left.wait(5)


def test_no_reply__drips_for_a_real_try(session):
    """How long a try may take is what its timeouts come to."""
    headers, drips = DRIPPING["with a length"]

    with Endpoint(HEAD + headers, drips=drips) as endpoint:
        assert_given_up(session, endpoint, 1.2, Transport(timeout=(0.6, 0.6)))


@pytest.mark.skipif(not hasattr(urllib3.HTTPResponse, "shutdown"), reason="this urllib3 cannot be stopped")
@pytest.mark.parametrize("how", DRIPPING_WITHOUT_A_PIECE)
@pytest.mark.usefixtures("hurry")
def test_no_reply__drips_what_is_no_body(session, how):
    """So is what comes between the pieces of a body, before the first, or after the last."""
    headers, drips = DRIPPING_WITHOUT_A_PIECE[how]

    with Endpoint(HEAD + headers, drips=drips) as endpoint:
        assert_given_up(session, endpoint)

        assert endpoint.left.wait(5)


@pytest.mark.parametrize("how", DRIPPING)
@pytest.mark.usefixtures("hurry")
def test_no_reply__drips_into_an_old_urllib3(session, monkeypatch, how):
    """An urllib3 that cannot be stopped while it reads is looked after at every byte."""
    for each in urllib3.HTTPResponse.__mro__:
        monkeypatch.delattr(each, "shutdown", raising=False)
    headers, drips = DRIPPING[how]

    with Endpoint(HEAD + headers, drips=drips) as endpoint:
        assert_given_up(session, endpoint)

        assert endpoint.left.wait(5)


def test_post__no_thread_to_be_had(session, monkeypatch):
    """Where Python starts no more threads, as at its end, a reply is read nevertheless."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    with Endpoint(HEAD + b"Content-Length: 2\r\n\r\n{}") as endpoint:
        monkeypatch.setattr(threading.Timer, "start", start)

        assert {} == ask_at(session, endpoint).json()


def test_post__headers_at_the_last_moment(session, monkeypatch):
    """A reply whose headers took all the time there was is not thrown away if its body is there."""
    monkeypatch.setattr("tiktok_oauth_session._http.deadline.longest_try", lambda timeout: 0.0)

    with Endpoint(HEAD + b"Content-Length: 2\r\n\r\n{}") as endpoint:
        assert {} == ask_at(session, endpoint).json()


def test_no_reply__headers_too_late(session, monkeypatch):
    """After such headers a body that drips has a moment, and no more."""
    monkeypatch.setattr("tiktok_oauth_session._http.deadline.longest_try", lambda timeout: 0.0)
    headers, drips = DRIPPING["with a length"]

    with Endpoint(HEAD + headers, drips=drips) as endpoint:
        assert_given_up(session, endpoint, SHORTEST_BODY_S)


def test_post__slow_and_in_time(session):
    """A reply that drips and ends in time is a reply like any other."""
    body = b'{"access_token": "act.fake"}'
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)

    with Endpoint(head, drips=[bytes([each]) for each in body]) as endpoint:
        response = ask_at(session, endpoint)

    assert (body, {"access_token": "act.fake"}) == (response.content, response.json())


@pytest.mark.parametrize("timeout", [None, 5, 5.5, (5, 5), (None, 5), (5, None)])
def test_post__connection_is_used_again(session, timeout):
    """A reply that was read to its end leaves a connection for the next request, and no thread."""
    with Endpoint(HEAD + b"Content-Length: 2\r\n\r\n{}") as endpoint:
        for _ in range(3):
            ask_at(session, endpoint, Transport(timeout=timeout))

        assert 1 == endpoint.connections
    assert not [each for each in threading.enumerate() if isinstance(each, threading.Timer)]


def zipped(size):
    """Return headers and body of a reply that is small only as long as it is compressed."""
    packed = gzip.compress(bytes(size))
    return b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)


@pytest.mark.parametrize(
    "reply",
    [
        b"Content-Length: %d\r\n\r\n%b" % (2 * REPLY_CAP_BYTES, bytes(2 * REPLY_CAP_BYTES)),
        b"Connection: close\r\n\r\n" + bytes(2 * REPLY_CAP_BYTES),
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk(bytes(2 * REPLY_CAP_BYTES)),
        zipped(100 * REPLY_CAP_BYTES),
    ],
    ids=["length", "close", "chunked", "bomb"],
)
def test_no_reply__too_long(session, reply):
    """A reply of more bytes than any token has is no reply; it is not even read to its end."""
    with Endpoint(HEAD + reply) as endpoint:
        with pytest.raises(NoReply, match="longer than 1048576 bytes") as caught:
            ask_at(session, endpoint)

        assert caught.value.sent
        assert endpoint.left.wait(5)


def test_no_reply__endless(session):
    """A reply that never ends is given up as soon as it is too long."""
    with Endpoint(HEAD + b"Connection: close\r\n\r\n", *[bytes(65536)] * 1000) as endpoint:
        with pytest.raises(NoReply, match="longer than"):
            ask_at(session, endpoint)

        assert endpoint.left.wait(5)


@pytest.mark.parametrize("reply", [zipped, lambda size: b"\r\n" + bytes(size)], ids=["gzip", "plain"])
def test_no_reply__too_long_by_one_byte(session, reply):
    """The longest reply is read whole; with one byte more it is none. What counts is what is unpacked."""
    head = HEAD + b"Connection: close\r\n"

    with Endpoint(head + reply(REPLY_CAP_BYTES)) as endpoint:
        assert bytes(REPLY_CAP_BYTES) == ask_at(session, endpoint).content
    with Endpoint(head + reply(REPLY_CAP_BYTES + 1)) as endpoint, pytest.raises(NoReply):
        ask_at(session, endpoint)


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [((5.0, 30.0), 35), (7, 14), (0.5, 1), (None, math.inf), ((None, 30), math.inf), ((5, None), math.inf)],
)
def test_longest_try(timeout, seconds):
    """One try takes the time to connect and the time to reply; without either, any time."""
    assert seconds == longest_try(timeout)
