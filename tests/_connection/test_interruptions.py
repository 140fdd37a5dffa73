"""Callers who are interrupted in the middle of a refresh: what TikTok gave is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

import pytest
import scenarios
from child_processes import PATIENCE_S, ChildProcess, hear, say
from scenarios import TRAVEL_S, USER_INFO, call, connect, session_on

from tiktok_oauth_session import FileStore

pytestmark = pytest.mark.slow

#: Seconds for which something must not happen.
A_WHILE_S = 0.5
#: Seconds in which what happens at once has to happen.
AT_ONCE_S = 1.0
#: Seconds for which an interruption is held back at most, and what a busy machine may add.
HELD_BACK_S, SLACK_S = 10.0, 2.0
#: How a process is interrupted, and what it sees of that.
INTERRUPTIONS = {"KeyboardInterrupt": signal.SIGINT, "SystemExit": signal.SIGTERM}


# --- in the other process ---------------------------------------------------------------------------


class Staged(FileStore):
    """Files, and a stage at which whoever uses them is interrupted."""

    stage, signal = "", signal.SIGINT

    def reach(self, stage):
        """Interrupt the process, once, if this is the stage."""
        if self.stage == stage:
            self.stage = ""
            # Whichever thread this is: the main one gets it.
            os.kill(os.getpid(), self.signal)
            # Somebody else than the one who is interrupted takes the time to let it arrive.
            threading.Event().wait(TRAVEL_S)

    def lock(self, key):
        return self._reached(super().lock(key))

    def try_lock(self, key, **options):
        return self._reached(super().try_lock(key, **options))

    @contextlib.contextmanager
    def _reached(self, lock):
        with lock as held:
            self.reach("lock")
            yield held

    def load(self, key):
        self.reach("load")
        return super().load(key)

    def save(self, key, token, *, replacing=None):
        self.reach("mark" if token.refresh_token == replacing else "save")
        super().save(key, token, replacing=replacing)


def call_and_be_interrupted(url, directory, open_id, stage, interruption):
    """Call the API; tell what came of it and what is stored then, and call it again when told to."""
    # Where the tests run in the background, their children ignore this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    store, told = Staged(directory), []

    def updater(token):
        store.reach("updater")
        told.append(token["refresh_token"])

    session = session_on(url, store, open_id, token_updater=updater)
    (key,) = store.keys()
    store.signal, store.stage = INTERRUPTIONS[interruption], stage
    say(ready=True)
    try:
        raised = repr(session.get(url + USER_INFO))
    except BaseException as error:  # noqa: BLE001 - the outcome under test
        raised = type(error).__name__
    say(raised=raised, at=time.monotonic(), stored=store.load(key)["refresh_token"])
    hear()
    say(answer=repr(call(session, url)), told=told)


# --- in the test ------------------------------------------------------------------------------------


class Interrupted(ChildProcess):
    """A process that is interrupted while it calls with an expired token."""

    def __init__(self, url, store, key, *, stage="", interruption="KeyboardInterrupt"):
        super().__init__(__file__)
        self._signal = INTERRUPTIONS[interruption]
        self.say(
            url=url,
            directory=str(store.directory),
            open_id=key.open_id,
            stage=stage,
            interruption=interruption,
        )
        # Sooner it would not know what to do with an interruption.
        self.hear()

    def interrupt(self):
        """Interrupt it; return when."""
        os.kill(self.pid, self._signal)
        return time.monotonic()

    def call_again(self):
        """Let it call again; return what came of it."""
        self.say(go_on=True)
        return self.hear()


def assert_kept(fake, store, key, again):
    """One refresh, and the token of it is stored, was handed on and works."""
    stored = store.load(key)

    assert "200" == again["answer"]
    assert [stored.refresh_token] == again["told"]
    scenarios.assert_kept(fake, store, [key])


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("stage", ["lock", "load", "mark", "before", "after", "save", "updater", "call"])
def test_interruption__at_every_stage(fake, url, store, stage, interruption):
    """Ctrl-C and SystemExit reach the caller at every stage of a refresh, and the next call works."""
    key = connect(fake, store, left=-1)
    with Interrupted(url, store, key, stage=stage, interruption=interruption) as child:
        moments = {"before": (fake.before, "refresh"), "after": (fake.after, "refresh")}
        moment, endpoint = moments.get(stage, (fake.before, "user_info"))
        if stage in (*moments, "call"):
            pending = [child.interrupt]
            moment(endpoint, lambda record: pending and pending.pop()())
        heard = child.hear()
        again = child.call_again()

    assert interruption == heard["raised"]
    assert_kept(fake, store, key, again)


class HeldReply:
    """TikTok has spent the refresh token, and its reply does not leave until it is let go."""

    def __init__(self, fake):
        self._arrived, self.over = threading.Event(), threading.Event()
        fake.after("refresh", self._hold)

    def _hold(self, _):
        self._arrived.set()
        self.over.wait(PATIENCE_S)

    def wait(self):
        """Wait until there is one."""
        assert self._arrived.wait(PATIENCE_S)


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_interruption__held_back_until_the_save(fake, url, store, interruption):
    """An interruption that comes while the reply travels is raised when the new token is saved."""
    key = connect(fake, store, left=-1)
    reply = HeldReply(fake)
    with Interrupted(url, store, key, interruption=interruption) as child:
        reply.wait()
        child.interrupt()

        assert child.is_silent(A_WHILE_S)

        reply.over.set()
        heard = child.hear()
        again = child.call_again()

    assert interruption == heard["raised"]
    assert fake.is_alive(heard["stored"])
    assert_kept(fake, store, key, again)


def test_interruption__second_one(fake, url, store):
    """Whoever interrupts a second time does not wait, and the refresh goes on without the caller."""
    key = connect(fake, store, left=-1)
    reply = HeldReply(fake)
    with Interrupted(url, store, key) as child:
        reply.wait()
        child.interrupt()

        assert child.is_silent(A_WHILE_S)

        again_at = child.interrupt()
        heard = child.hear()
        reply.over.set()
        again = child.call_again()

    assert "KeyboardInterrupt" == heard["raised"]
    assert heard["at"] - again_at < AT_ONCE_S
    assert not fake.is_alive(heard["stored"]), "the reply was still on its way"
    assert_kept(fake, store, key, again)


@pytest.mark.long
def test_interruption__held_back_long_enough(fake, url, store):
    """An interruption is held back for ten seconds, and no longer, whatever the reply does."""
    key = connect(fake, store, left=-1)
    reply = HeldReply(fake)
    with Interrupted(url, store, key) as child:
        reply.wait()
        interrupted_at = child.interrupt()
        heard = child.hear(timeout=2 * HELD_BACK_S)
        reply.over.set()
        again = child.call_again()

    assert "KeyboardInterrupt" == heard["raised"]
    assert HELD_BACK_S - SLACK_S < heard["at"] - interrupted_at < HELD_BACK_S + SLACK_S
    assert_kept(fake, store, key, again)


def test_interruption__while_waiting_for_the_lock(fake, url, store):
    """Before the mark nothing is at stake: an interruption is raised at once, and nothing is sent."""
    key = connect(fake, store, left=-1)
    with contextlib.ExitStack() as lock:
        lock.enter_context(store.lock(key))
        with Interrupted(url, store, key) as child:
            assert child.is_silent(2 * A_WHILE_S)

            interrupted_at = child.interrupt()
            heard = child.hear()
            sent = len(fake.requests)
            lock.close()
            again = child.call_again()

    assert ("KeyboardInterrupt", 0) == (heard["raised"], sent)
    assert heard["at"] - interrupted_at < AT_ONCE_S
    assert_kept(fake, store, key, again)


if __name__ == "__main__":
    call_and_be_interrupted(**hear())
