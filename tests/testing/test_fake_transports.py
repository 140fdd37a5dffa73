"""The fake TikTok's two transports: real requests.Response objects, and a real socket."""

from __future__ import annotations

import datetime as dt
import io
import socket
import subprocess
import sys
import threading

import pytest
import requests

from tiktok_oauth_session import testing
from tiktok_oauth_session.testing import FakeTikTok

#: Seconds for what takes milliseconds.
PATIENCE_S = 10.0
USER_INFO = "/v2/user/info/?fields=open_id"


@pytest.fixture
def fake():
    """A fresh fake."""
    return FakeTikTok()


@pytest.fixture
def server(fake):
    """A running server."""
    with fake.serve() as server:
        yield server


@pytest.fixture
def session(fake):
    """A session with the fake's adapter."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        yield session


def bearer(fake):
    """Return the header of a token that works."""
    return {"Authorization": f"Bearer {fake.issue_token()['access_token']}"}


def test_adapter__real_response(fake, session):
    """The adapter's response has all that a real one has."""
    url = f"https://open.tiktokapis.com{USER_INFO}"

    reply = session.get(url, headers=bearer(fake), stream=True)

    assert (reply.status_code, reply.reason, reply.url) == (200, "OK", url)
    assert reply.request.url == url
    assert isinstance(reply.elapsed, dt.timedelta)
    assert reply.raw.read(2) == b'{"'
    assert reply.raw.version == 11


@pytest.mark.parametrize("base", ["https://tiktok.example", "https://127.0.0.1:8443"])
def test_adapter__any_base(fake, session, base):
    """Below any base that is not TikTok's own, every path is served."""
    reply = session.get(base + USER_INFO, headers=bearer(fake))

    assert reply.json()["data"]["user"]["open_id"] == fake.users[0].open_id
    assert fake.requests[-1].url == base + USER_INFO


@pytest.mark.parametrize("body", [b"a=1", "a=1", io.BytesIO(b"a=1"), iter([b"a=", b"1"])])
@pytest.mark.parametrize("over", ["adapter", "server"])
def test_transports__any_kind_of_body(fake, session, server, body, over):
    """Bytes, text, files and generators all arrive as the bytes they stand for."""
    if hasattr(body, "seek"):
        body.seek(0)
    elif not isinstance(body, (bytes, str)):
        body = iter([b"a=", b"1"])
    base = server.url if over == "server" else "https://open.tiktokapis.com"

    reply = session.post(f"{base}/nowhere", data=body)

    assert reply.status_code == 404
    assert fake.requests[-1].sent == b"a=1"


@pytest.mark.parametrize("timeout", [None, 0.5, (5, 0.5), (5, None)])
def test_adapter__timeouts(fake, session, timeout):
    """The read timeout is honoured in each form that requests accepts."""
    fake.fail("user_info", "slow", seconds=1.0 if timeout in (0.5, (5, 0.5)) else 0.0)

    if timeout in (None, (5, None)):
        reply = session.get(f"https://open.tiktokapis.com{USER_INFO}", timeout=timeout)
        assert reply.status_code == 401
    else:
        with pytest.raises(requests.ReadTimeout, match=r"read timeout=0\.5"):
            session.get(f"https://open.tiktokapis.com{USER_INFO}", timeout=timeout)


def test_server__keeps_connections_alive(fake, server):
    """Many requests of one session use one connection."""
    with requests.Session() as session:
        replies = [session.get(server.url + USER_INFO) for _ in range(20)]
        pools = session.get_adapter(server.url).poolmanager.pools

        assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118 - no iterator
    assert {reply.raw.version for reply in replies} == {11}
    assert [record.delivered for record in fake.requests] == [True] * 20


def test_server__local_only(server):
    """The server is on 127.0.0.1 and nowhere else."""
    assert server.url == f"http://127.0.0.1:{server.port}"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.port), 1):
        pass


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: zz\r\n\r\n",
        b"Content-Length: 1_0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x1\r\n",
    ],
)
def test_server__length_is_none(fake, server, capsys, sent):
    """A request whose length is no length is HTTP 400, at once, and no request of TikTok's."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        connection.sendall(b"POST /v2/oauth/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" + sent)
        # Until the server closes: what came after the request could be anything.
        reply = connection.makefile("rb").read()

    assert reply.startswith(b"HTTP/1.1 400 ")
    assert [] == fake.requests
    assert "" == capsys.readouterr().err
    assert requests.get(f"{server.url}{USER_INFO}", headers=bearer(fake), timeout=PATIENCE_S).ok


def test_server__stops_and_starts_listening(server):
    """While it does not listen connections are refused, also to a session that had one."""
    with requests.Session() as session:
        before = session.get(server.url + USER_INFO)
        server.stop_listening()
        with pytest.raises(requests.ConnectionError, match="refused"):
            session.get(server.url + USER_INFO, timeout=5)

        server.start_listening()
        after = session.get(server.url + USER_INFO)

    assert before.status_code == after.status_code == 401


def test_server__stops_twice(server):
    """Stopping is idempotent, and so is starting."""
    server.start_listening()

    server.stop()
    server.stop()

    with pytest.raises(requests.ConnectionError, match="refused"):
        requests.get(server.url, timeout=5)


def test_server__two_of_one_fake(fake, server):
    """Two servers of one fake share what it knows."""
    headers = bearer(fake)
    with fake.serve() as other:
        urls = [server.url + USER_INFO, other.url + USER_INFO]

        replies = [requests.get(url, headers=headers, timeout=5) for url in urls]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert [record.url for record in fake.requests] == urls


def test_server__hundred_threads(fake, server):
    """A hundred clients at once are all answered."""
    headers, statuses = bearer(fake), []
    barrier = threading.Barrier(100)

    def ask():
        barrier.wait()
        statuses.append(requests.get(server.url + USER_INFO, headers=headers, timeout=20))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [reply.status_code for reply in statuses] == [200] * 100
    assert len(fake.requests) == 100


def test_testing__names_what_it_exports():
    """Every public name resolves, sorted, and a misspelt one is an AttributeError."""
    assert testing.__all__ == sorted(testing.__all__)
    assert [getattr(testing, name).__name__ for name in testing.__all__] == testing.__all__
    with pytest.raises(AttributeError, match="FakeTikTik"):
        testing.FakeTikTik  # noqa: B018 - looking it up is the test


def test_testing__imports_nothing_of_ours():
    """The fake shares no code with what it tests, so it shares no bug with it."""
    script = (
        "import sys, types, importlib.machinery as m\n"
        "package = types.ModuleType('tiktok_oauth_session')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "sys.modules['tiktok_oauth_session'] = package\n"
        "from tiktok_oauth_session.testing import FakeTikTok\n"
        "FakeTikTok().serve().stop()\n"
        "ours = [n for n in sys.modules if n.startswith('tiktok_oauth_session.')]\n"
        "assert all(n.split('.')[1] == 'testing' for n in ours), ours\n"
        "assert 'oauthlib' not in sys.modules\n"
    )
    package = next(iter(testing.__path__)).removesuffix("testing")

    done = subprocess.run([sys.executable, "-c", script, package], check=False, timeout=60)

    assert done.returncode == 0
