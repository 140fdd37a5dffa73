"""What is sent a second time: once, at once, and nothing else; and nobody sleeps."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import requests
import requests_mock as mocking
import urllib3
from endpoint import HEAD, At, Endpoint, ask_at
from exchanges import URL, ask
from requests.adapters import HTTPAdapter

from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session, TokenError
from tiktok_oauth_session._http.oauth_request import NoReply, post
from tiktok_oauth_session._http.transport import Transport


@pytest.fixture(autouse=True)
def _nobody_sleeps(monkeypatch):
    def sleep(seconds):
        raise AssertionError(f"somebody wants to sleep for {seconds} s")

    monkeypatch.setattr(time, "sleep", sleep)


@pytest.mark.parametrize(
    ("may_replay", "kind", "times"),
    [
        (False, "refuse", 2),
        (False, "reset_before", 1),
        (False, "reset_after", 1),
        (True, "refuse", 2),
        (True, "reset_before", 2),
        (True, "reset_after", 2),
        (False, "truncated", 1),
        (True, "truncated", 2),
        *[(may_replay, kind, 1) for may_replay in (False, True) for kind in ("html", "error")],
    ],
)
def test_sent_again__how_often(fake, http, may_replay, kind, times):
    """What was not sent is sent once more; what was lost, where that does no harm; an answer never."""
    fake.fail("client_token", kind, times=None)

    try:
        ask(http, may_replay=may_replay)
    except NoReply:
        assert kind in ("refuse", "reset_before", "reset_after", "truncated")
    else:
        assert kind in ("html", "error")

    assert times == len(fake.requests)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_sent_again__no_status(fake, http, status):
    """A reply is a reply, whatever its status, and however long TikTok asks to be left alone."""
    fake.fail("client_token", "status", status=status, retry_after=30, times=None)

    response = ask(http, may_replay=True)

    assert (status, "30") == (response.status_code, response.headers["Retry-After"])
    assert [status] == [record.status for record in fake.requests]


@pytest.mark.parametrize(("kind", "may_replay"), [("refuse", False), ("reset_after", True)])
def test_sent_again__and_answered(fake, http, kind, may_replay):
    """What comes the second time is the reply."""
    fake.fail("client_token", kind)

    assert 200 == ask(http, may_replay=may_replay).status_code
    assert 2 == len(fake.requests)


def test_sent_again__after_one_that_was(fake, http):
    """If the first of two requests was lost and no connection came after it, it may be carried out."""
    fake.fail("client_token", "reset_after")
    fake.fail("client_token", "refuse")
    with pytest.raises(NoReply, match="may or may not") as caught:
        ask(http, may_replay=True)

    assert caught.value.sent
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


@pytest.mark.parametrize(
    "options",
    [
        {"proxies": {"https": "http://127.0.0.1:9"}},
        {"verify": "/nowhere/certificates.pem"},
        {"cert": "/nowhere/certificate.pem"},
    ],
    ids=["dead proxy", "no certificates", "no certificate of ours"],
)
def test_unsent__no_way_to_the_endpoint(session, options):
    """Without a proxy or certificates nothing is sent, and that is known."""
    with pytest.raises(NoReply, match="nothing was sent") as caught:
        ask(session, Transport(**options))

    assert not caught.value.sent


def test_unsent__no_adapter(session):
    """Nor is anything sent where nothing is mounted."""
    session.adapters.clear()
    with pytest.raises(NoReply, match="nothing was sent") as caught:
        ask(session)

    assert not caught.value.sent


def test_unsent__handshake_fails(session):
    """A server that does not speak TLS has received nothing."""
    received = []

    def serve():
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        at = At(listener)
        at.url = at.url.replace("http:", "https:")
        with pytest.raises(NoReply, match="nothing was sent") as caught:
            ask_at(session, at)
        server.join(5)

    assert not caught.value.sent
    assert 2 == len(received)
    assert b"fake-code" not in b"".join(received)


def test_sent__connection_that_was_lent_before(session):
    """On a connection that is used again, what is sent counts as sent."""
    with Endpoint(HEAD + b"Content-Length: 2\r\n\r\n{}") as endpoint:
        ask_at(session, endpoint)
        endpoint._parts = (b"nonsense\r\n\r\n",)
        with pytest.raises(NoReply, match="may or may not") as caught:
            ask_at(session, endpoint)

        assert caught.value.sent
        assert (1, 2) == (endpoint.connections, len(endpoint.bodies))


# --- a session that sends again by itself --------------------------------------------------------------

#: What people mount for their API calls. Left alone it sends everything again, waiting for hours if told so.
EAGER = urllib3.Retry(3, allowed_methods=None, status_forcelist=[500, 502, 503])


@pytest.fixture
def server(fake):
    """The fake on a real socket."""
    with fake.serve() as server:
        yield server


@pytest.fixture
def eager():
    """An adapter that sends everything again."""
    return HTTPAdapter(max_retries=EAGER)


@pytest.fixture
def eager_session(fake, server, issue, eager):
    """A session with a token and with such an adapter."""
    with TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        token=issue(),
        token_updater=lambda token: None,
        platform=LOGIN_KIT.at(server.url),
    ) as session:
        session.mount("http://", eager)
        yield session


@pytest.mark.parametrize(
    "retries",
    [
        EAGER,
        urllib3.Retry(None, read=3, status=3, allowed_methods=None, status_forcelist=[500, 502, 503]),
        urllib3.Retry(0, allowed_methods=None, status_forcelist=[500, 502, 503]),
        urllib3.Retry(3, allowed_methods=None, status_forcelist=[502, 503], raise_on_status=False),
        3,
    ],
    ids=["total", "by kind", "none left", "quiet", "number"],
)
@pytest.mark.parametrize(
    ("may_replay", "kind", "times"),
    [
        (False, "html", 1),
        (False, "status", 1),
        (False, "reset_before", 1),
        (False, "reset_after", 1),
        (True, "reset_after", 2),
        (False, "truncated", 1),
        (True, "truncated", 2),
        (True, "html", 1),
    ],
)
def test_eager_adapter__how_often(fake, server, eager, retries, may_replay, kind, times):
    """Whatever the session's adapter would send again, the request has the last word; no reply is lost."""
    fake.fail("client_token", kind, times=None)
    # Not only by its constructor: old code sets the attribute, to a number.
    eager.max_retries = retries

    with requests.Session() as session:
        session.mount("http://", eager)
        try:
            response = post_to(session, server, may_replay=may_replay)
        except NoReply:
            assert kind in ("reset_before", "reset_after", "truncated")
        else:
            assert {"html": 502, "status": 503}[kind] == response.status_code

    assert times == len(fake.requests)


