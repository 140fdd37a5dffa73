"""Callers who do not give up, with a dead token: TikTok is asked a few times, and nobody waits long."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from child_processes import PATIENCE_S, ChildProcess, hear, say
from redis_server import free_port
from scenarios import TRAVEL_S, USER_INFO, call, connect, session_on

from tiktok_oauth_session import FileStore, TokenError
from tiktok_oauth_session.testing import FakeTikTok

PROCESSES = 4
#: Token requests of all processes together, at most, however long they go on.
MOST_REQUESTS = 5
#: Connections that one of them tries before it is given up: nothing was sent, so it is tried again at once.
TRIES_EACH = 2
#: Seconds to connect and to read.
TOKEN_TIMEOUT = (0.5, 1.5)
#: Seconds of the longest call.
DEADLINE_S = sum(TOKEN_TIMEOUT) + 1.0
#: Seconds for processes to say what they saw.
SLACK_S = 5.0

# --- what TikTok answers ----------------------------------------------------------------------------


def always(endpoint, kind, **details):
    """Let an accident happen every time."""
    return lambda fake: fake.fail(endpoint, kind, times=None, **details)


def lifetime(**expires_in):
    """Let every new token have the lifetime that is given, or none."""

    def plan(fake):
        def answer(record):
            token = fake.issue_token(user=fake.users[-1])
            del token["expires_in"]
            reply = json.dumps({**token, **expires_in}).encode()
            fake.fail("refresh", "body", body=reply, processed=True)

        fake.before("refresh", answer)

    return plan


REFUSED = {"TokenError"}
#: What TikTok answers, and what comes of the calls then.
ANSWERS = {
    "invalid_client": (always("refresh", "error", error="invalid_client", status=401), REFUSED),
    "rate_limit_exceeded": (always("refresh", "error", error="rate_limit_exceeded", status=200), REFUSED),
    "429": (always("refresh", "status", status=429), REFUSED),
    "429, Retry-After: 30": (always("refresh", "status", status=429, retry_after=30), REFUSED),
    "500": (always("refresh", "status", status=500), REFUSED),
    "503": (always("refresh", "status", status=503), REFUSED),
    "401 to every token": (
        always("user_info", "error", error="access_token_invalid", status=401),
        {"401", "TokenError"},
    ),
    "no expires_in": (lifetime(), {"200"}),
    "expires_in null": (lifetime(expires_in=None), {"200"}),
    "expires_in 0": (lifetime(expires_in=0), {"200"}),
    "expires_in -1": (lifetime(expires_in=-1), {"200"}),
    "expires_in NaN": (lifetime(expires_in=float("nan")), {"200"}),
    # A port that nobody listens on: those who knock count themselves.
    "refused": (None, {"NoReply", "TokenError"}),
}


# --- in the other processes -------------------------------------------------------------------------


def call_for(seconds, pause, name, url, directory, open_id, secret):
    """Call for so long; tell what came of it, and how long the slowest call took."""
    session = session_on(
        url, FileStore(directory), open_id, client_secret=secret, token_timeout=TOKEN_TIMEOUT
    )
    answers, silent, slowest, calls = set(), "", 0.0, 0
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        answer = call(session, url)
        calls, slowest = calls + 1, max(slowest, time.monotonic() - began)
        answers.add(str(answer) if isinstance(answer, int) else type(answer).__name__)
        if isinstance(answer, Exception) and not (getattr(answer, "retry_after", None) or 0) > 0:
            silent = repr(answer)
        time.sleep(pause)
    connects = ports.count(urlsplit(url).port)
    say(name=name, answers=sorted(answers), silent=silent, slowest=slowest, calls=calls, connects=connects)


#: The port of every connection that this process has tried.
ports = []


def note_connection(event, arguments):
    """Be an audit hook."""
    if event == "socket.connect":
        ports.append(arguments[1][1])


def call_all(seconds, pause, accounts):
    """Call for all accounts at once, each in a thread."""
    sys.addaudithook(note_connection)
    say(ready=True)
    hear()
    for each in accounts:
        threading.Thread(target=call_for, args=(seconds, pause), kwargs=each).start()


# --- in the test ------------------------------------------------------------------------------------


def play(names, directory, *, seconds, pause):
    """Let four processes call while TikTok answers in each of the ways that are named.

    Returns:
        For each way its TikTok, and what each process saw that came to its end.
    """
    with contextlib.ExitStack() as stack:
        fakes, accounts = {}, []
        for name in names:
            # Each has a secret of its own: a process remembers for how long one is refused.
            fake = fakes[name] = FakeTikTok(client_secret=f"fake-secret {name}")
            plan, _ = ANSWERS[name]
            if plan:
                plan(fake)
            fake.after("refresh", lambda record: threading.Event().wait(TRAVEL_S))
            url = stack.enter_context(fake.serve()).url if plan else f"http://127.0.0.1:{free_port()}"
            store = FileStore(directory / name)
            key = connect(fake, store, left=-1)
            place = {"directory": str(store.directory), "open_id": key.open_id}
            accounts.append({"name": name, "url": url, "secret": fake.client_secret, **place})
        children = [stack.enter_context(ChildProcess(__file__)) for _ in range(PROCESSES)]
        for child in children:
            child.say(role="call_all", seconds=seconds, pause=pause, accounts=accounts)
        for child in children:
            child.hear()
        for child in children:
            child.say(go=True)
        end = time.monotonic() + seconds + DEADLINE_S + SLACK_S
        seen = [each for child in children for each in heard_until(end, child, len(names))]
    return {name: (fakes[name], [each for each in seen if each["name"] == name]) for name in names}


def heard_until(end, child, count):
    """Return what a process says until then; if it has more to say, end it."""
    heard = []
    while len(heard) < count:
        try:
            heard.append(child.hear(timeout=max(0.0, end - time.monotonic())))
        except TimeoutError:
            child.kill()
            break
    return heard


def assert_paced(name, fake, seen):
    """TikTok was asked a few times only, nobody waited, and whoever was refused knows until when."""
    if name == "refused":
        requests = sum(each["connects"] for each in seen) / TRIES_EACH
    else:
        requests = len(fake.requests_to("refresh"))

    assert PROCESSES == len(seen), "a call has not come to its end"
    assert max(each["slowest"] for each in seen) <= DEADLINE_S
    assert 0 < requests <= MOST_REQUESTS
    assert {answer for each in seen for answer in each["answers"]} <= ANSWERS[name][1]
    assert [""] * PROCESSES == [each["silent"] for each in seen], "who says nothing of when to come again"
    assert min(each["calls"] for each in seen) > MOST_REQUESTS


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Six seconds of all answers at once; callers who are so many leave each other some time to run."""
    return play(ANSWERS, tmp_path_factory.mktemp("pacing"), seconds=6, pause=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_pacing__while_tiktok_answers(played, name):
    """Four processes that call again and again cause at most five token requests, and wait for no more."""
    assert_paced(name, *played[name])


@pytest.mark.long
@pytest.mark.parametrize("name", ANSWERS)
def test_pacing__without_pause(tmp_path, name):
    """So do four processes that call for 20 s without a pause."""
    assert_paced(name, *play([name], tmp_path, seconds=20, pause=0)[name])


def test_pacing__retry_after(fake, make_session, issue, clock, tmp_path):
    """What Retry-After says is in the error, binds everybody who shares the store, and ends."""
    token = issue()
    first = make_session(store=FileStore(tmp_path), token=token)
    other = make_session(store=FileStore(tmp_path), open_id=token.open_id)
    clock.advance(7200)
    fake.fail("refresh", "status", status=429, retry_after=30)
    told = []
    for session in (first, other):
        with pytest.raises(TokenError) as caught:
            session.get("https://open.tiktokapis.com" + USER_INFO)
        told.append(caught.value.retry_after)
        clock.advance(10)

    assert pytest.approx([30, 20], abs=1) == told
    assert len(fake.requests_to("refresh")) == 1

    clock.advance(11)

    assert 200 == other.get("https://open.tiktokapis.com" + USER_INFO).status_code
    assert len(fake.requests_to("refresh")) == 2


def call_once(url, directory, open_id):
    """Call with a token that expires in a moment."""
    call(session_on(url, FileStore(directory), open_id), url)
    say(called=True)
    hear()


@pytest.mark.slow
def test_pacing__killed_in_the_pause(fake, tmp_path):
    """A worker that is killed after a 429 leaves nothing unclear: after the pause somebody refreshes."""
    store = FileStore(tmp_path / "tokens")
    key = connect(fake, store, left=30)
    old, answered = store.load(key), threading.Event()
    fake.fail("refresh", "status", status=429, retry_after=2)
    fake.after("refresh", lambda record: answered.set())
    with fake.serve() as server:
        with ChildProcess(__file__) as child:
            child.say(role="call_once", url=server.url, directory=str(store.directory), open_id=key.open_id)

            assert answered.wait(PATIENCE_S)
            # It does not sleep with the lock.
            assert {"called": True} == child.hear(timeout=1)

            os.kill(child.pid, signal.SIGKILL)
        time.sleep(3)
        answer = call(session_on(server.url, store, key.open_id), server.url)

    assert 200 == answer
    assert old.refresh_token != store.load(key).refresh_token
    assert len(fake.requests_to("refresh")) == 2
    assert fake.reuse_attempts == 0


if __name__ == "__main__":
    order = hear()
    {each.__name__: each for each in (call_all, call_once)}[order.pop("role")](**order)
