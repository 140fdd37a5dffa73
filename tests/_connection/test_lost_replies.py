"""Replies that arrive, and are not lost to what comes after them: broken ends, hooks, full pools."""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from child_processes import PATIENCE_S
from requests.adapters import HTTPAdapter
from scenarios import USER_INFO, call, connect, session_on

from tiktok_oauth_session import AccountKey, MemoryStore, ReauthorizationRequired, TokenError

#: Seconds to connect and to read, and for all of a call.
TOKEN_TIMEOUT = (1.0, 1.0)
DEADLINE_S = sum(TOKEN_TIMEOUT) + 1.0
#: Seconds between two drips.
DRIP_S = 0.2


# --- a TikTok whose replies break on the way -----------------------------------------------------------


def chunk(piece):
    """Return a piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def short(connection, body, over):
    """Announce more than comes."""
    connection.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body) + 16, body))


def drip_after(connection, body, over):
    """Let a body drip whose JSON is complete."""
    connection.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body) + 1000, body))
    while not over.wait(DRIP_S):
        connection.sendall(b" ")


def last_chunk_missing(connection, body, over):
    """Close before the last chunk."""
    connection.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + chunk(body))


def last_chunk_never(connection, body, over):
    """Never send the last chunk."""
    last_chunk_missing(connection, body, over)
    over.wait(PATIENCE_S)


def drip_headers(connection, body, over):
    """Send one header after the other."""
    while not over.wait(DRIP_S):
        connection.sendall(b"X-Drip: 1\r\n")


class Broken(ThreadingHTTPServer):
    """A TikTok whose token replies break on the way."""

    daemon_threads = True

    def __init__(self, fake, finish):
        self.fake, self.finish, self.over = fake, finish, threading.Event()
        super().__init__(("127.0.0.1", 0), Gateway)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Say nothing of clients who leave."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.shutdown()
        self.server_close()


class Gateway(BaseHTTPRequestHandler):
    """Asks the fake, and breaks what it answers."""

    def answer(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with requests.Session() as behind:
            behind.mount("https://", self.server.fake.adapter())
            address = "https://open.tiktokapis.com" + self.path
            reply = behind.request(self.command, address, data=sent, headers=dict(self.headers))
        head = f"HTTP/1.1 {reply.status_code} -\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.connection.sendall(head.encode())
        if self.path == "/v2/oauth/token/":
            self.server.finish(self.connection, reply.content, self.server.over)
        else:
            self.connection.sendall(b"\r\n" + reply.content)

    do_GET = do_POST = answer  # noqa: N815 - names set by http.server

    def log_message(self, *_):
        """Log nothing."""


@contextlib.contextmanager
def ends_in_time():
    """Yield what calls in a thread and returns what came of it; it has to come within the deadline."""

    def within_deadline(work, *arguments):
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(work(*arguments)), daemon=True)
        began = time.monotonic()
        thread.start()
        thread.join(DEADLINE_S)
        threads.append(thread)

        assert outcome, f"no end within {time.monotonic() - began:.1f} s"

        return outcome[0]

    threads = []
    yield within_deadline
    for thread in threads:
        thread.join(PATIENCE_S)


@pytest.mark.parametrize("finish", [short, drip_after, last_chunk_missing, last_chunk_never])
def test_reply__json_is_complete(fake, store, finish):
    """A reply whose JSON is complete holds the new token, however its body ends, or does not."""
    key = connect(fake, store, left=-1)
    with ends_in_time() as within_deadline, Broken(fake, finish) as tiktok:
        session = session_on(tiktok.url, store, key.open_id, token_timeout=TOKEN_TIMEOUT)
        answer = within_deadline(call, session, tiktok.url)

    assert 200 == answer
    assert fake.is_alive(store.load(key).refresh_token)
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0


def test_reply__headers_drip(fake, store):
    """Headers that drip are given up in time; nobody has to log in, and the account's lock is free."""
    key = connect(fake, store, left=-1)
    with ends_in_time() as within_deadline, Broken(fake, drip_headers) as tiktok:
        session = session_on(tiktok.url, store, key.open_id, token_timeout=TOKEN_TIMEOUT)
        answer = within_deadline(call, session, tiktok.url)
        with store.try_lock(key) as free:
            pass

    assert isinstance(answer, TokenError)
    assert not isinstance(answer, ReauthorizationRequired)
    assert free
    assert fake.reuse_attempts == 0


def test_reply__pool_without_a_connection(fake, store):
    """A streamed reply on the only connection of a pool that blocks holds no refresh up, and no lock."""
    key = connect(fake, store, left=7000)

    def refresh():
        try:
            return session.refresh_token()
        except TokenError as error:
            return error

    with ends_in_time() as within_deadline, fake.serve() as tiktok:
        session = session_on(tiktok.url, store, key.open_id, token_timeout=TOKEN_TIMEOUT)
        session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
        streamed = session.get(tiktok.url + USER_INFO, stream=True)
        with contextlib.closing(streamed):
            within_deadline(refresh)
        with store.try_lock(key) as free:
            pass
        answer = call(session, tiktok.url)

    assert free
    assert 200 == answer
    assert fake.is_alive(store.load(key).refresh_token)
    assert fake.reuse_attempts == 0


def failing(response):
    """Be a hook with a mistake in it."""
    raise LookupError("a mistake")


def forgetful(response):
    """Be a hook that forgets to return the reply."""


@pytest.mark.parametrize("home", ["store", "updater"])
@pytest.mark.parametrize("hook", [failing, forgetful])
def test_reply__hook_of_the_users(fake, make_session, issue, clock, hook, home):
    """A hook of the user's that fails takes no token with it: it is kept, and the next call uses it."""
    old, store, told = issue(), MemoryStore(), []
    options = {"store": store, "token_updater": None} if home == "store" else {"token_updater": told.append}
    session = make_session(token=old, **options)
    session.register_compliance_hook("refresh_token_response", hook)
    clock.advance(7200)
    with contextlib.suppress(Exception):
        session.get("https://open.tiktokapis.com" + USER_INFO)

    assert 200 == session.get("https://open.tiktokapis.com" + USER_INFO).status_code

    kept = store.load(AccountKey(fake.client_key, old.open_id)) if home == "store" else told[-1]

    assert fake.is_alive(kept.refresh_token)
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0
