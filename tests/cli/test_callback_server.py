"""The server that waits for a login's callback: what ends the wait, and what does not."""

from __future__ import annotations

import socket
import threading
import time
from http.client import HTTPConnection

import pytest
import requests

from tiktok_oauth_session.cli.login import callback_server
from tiktok_oauth_session.cli.login.callback_server import CallbackServer

WAIT_S = 10.0
#: As long as a server may be looked at to see that it goes on waiting.
GLANCE_S = 0.05


@pytest.fixture
def http():
    """A client that no environment variable sends elsewhere."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def notices():
    """What the server told the user."""
    return []


@pytest.fixture
def server(notices):
    """A server that expects one login."""
    waiting = CallbackServer(notice=notices.append)
    waiting.expect("right")
    with waiting:
        yield waiting


class Browser(threading.Thread):
    """Goes to an address while the test goes on; the page comes when the login has ended."""

    def __init__(self, address, **options):
        super().__init__(daemon=True)
        self.address, self.options = address, options
        self.start()

    def run(self):
        with requests.Session() as session:
            session.trust_env = False
            self.page = session.get(self.address, timeout=WAIT_S, **self.options)

    def see(self):
        """Return the page."""
        self.join(WAIT_S)
        return self.page


def test_wait__callback(server):
    """The callback with the right state is returned whole."""
    Browser(f"{server.redirect_uri}?code=a%2A1%21&state=right&scopes=a,b")

    assert f"{server.redirect_uri}?code=a%2A1%21&state=right&scopes=a,b" == server.wait(WAIT_S)


def test_wait__timeout(server):
    """Without a callback there is none in the end."""
    begin = time.monotonic()

    assert None is server.wait(0.2)
    assert 0.2 <= time.monotonic() - begin < WAIT_S


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/favicon.ico", 404),
        ("/", 404),
        ("/callback", 404),
        ("/callback/more?code=c&state=right", 404),
        ("/Callback/?code=c&state=right", 404),
        ("//callback/?code=c&state=right", 404),
        ("/callback/;x?code=c&state=right", 404),
        ("/callback/", 400),
        ("/callback/?code=c", 400),
        ("/callback/?code=c&state=", 400),
        ("/callback/?code=c&state=wrong", 400),
        ("/callback/?code=c&state=RIGHT", 400),
        ("/callback/?code=c&state=wrong&state=right", 400),
        ("/callback/?error=access_denied", 400),
    ],
)
def test_answer__stray(server, path, status):
    """What is not this login's callback is turned away, and the wait goes on until the right one comes."""
    # As it stands: requests makes one slash of several.
    connection = HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", path)

    assert status == connection.getresponse().status
    connection.close()
    assert None is server.wait(GLANCE_S)
    Browser(f"{server.redirect_uri}?code=c&state=right")
    assert f"{server.redirect_uri}?code=c&state=right" == server.wait(WAIT_S)


