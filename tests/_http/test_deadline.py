"""One deadline over everything that becomes of a request, and the thread that it takes."""

from __future__ import annotations

import contextlib
import contextvars
import math
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests
from endpoint import DRIP_S, DRIPS, HEAD, HURRY, PATIENT, SHORT_S, At, Endpoint, ask_at
from requests.adapters import HTTPAdapter
from servers import require_module

from tiktok_oauth_session._http.deadline import Task, Worker, deadline_of
from tiktok_oauth_session._http.oauth_request import NoReply, OAuthRequest
from tiktok_oauth_session._http.transport import Transport

OK = HEAD + b"Content-Length: 2\r\n\r\n{}"
#: Seconds after a deadline that a busy machine may take to notice it.
SLACK_S = 1.5
THREAD = "tiktok-oauth-request"


def request_at(session, endpoint, transport=PATIENT, **options):
    """Prepare a request."""
    return OAuthRequest(
        session, "POST", endpoint.url, {}, {"data": {"code": "fake-code"}}, transport, **options
    )


def assert_given_up(act, *, sent):
    """Assert that something ends at the deadline of a short request, and with which error."""
    began = time.monotonic()
    with pytest.raises(NoReply, match=f"{SHORT_S:g} s|EmptyPoolError") as caught:
        act()
    took = time.monotonic() - began

    assert sent is caught.value.sent
    assert SHORT_S <= took < SHORT_S + SLACK_S


def sending():
    """The threads that requests are sent in."""
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


@pytest.fixture
def ours():
    """The threads in which this test's requests are sent: a test before it may have left one that waits."""
    others = sending()
    return lambda: [thread for thread in sending() if thread not in others]


@pytest.fixture
def assert_no_thread_left(ours):
    """Asserts that the threads of requests end by themselves."""

    def check():
        for thread in ours():
            thread.join(5)
        assert [] == ours()

    return check


# --- whatever it is stuck in ---------------------------------------------------------------------------


def test_deadline__headers_drip(session, assert_no_thread_left):
    """Headers that come byte by byte do not go on for ever."""
    with Endpoint(b"HTTP/1.1 200 OK\r\n", drips=[b"X"] * DRIPS) as endpoint:
        assert_given_up(lambda: ask_at(session, endpoint, HURRY), sent=True)

        assert endpoint.left.wait(5), "the connection is closed"
    assert_no_thread_left()


def test_deadline__status_line_drips(session):
    """Nor does what may become a status line."""
    with Endpoint(drips=[b"H"] * DRIPS) as endpoint:
        assert_given_up(lambda: ask_at(session, endpoint, HURRY), sent=True)

        assert endpoint.left.wait(5)


def test_deadline__no_answer(session):
    """A server that accepts and never answers is waited for as long as its reply may take, and no longer."""
    began = time.monotonic()
    with Endpoint() as endpoint:
        with pytest.raises(NoReply) as caught:
            ask_at(session, endpoint, HURRY)

        assert caught.value.sent
        assert time.monotonic() - began < SHORT_S + SLACK_S
        assert [b"code=fake-code"] == endpoint.bodies
        assert endpoint.left.wait(5)


class Full(HTTPAdapter):
    """An adapter with one connection, whose pool makes everybody wait."""

    def __init__(self):
        super().__init__(pool_connections=1, pool_maxsize=1, pool_block=True)


def test_deadline__full_pool(session, assert_no_thread_left):
    """Where the only connection is in use nothing is sent: in time it is known, and later nothing is."""
    session.mount("http://", Full())

    with Endpoint(HEAD + b"Content-Length: 99\r\n\r\n", drips=[]) as endpoint:
        download = session.post(endpoint.url, data=b"download", stream=True)
        assert_given_up(lambda: ask_at(session, endpoint, HURRY), sent=False)
        assert_no_thread_left()
        download.close()

        assert [b"download"] == endpoint.bodies


