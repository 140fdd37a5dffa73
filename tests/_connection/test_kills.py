"""What is left when a process is killed while it refreshes."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import sys
import threading
import time

import pytest
from child_processes import PATIENCE_S, ChildProcess, hear, say

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    FileStore,
    ReauthorizationRequired,
    StoreError,
    TikTokOAuth2Session,
    TikTokToken,
)
from tiktok_oauth_session.testing import FakeTikTok

pytestmark = pytest.mark.slow

SEED = 20_260_801
USER_INFO = "/v2/user/info/?fields=open_id"
#: Seconds that TikTok thinks before and after it spends a refresh token, at most.
THINKING_S = 0.003
#: Seconds in which whoever waits has to go on when the lock's holder was killed.
GOES_ON_WITHIN_S = 1.0


def make_session(url, directory, open_id, agent):
    """Return a session on files, whose requests say who sent them."""
    session = TikTokOAuth2Session(
        FakeTikTok().client_key,
        client_secret=FakeTikTok().client_secret,
        store=FileStore(directory),
        open_id=open_id,
        platform=LOGIN_KIT.at(url),
    )
    session.trust_env = False
    session.headers["User-Agent"] = agent
    return session


# --- in the other process ---------------------------------------------------------------------------


def refresh_for_ever(url, directory, open_id, agent, warm):
    """Be the victim, who may have refreshed before."""
    session = make_session(url, directory, open_id, agent)
    if warm:
        session.refresh_token()
    say(ready=os.getpid())
    while True:
        session.refresh_token()


def refresh_once(url, directory, open_id, agent):
    """Call the API with a token that has expired."""
    session = make_session(url, directory, open_id, agent)
    say(ready=os.getpid())
    session.get(url + USER_INFO)


def hold_the_lock(url, directory, open_id, agent):
    """Hold the account's lock until the end."""
    session = make_session(url, directory, open_id, agent)
    with session.store.lock(AccountKey(session.client_id, open_id)):
        say(ready=os.getpid())
        signal.pause()


ROLES = {each.__name__: each for each in (refresh_for_ever, refresh_once, hold_the_lock)}


def breed():
    """Fork a child for each order: everything is imported already, so it is at work in no time."""
    while order := hear():
        child = os.fork()
        if not child:
            try:
                ROLES[order.pop("role")](**order)
            except BaseException:  # noqa: BLE001 - nothing of the parent's may run in the child
                sys.excepthook(*sys.exc_info())
            os._exit(1)
        _, status = os.waitpid(child, 0)
        say(ended=os.waitstatus_to_exitcode(status))


# --- in the test ------------------------------------------------------------------------------------


class Victims(ChildProcess):
    """Processes to kill, forked by one that has everything imported."""

    def __init__(self):
        super().__init__(__file__)
        self._victim = None

    def start(self, role, **options):
        self.say(role=role.__name__, **options)
        self._victim = self.hear()["ready"]

    def kill(self):
        """Kill the victim; anything but SIGKILL as the reason of its end is an error of its own."""
        os.kill(self._victim, signal.SIGKILL)
        ended = self.hear()
        self._victim = None

        assert {"ended": -signal.SIGKILL} == ended

    def __exit__(self, *exception):
        if self._victim:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._victim, signal.SIGKILL)
        super().__exit__(*exception)


@pytest.fixture(scope="module")
def victims():
    """Processes to kill."""
    with Victims() as process:
        yield process


@pytest.fixture
def server(fake):
    """The fake TikTok on a socket."""
    with fake.serve() as running:
        yield running