def test_answer__absolute_target(server):
    """A request line as for a proxy is turned away."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        host = f"127.0.0.1:{server.port}"
        line = f"GET {server.redirect_uri}?code=c&state=right HTTP/1.1"
        connection.sendall(f"{line}\r\nHost: {host}\r\n\r\n".encode())
        assert connection.recv(1024).startswith(b"HTTP/1.0 404 ")
    assert None is server.wait(GLANCE_S)


def test_answer__notices(server, http, notices):
    """The user hears of answers that are not theirs, not of icons."""
    for query in ("/favicon.ico", "/callback/?code=c&state=wrong", "/callback/?error=access_denied"):
        http.get(f"http://127.0.0.1:{server.port}{query}")

    assert 2 == len(notices)
    assert "belongs to another login" in notices[0]
    assert "refusal came without this login's state" in notices[1]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
)
def test_answer__host(server, http, host):
    """A page elsewhere whose name was made to point here gets nothing."""
    address = f"{server.redirect_uri}?code=c&state=right"
    reply = http.get(address, headers={"Host": host.format(port=server.port)})

    assert 404 == reply.status_code
    assert None is server.wait(GLANCE_S)


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE"])
def test_answer__only_get(server, http, method):
    """Other methods are not answered."""
    reply = http.request(method, f"{server.redirect_uri}?code=c&state=right")

    assert 501 == reply.status_code
    assert None is server.wait(GLANCE_S)


def test_answer__several_logins(server):
    """Of two logins that were begun, either may be finished."""
    server.expect("left")
    Browser(f"{server.redirect_uri}?code=c&state=left")

    assert server.wait(WAIT_S).endswith("state=left")


def test_answer__first_one_counts(server, http):
    """A second answer to the same login does not replace the first."""
    first = Browser(f"{server.redirect_uri}?code=first&state=right")
    server.wait(WAIT_S)
    second = Browser(f"{server.redirect_uri}?code=second&state=right")
    time.sleep(GLANCE_S)

    assert "code=first" in server.wait(0)
    server.__exit__(None, None, None)
    assert ["Logged in"] * 2 == [_title(browser.see()) for browser in (first, second)]


def _title(page):
    return page.text.partition("<h1>")[2].partition("</h1>")[0]


def test_page__after_success(server):
    """The browser hears that it worked once it has."""
    browser = Browser(f"{server.redirect_uri}?code=c&state=right")
    server.wait(WAIT_S)
    assert browser.is_alive()
    server.__exit__(None, None, None)

    assert (200, "Logged in") == (browser.see().status_code, _title(browser.page))


def test_page__after_failure():
    """If the code could not be exchanged, the browser is not told that it could."""
    server = CallbackServer()
    server.expect("right")
    server.__enter__()
    browser = Browser(f"{server.redirect_uri}?error=access_denied&state=right")
    server.wait(WAIT_S)
    failure = RuntimeError()
    server.__exit__(type(failure), failure, None)

    assert "This login did not work" == _title(browser.see())


@pytest.mark.parametrize(
    "path", ["/callback/?code=c&state=right", "/callback/?code=c&state=wrong", "/favicon.ico"]
)
def test_page__headers(server, path):
    """No page is kept, told to other sites, loads anything, or repeats what was asked for."""
    browser = Browser(f"http://127.0.0.1:{server.port}{path}&<script>alert(1)</script>")
    server.wait(GLANCE_S)
    server.__exit__(None, None, None)
    page = browser.see()

    assert "no-store" == page.headers["Cache-Control"]
    assert "no-referrer" == page.headers["Referrer-Policy"]
    assert "nosniff" == page.headers["X-Content-Type-Options"]
    assert (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        == (page.headers["Content-Security-Policy"])
    )
    assert "Python" not in page.headers["Server"]
    assert [] == [
        word for word in ("script", "src=", "http:", "https:", "code=", "wrong") if word in page.text
    ]


def test_port__listens_on_this_machine_only(server):
    """No other address of this machine answers."""
    others = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in others - {"127.0.0.1"}:
        with socket.socket() as probe:
            probe.settimeout(1)
            assert 0 != probe.connect_ex((address, server.port))
    assert "127.0.0.1" == server._listeners[0].server_address[0]


def test_port__taken(server):
    """A port that somebody listens on is refused, not shared."""
    with pytest.raises(OSError, match="in use"):
        CallbackServer(server.port)


def test_port__again(http):
    """The same port can be had again at once, for the second login of a minute."""
    port = 0
    for _ in range(3):
        with CallbackServer(port) as server:
            server.expect("right")
            port = server.port
            browser = Browser(f"{server.redirect_uri}?code=c&state=right")
            server.wait(WAIT_S)
        assert "Logged in" == _title(browser.see())


def test_port__closed_afterwards(server):
    """After the login nobody listens."""
    server.__exit__(None, None, None)
    with socket.socket() as probe:
        assert 0 != probe.connect_ex(("127.0.0.1", server.port))


def test_host__localhost():
    """A redirect URI on localhost is answered at both of its addresses."""
    with CallbackServer(host="localhost", path="/cb") as server:
        server.expect("right")
        assert f"http://localhost:{server.port}/cb" == server.redirect_uri
        browser = Browser(f"{server.redirect_uri}?code=c&state=right")
        assert f"http://127.0.0.1:{server.port}/cb?code=c&state=right" == server.wait(WAIT_S)
    assert "Logged in" == _title(browser.see())


def test_host__another():
    """No other host can be waited on."""
    with pytest.raises(ValueError, match=r"not example\.com"):
        CallbackServer(host="example.com")


def test_exit__waits_for_the_page(server, monkeypatch):
    """The process may end right after the login: by then the browser has its page."""
    slowly = callback_server._Handler.send_response

    def send_response(*arguments):
        time.sleep(0.2)
        slowly(*arguments)

    monkeypatch.setattr(callback_server._Handler, "send_response", send_response)
    Browser(f"{server.redirect_uri}?code=c&state=right")
    server.wait(WAIT_S)
    server.__exit__(None, None, None)

    assert server._shown.is_set()


def test_exit__idle_connections(server):
    """A connection that a browser opened and never used does not hold up the end."""
    with socket.create_connection(("127.0.0.1", server.port)):
        begin = time.monotonic()
        server.__exit__(None, None, None)

        assert time.monotonic() - begin < 1


def test_exit__browser_gone(server, monkeypatch):
    """A browser that does not take its page holds up the end for seconds only."""
    monkeypatch.setattr(callback_server, "PAGE_TIMEOUT_S", 0.2)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        host = f"127.0.0.1:{server.port}"
        connection.sendall(f"GET /callback/?code=c&state=right HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert server.wait(WAIT_S)
    begin = time.monotonic()
    server.__exit__(None, None, None)

    assert time.monotonic() - begin < 2