def test_deadline__pool_that_is_full_for_a_moment(session):
    """A connection that comes free in time is used."""
    session.mount("http://", Full())

    with Endpoint(HEAD + b"Content-Length: 2\r\n\r\n{}") as endpoint:
        download = session.post(endpoint.url, data=b"download", stream=True)
        threading.Timer(0.1, download.close).start()

        assert {} == ask_at(session, endpoint).json()
        assert [b"download", b"code=fake-code"] == endpoint.bodies


def test_deadline__full_pool_is_not_made_fuller(session, assert_no_thread_left):
    """What was given up gives its place in the pool back."""
    session.mount("http://", Full())

    with Endpoint(b"HTTP/1.1 200 OK\r\n", drips=[b"X"] * DRIPS) as drips, Endpoint(OK) as endpoint:
        for _ in range(2):
            assert_given_up(lambda: ask_at(session, drips, HURRY), sent=True)
            assert_no_thread_left()
        (pool,) = session.get_adapter("http://").poolmanager.pools._container.values()

        assert 2 == drips.connections
        assert (1, None) == (pool.pool.qsize(), pool.pool.get())
        assert {} == ask_at(session, endpoint).json()


@pytest.fixture
def resolver(monkeypatch):
    """A resolver that answers only once it is told to."""
    answer, getaddrinfo = threading.Event(), socket.getaddrinfo

    def hang(*arguments, **options):
        answer.wait(10)
        return getaddrinfo(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield answer
    answer.set()


def test_deadline__names_are_looked_up(session, resolver, assert_no_thread_left):
    """Whatever a lookup of names comes to after the deadline, nothing is sent to it."""
    with Endpoint(OK) as endpoint:
        assert_given_up(lambda: ask_at(session, endpoint, HURRY), sent=False)
        resolver.set()
        assert_no_thread_left()

        assert [] == endpoint.bodies


def test_deadline__many_addresses(session, monkeypatch, assert_no_thread_left):
    """The time to connect is no time for each of a host's addresses."""
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # Linux has one place more in its queue than it is told; then it answers nobody.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(silent.getsockname())
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", silent.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 3)

        # Three times half of the deadline.
        assert_given_up(lambda: ask_at(session, At(silent), HURRY), sent=False)

        assert_no_thread_left()


def test_deadline__tls_drips(session, assert_no_thread_left):
    """A handshake that goes on for ever sends nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection:
            # The head of a long handshake record, and then a byte at a time.
            connection.sendall(b"\x16\x03\x03\x40\x00\x02")
            while not stop.wait(DRIP_S):
                try:
                    connection.sendall(b"\0")
                except OSError:
                    return

    threading.Thread(target=serve, daemon=True).start()
    try:
        with listener:
            at = At(listener)
            at.url = at.url.replace("http:", "https:")
            # Reading certificates takes half of the time, and there is none to be verified.
            hurry = HURRY._replace(verify=False)
            assert_given_up(lambda: ask_at(session, at, hurry), sent=False)
            # Python's ssl leaves a second connection open that is reset as it begins its handshake.
            assert_no_thread_left()
    finally:
        stop.set()


def test_deadline__none(session):
    """No timeout is no deadline."""
    with Endpoint(OK) as endpoint:
        request = request_at(session, endpoint, Transport(timeout=None))
        with request.ready() as send:
            assert {} == send().json()

        assert (math.inf, math.inf) == (request.deadline_s, request.seconds_left)


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [((5.0, 20.0), 25), (7, 14), (0.5, 1), (None, math.inf), ((None, 30), math.inf), ((5, None), math.inf)],
)
def test_deadline_of(timeout, seconds):
    """A request takes the time to connect and the time to reply; without either, any time."""
    assert seconds == deadline_of(timeout)


# --- one deadline --------------------------------------------------------------------------------------


def test_send__has_what_is_left(session):
    """A second sending shares the deadline of the first, which begins when that is sent."""
    with Endpoint(b"HTTP/1.1 200 OK\r\n", drips=[b"X"] * DRIPS) as drips:
        request = request_at(session, drips, HURRY)
        assert (SHORT_S, SHORT_S) == (request.deadline_s, request.seconds_left)
        with request.ready() as send:
            threading.Event().wait(0.05)
            assert SHORT_S == request.seconds_left
            assert_given_up(send, sent=True)
            assert 0 == request.seconds_left

            began = time.monotonic()
            with pytest.raises(NoReply) as caught:
                send()

        assert caught.value.sent, "the first may have been carried out"
        assert time.monotonic() - began < SHORT_S
        assert 1 == len(drips.bodies)


def test_send__replays(session, assert_no_thread_left):
    """What may be replayed is sent twice within one deadline."""
    with Endpoint(b"HTTP/1.1", closing=True) as endpoint:
        request = request_at(session, endpoint)
        with request.ready() as send:
            for replies in (1, 2):
                with pytest.raises(NoReply):
                    send()
                assert replies == len(endpoint.bodies)

        assert [b"code=fake-code"] * 2 == endpoint.bodies
        assert request.seconds_left < request.deadline_s
        assert_no_thread_left()


def test_send__unsent_after_lost(session):
    """A replay of which nothing left does not make certain what became of the first sending."""
    with Endpoint(b"HTTP/1.1", closing=True) as endpoint:
        request = request_at(session, endpoint)
        with request.ready() as send:
            with pytest.raises(NoReply):
                send()
            endpoint.__exit__()
            with pytest.raises(NoReply, match="may or may not") as caught:
                send()

    assert caught.value.sent


def test_ready__nothing_is_sent(session, assert_no_thread_left, ours):
    """Who does not send has sent nothing, and leaves no thread."""
    with Endpoint(OK) as endpoint:
        with request_at(session, endpoint).ready():
            assert 1 == len(ours())

        assert_no_thread_left()
        assert 0 == endpoint.connections


def test_request__that_is_none(session):
    """What cannot be prepared has sent nothing, and is no NoReply."""
    with pytest.raises(requests.exceptions.MissingSchema):
        OAuthRequest(session, "POST", "nowhere", {}, {}, PATIENT)


# --- the thread ----------------------------------------------------------------------------------------


class Seeing(HTTPAdapter):
    """An adapter that sees where it runs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def send(self, request, **options):
        self.seen.append((threading.current_thread(), ACCOUNT.get()))
        return super().send(request, **options)


ACCOUNT = contextvars.ContextVar("ACCOUNT", default="none")


def test_thread__context(session):
    """An adapter sees the context variables of the caller, in a thread that exit does not wait for."""
    adapter = Seeing()
    session.mount("http://", adapter)
    token = ACCOUNT.set("fake account")
    try:
        with Endpoint(OK) as endpoint:
            ask_at(session, endpoint)
    finally:
        ACCOUNT.reset(token)

    ((thread, account),) = adapter.seen
    assert ("fake account", THREAD, True) == (account, thread.name, thread.daemon)


@pytest.mark.usefixtures("no_thread")
def test_thread__none_to_be_had(session):
    """Without one the request is sent in the caller's."""
    adapter = Seeing()
    session.mount("http://", adapter)

    with Endpoint(OK) as endpoint:
        assert {} == ask_at(session, endpoint).json()
        assert [b"code=fake-code"] == endpoint.bodies

    assert [(threading.current_thread(), "none")] == adapter.seen


@pytest.mark.usefixtures("no_thread")
def test_thread__none_and_no_answer(session):
    """There the timeouts of requests are all there is."""
    with Endpoint() as endpoint, pytest.raises(NoReply, match="ReadTimeout") as caught:
        ask_at(session, endpoint, HURRY)

    assert caught.value.sent


def test_thread__200_requests(session, assert_no_thread_left):
    """Requests leave no threads behind, nor connections."""
    with Endpoint(OK) as endpoint:
        before, most = threading.active_count(), 0
        for _ in range(200):
            ask_at(session, endpoint)
            most = max(most, threading.active_count())

        assert_no_thread_left()
        assert most <= before + 20, "they pile up"
        assert (1, 200) == (endpoint.connections, len(endpoint.bodies))


def test_thread__50_failures(session, assert_no_thread_left):
    """Nor do those that were given up."""
    with Endpoint(b"HTTP/1.1 200 OK\r\n", drips=[b"X"] * DRIPS) as endpoint:

        def ask():
            with pytest.raises(NoReply):
                ask_at(session, endpoint, Transport(timeout=(0.05, 0.05)))

        askers = [threading.Thread(target=ask) for _ in range(50)]
        for each in askers:
            each.start()
        for each in askers:
            each.join(30)

        assert [] == [each for each in askers if each.is_alive()]
        assert_no_thread_left()


class Interrupted(Exception):
    """What a job's time limit raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals")
@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("stuck", ["headers", "names"])
def test_interrupted__at_once(request, session, error, stuck, assert_no_thread_left):
    """What hits the caller while it waits passes through at once; the request ends, and its thread."""
    answer = request.getfixturevalue("resolver") if stuck == "names" else threading.Event()

    def interrupt(*_):
        raise error

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Endpoint(b"HTTP/1.1 200 OK\r\n", drips=[b"X"] * DRIPS) as endpoint:
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(error):
                ask_at(session, endpoint)
            took = time.monotonic() - began
            answer.set()

            assert took < DRIPS * DRIP_S / 2
            assert_no_thread_left()
            assert (stuck == "headers") is (1 == len(endpoint.bodies))
            assert stuck == "names" or endpoint.left.wait(5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


GEVENT = """
import gevent, gevent.monkey, sys
gevent.monkey.{patch}
import requests
sys.path.insert(0, {tests!r})
from endpoint import ask_at
ticks = []
def tick():
    while True:
        gevent.sleep(0.01)
        ticks.append(1)
url = sys.argv[1]
class at: url = sys.argv[1]
gevent.spawn(tick)
with requests.Session() as session:
    if "drip" in sys.argv:
        try:
            with gevent.Timeout(0.3):
                ask_at(session, at)
        except gevent.Timeout:
            print("interrupted", len(ticks) > 10)
    else:
        print(ask_at(session, at).json(), len(ticks) > 10)
"""


@pytest.mark.slow
@pytest.mark.parametrize("patch", ["patch_all()", "patch_socket(); gevent.monkey.patch_ssl()"])
@pytest.mark.parametrize("kind", ["reply", "drip"])
def test_gevent(patch, kind):
    """Under gevent other greenlets run meanwhile, and its timeouts work, whatever it has been let near."""
    require_module("gevent")
    drips = [b" "] * 20 + [b"{}"] if kind == "reply" else [b" "] * DRIPS
    head = HEAD + b"Content-Length: %d\r\n\r\n" % sum(map(len, drips))

    with Endpoint(head, drips=drips) as endpoint:
        code = GEVENT.format(patch=patch, tests=__file__.rpartition("/")[0])
        child = subprocess.run(
            [sys.executable, "-c", code, endpoint.url, kind],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

        assert {"reply": "{} True\n", "drip": "interrupted True\n"}[kind] == child.stdout, child.stderr


def test_worker__task_that_nobody_waits_for(assert_no_thread_left):
    """A task that has not begun when the thread is told to stop never does."""
    worker, begun, go_on, done = Worker(), threading.Event(), threading.Event(), []
    worker.start()
    worker.begin(lambda: (begun.set(), go_on.wait(5)))

    assert begun.wait(5)

    worker.begin(lambda: done.append(1))
    worker.stop()
    go_on.set()

    assert_no_thread_left()
    assert [] == done


def test_task__what_became_of_it():
    """A task keeps what it returned or raised for whoever waits for its end."""
    good, bad = Task(lambda: 1), Task(lambda: 1 / 0)
    assert not good.wait(0)
    good.run()
    bad.run()

    assert (True, 1, None) == (good.wait(math.inf), good.result, good.failure)
    assert isinstance(bad.failure, ZeroDivisionError)