class Account:
    """A connection in a store, and every refresh token that TikTok ever issued for it, oldest first."""

    def __init__(self, fake, directory, *, age=0.0):
        self._fake = fake
        self.open_id = fake.add_user().open_id
        self.key = AccountKey(fake.client_key, self.open_id)
        first = fake.issue_token(user=self.open_id)
        self._first = first["refresh_token"]
        self.directory = directory
        self.store.save(self.key, TikTokToken.from_reply(first, requested_at=time.time() - age))

    @property
    def store(self):
        """Another handle each time, as another process would have it."""
        return FileStore(self.directory)

    @property
    def records(self):
        """The refresh requests for this account that reached TikTok."""
        ours, records = {self._first}, []
        for record in self._fake.requests_to("refresh"):
            if record.form["refresh_token"] in ours:
                records.append(record)
                if record.committed:
                    ours.add(issued(record))
        return records

    @property
    def chain(self):
        return [self._first, *(issued(record) for record in self.records if record.committed)]

    @property
    def files(self):
        return sorted(
            path.name[path.name.rindex(".") :]
            for path in self.directory.glob("*/*")
            if path.name.lstrip(".").startswith(self.open_id)
        )


def issued(record):
    """Return the refresh token that TikTok answered with."""
    return json.loads(record.body)["refresh_token"]


def settle(server, before):
    """Wait until the fake has dealt with all that reached its socket, also from those who are dead."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as last_in_the_queue:
        last_in_the_queue.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while last_in_the_queue.recv(65536):
            pass
    # The fake has one thread for each connection.
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)

        assert not thread.is_alive()


def think(fake, dice):
    """Let TikTok take its time on both sides of the moment at which a token is spent."""
    for moment in (fake.before, fake.after):
        moment("refresh", lambda record: threading.Event().wait(dice.uniform(0, THINKING_S)))


def seconds_per_refresh(server, account):
    """Measure how long a refresh takes."""
    session = make_session(server.url, account.directory, account.open_id, "stopwatch")
    begun = time.monotonic()
    for _ in range(5):
        session.refresh_token()
    session.close()
    return (time.monotonic() - begun) / 5


def examine(account, agent):
    """Tell from the disk and from TikTok's own log where in a refresh the kill fell."""
    try:
        stored = account.store.load(account.key)
    except StoreError:
        return "damaged", None
    if stored is None:
        return "gone", None
    chain = account.chain
    if stored.refresh_token == chain[-1]:
        if "refresh_started_at" in stored:
            return "begun, not committed", stored
        mine = [record for record in account.records if record.headers["User-Agent"] == agent]
        return ("saved" if mine else "not begun"), stored
    if stored.refresh_token == chain[-2] and account.records[-1].headers["User-Agent"] == agent:
        return "committed, not saved", stored
    return "stale", stored


#: Seconds ahead at which each next caller comes: later than the last one's access token lives.
LATER_S = itertools.count(10_000, 10_000)


def go_on(server, account, agent):
    """Be the next caller, when the access token is dead; tell whether the account still lives.

    While it lives, the refresh token of a refresh that nobody saw the end of is left alone.
    """
    session = make_session(server.url, account.directory, account.open_id, agent)
    ahead_s, now = next(LATER_S), time.time
    with contextlib.closing(session), pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + ahead_s)
        try:
            session.refresh_token()
        except ReauthorizationRequired:
            return False
    return True


@pytest.mark.parametrize("kills", [40, pytest.param(500, marks=pytest.mark.long)])
def test_kill__at_a_random_moment_of_a_refresh(victims, fake, server, tmp_path, kills):
    """A kill damages nothing, and loses an account only between TikTok's commit and our save."""
    dice = random.Random(SEED)
    think(fake, random.Random(SEED + 1))
    account = Account(fake, tmp_path / "tokens")
    length_s = seconds_per_refresh(server, account)
    tally = collections.Counter()
    for number in range(kills):
        before = set(threading.enumerate())
        victims.start(
            refresh_for_ever,
            url=server.url,
            directory=str(account.directory),
            open_id=account.open_id,
            agent=f"victim-{number}",
            warm=number % 2 == 0,
        )
        threading.Event().wait(dice.uniform(0, 3 * length_s))
        victims.kill()
        settle(server, before)
        tally["temporary files"] += ".tmp" in account.files
        found, stored = examine(account, f"victim-{number}")
        tally[found] += 1

        assert found in {"not begun", "begun, not committed", "committed, not saved", "saved"}

        lives = go_on(server, account, f"next-{number}")
        (sent,) = [r for r in account.records if r.headers["User-Agent"] == f"next-{number}"]

        assert stored.refresh_token == sent.form["refresh_token"]
        assert (found != "committed, not saved") == lives
        assert [".json", ".lock", ".lock"] == account.files
        if lives:
            assert account.chain[-1] == account.store.load(account.key).refresh_token
        else:
            tally["lost"] += 1
            known = len(fake.requests_to("refresh"))

            assert "invalid_grant" == sent.error
            assert not go_on(server, account, "nobody asks a second time")
            assert known == len(fake.requests_to("refresh"))

            account = Account(fake, account.directory)
    sys.stdout.write(f"{kills} kills, a refresh takes {length_s * 1000:.0f} ms: {dict(tally)}\n")

    assert tally["lost"] == tally["committed, not saved"] == fake.reuse_attempts
    assert {f"next-{n}" for n in range(kills)} >= {
        r.headers["User-Agent"] for r in fake.requests_to("refresh") if not r.committed
    }
    assert min(tally["lost"], tally["saved"] + tally["begun, not committed"]) > 0
    assert not list(account.directory.glob("*/*.damaged-*"))