def post_to(session, server, **options):
    """Ask a running fake for a token of the app itself."""
    body = {"data": {"grant_type": "client_credentials", "client_secret": "fake-secret"}}
    return post(session, "POST", f"{server.url}/v2/oauth/token/", {}, body, Transport(timeout=5), **options)


@pytest.mark.parametrize("kind", ["html", "reset_after"])
def test_eager_adapter__refresh(fake, eager_session, kind):
    """A refresh whose outcome is unclear arrives once."""
    fake.fail("refresh", kind)

    with pytest.raises(TokenError):
        eager_session.refresh_token()

    assert 1 == len(fake.requests_to("refresh"))


def test_eager_adapter__retry_after(fake, eager_session):
    """What Retry-After says is told, capped, and not obeyed by sleeping as urllib3 would, for six hours."""
    fake.fail("refresh", "status", status=503, retry_after=99999)

    with pytest.raises(TokenError) as caught:
        eager_session.refresh_token()

    assert (503, 900) == (caught.value.status_code, caught.value.retry_after)
    assert 1 == len(fake.requests_to("refresh"))


def test_eager_adapter__nothing_sent(eager):
    """Where nothing can be sent it is us who try again."""
    with requests.Session() as session:
        session.mount("http://", eager)
        with pytest.raises(NoReply) as caught:
            post(session, "POST", "http://127.0.0.1:1/", {}, {}, Transport(timeout=5))

    assert not caught.value.sent


def test_eager_adapter__api(fake, server, eager_session):
    """API calls are sent again as the user wants it, before an OAuth request and after it."""
    url = f"{server.url}/v2/user/info/?fields=open_id"
    for sent in (3, 6):
        fake.fail("user_info", "html", times=2)

        assert 200 == eager_session.get(url).status_code
        assert sent == len(fake.requests_to("user_info"))
        eager_session.refresh_token()


def test_eager_adapter__is_left_alone(server, eager_session, eager):
    """Session and adapter stay as they are, and OAuth requests use the adapter's connections."""
    before = dict(vars(eager_session)), dict(vars(eager))

    eager_session.refresh_token()
    (pool,) = eager.poolmanager.pools._container.values()
    connection = pool.pool.queue[-1]
    assert connection.sock
    eager_session.get(f"{server.url}/v2/user/info/?fields=open_id")

    assert eager is eager_session.get_adapter(server.url)
    assert before[1] == vars(eager)
    assert before[0].keys() == vars(eager_session).keys()
    assert connection is pool.pool.queue[-1]
    assert [None] == list({each for each in pool.pool.queue if each is not connection})


def test_eager_adapter__of_a_session_of_ones_own(fake, server):
    """Sessions and adapters with a `send` of their own go on using it, and what it needs."""

    class Counting:
        def __init__(self, **options):
            super().__init__(**options)
            self.sent = 0

        def send(self, request, **options):
            self.sent += 1
            return super().send(request, **options)

    class CountingSession(Counting, requests.Session):
        pass

    class CountingAdapter(Counting, HTTPAdapter):
        pass

    adapter = CountingAdapter(max_retries=EAGER)
    with CountingSession() as session:
        session.mount("http://", adapter)
        post_to(session, server)

    assert 1 == session.sent == adapter.sent == len(fake.requests)


@pytest.mark.parametrize("retries", [0, EAGER])
def test_eager_adapter__cookies(fake, server, retries):
    """Cookies of a reply end up where those of every other reply do."""
    fake.fail("client_token", "body", body=b"{}", headers={"Set-Cookie": "fake=1; Path=/"})

    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retries))
        post_to(session, server)

    assert {"fake": "1"} == session.cookies.get_dict()


@pytest.mark.parametrize("whole_class", [True, False])
def test_eager_adapter__requests_mock(eager, whole_class):
    """Tests that answer by requests-mock are answered, whatever is mounted."""
    with requests.Session() as session:
        session.mount("https://", eager)
        with mocking.Mocker(**({} if whole_class else {"session": session})) as answers:
            answers.post(URL, json={"fake": 1})

            assert [{"fake": 1}] * 2 == [ask(session).json() for _ in range(2)]