def test_lock__holder_killed(victims, fake, server, tmp_path):
    """Who waits for the lock of a process that is killed has it within a second."""
    account = Account(fake, tmp_path / "tokens")
    victims.start(
        hold_the_lock,
        url=server.url,
        directory=str(account.directory),
        open_id=account.open_id,
        agent="holder",
    )
    had_it = []

    def wait():
        with account.store.lock(account.key):
            had_it.append(time.monotonic())

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.2)

    assert not had_it

    killed = time.monotonic()
    victims.kill()
    waiting.join(PATIENCE_S)

    assert 1 == len(had_it)
    assert had_it[0] - killed < GOES_ON_WITHIN_S


@pytest.mark.parametrize(
    ("moment", "rotation", "lives"),
    [
        pytest.param("before", "hard", True, id="before TikTok's commit"),
        pytest.param("after", "hard", False, id="after TikTok's commit"),
        pytest.param("after", "grace", True, id="after TikTok's commit, with a grace period"),
    ],
)
def test_refresh__holder_killed_while_another_waits(victims, tmp_path, moment, rotation, lives):
    """Who waits for a refresh whose process is killed goes on within a second, and asks TikTok once."""
    fake = FakeTikTok(rotation=rotation)
    account = Account(fake, tmp_path / "tokens", age=8000)
    connections, arrived, over = [], threading.Event(), threading.Event()

    def hang(record):
        if record.headers["User-Agent"] == "holder":
            connections.append(threading.current_thread())
            arrived.set()
            over.wait(PATIENCE_S)
            if moment == "before":
                fake.fail("refresh", "reset_before")

    getattr(fake, moment)("refresh", hang)
    outcome = []
    with fake.serve() as server:
        options = {"url": server.url, "directory": str(account.directory), "open_id": account.open_id}
        victims.start(refresh_once, **options, agent="holder")

        assert arrived.wait(PATIENCE_S)

        waiting = threading.Thread(target=lambda: outcome.append(call(agent="waiting", **options)))
        waiting.start()
        waiting.join(0.2)

        assert not outcome

        killed = time.monotonic()
        victims.kill()
        waiting.join(PATIENCE_S)
        over.set()
        connections[0].join(PATIENCE_S)
    (answer, answered_at), requests = outcome[0], account.records

    assert ("200" if lives else "ReauthorizationRequired") == answer
    assert answered_at - killed < GOES_ON_WITHIN_S
    assert ["holder", "waiting"] == [record.headers["User-Agent"] for record in requests]
    assert requests[0].form == requests[1].form
    assert fake.reuse_attempts == (moment == "after")
    assert [".json", ".lock", ".lock"] == account.files
    assert lives == fake.is_alive(account.store.load(account.key).refresh_token)


def call(url, directory, open_id, agent):
    """Call the API; return what came of it, and when."""
    session = make_session(url, directory, open_id, agent)
    with contextlib.closing(session):
        try:
            answer = str(session.get(url + USER_INFO).status_code)
        except ReauthorizationRequired as error:
            answer = type(error).__name__
    return answer, time.monotonic()


if __name__ == "__main__":
    breed()
