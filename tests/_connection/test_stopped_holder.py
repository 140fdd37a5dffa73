"""Who holds an account's lock is stopped for a while, or killed, in the middle of a refresh."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import pytest
import scenarios
from scenarios import PATIENCE_S, Other, call, call_until_it_works, connect, opened, session_on
from shared_stores import FILES, SERVERS, open_new

from tiktok_oauth_session import ReauthorizationRequired, TokenError

pytestmark = pytest.mark.slow

#: Seconds for which the holder is stopped: longer than any lease.
STOPPED_S = 60.0
#: Seconds in which somebody else has the lock of a holder that was killed: of files, and of leases.
FILE_FREE_S, LEASE_FREE_S = 1.0, 20.0
#: Seconds that a busy machine may add.
SLACK_S = 2.0


class Holder:
    """A process that refreshes, and stays in the middle of it until it is let go.

    Args:
        moment: ``before`` TikTok spends the refresh token, or ``after``.
    """

    def __init__(self, fake, stack, moment, open_id, **options):
        self._arrived, self.over, self._fake = threading.Event(), threading.Event(), fake
        self._moment, self.reply_lost = moment, False
        getattr(fake, moment)("refresh", self._hold)
        self.process = stack.enter_context(Other(scenarios.call_at_once, open_ids=[open_id], **options))
        # Whoever left must not be waited for.
        stack.callback(self.over.set)

    def _hold(self, _):
        if self._arrived.is_set():
            return
        self._arrived.set()
        self.over.wait(10 * PATIENCE_S)
        if self.reply_lost:
            self._fake.fail("refresh", "reset_before")

    def begin(self):
        """Let it refresh; return when it is in the middle of that."""
        self.process.when_ready().go()
        assert self._arrived.wait(PATIENCE_S)


def call_for(session, url, seconds):
    """Call twice a second; return what came of it."""
    answers, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        answers.append(call(session, url))
        threading.Event().wait(0.5)
    return answers


@pytest.mark.long
@pytest.mark.parametrize("left", [-1, 300], ids=["expired", "due"])
@pytest.mark.parametrize("kind", ["redis", "postgresql"])
def test_holder__stopped_and_continued(fake, request, kind, left):
    """A holder that is stopped while TikTok's reply travels, for a minute, keeps what it got; all go on."""
    opens = open_new(kind, request)
    with contextlib.ExitStack() as stack:
        store, url = stack.enter_context(opened(opens)), stack.enter_context(fake.serve()).url
        key = connect(fake, store, left=left)
        holder = Holder(fake, stack, "after", url=url, opens=opens, open_id=key.open_id)
        session = session_on(url, store, key.open_id)
        holder.begin()
        os.kill(holder.process.pid, signal.SIGSTOP)
        try:
            holder.over.set()
            answers = call_for(session, url, STOPPED_S)
        finally:
            os.kill(holder.process.pid, signal.SIGCONT)
        (holders,) = holder.process.hear(timeout=PATIENCE_S)["answers"]
        # A token that TikTok has sent is saved, though the holder's caller may have waited long enough.
        answers.append(call_until_it_works(session, url))
        stored = store.load(key)

    assert fake.reuse_attempts <= 1
    assert fake.is_alive(stored.refresh_token)
    assert holders == 200 or holders.startswith("TokenError(")
    assert 200 == answers[-1]
    assert [] == [answer for answer in answers if isinstance(answer, ReauthorizationRequired)]
    assert [] == [a for a in answers if not (a == 200 or (isinstance(a, TokenError) and a.retry_after > 0))]
    assert left < 0 or [200] * len(answers) == answers


@pytest.mark.parametrize(
    ("kind", "free_s"),
    [
        *[(kind, FILE_FREE_S) for kind in FILES],
        *[pytest.param(kind, LEASE_FREE_S, marks=pytest.mark.long) for kind in SERVERS],
    ],
)
@pytest.mark.parametrize("left", [-1, 30, 300], ids=["expired", "urgent", "due"])
def test_holder__killed(fake, request, kind, free_s, left):
    """Whoever waits for a holder that is killed before TikTok spends the refresh token goes on in time."""
    opens = open_new(kind, request)
    outcome = []
    with contextlib.ExitStack() as stack:
        store, url = stack.enter_context(opened(opens)), stack.enter_context(fake.serve()).url
        key = connect(fake, store, left=left)
        holder = Holder(fake, stack, "before", url=url, opens=opens, open_id=key.open_id)
        session = session_on(url, store, key.open_id)
        holder.begin()
        waiting = threading.Thread(target=lambda: outcome.append((call(session, url), time.monotonic())))
        waiting.start()
        waiting.join(0.2)
        killed_at = time.monotonic()
        holder.process.kill()
        waiting.join(PATIENCE_S)
        holder.reply_lost = True

        assert outcome, "nobody has gone on"

        answer, answered_at = outcome[0]
        with store.lock(key):
            locked_at = time.monotonic()
        if isinstance(answer, TokenError):
            # What is not known to be lost is not sent again so soon, where only time proves the holder dead.
            threading.Event().wait(answer.retry_after)
        last = call(session, url)
        stored = store.load(key)

    assert answered_at - killed_at < free_s + SLACK_S * (kind in SERVERS)
    assert locked_at - killed_at < free_s + SLACK_S * (kind in SERVERS)
    assert not isinstance(answer, ReauthorizationRequired)
    assert kind in SERVERS or 200 == answer
    assert 200 == last
    assert fake.is_alive(stored.refresh_token)
    assert fake.reuse_attempts == 0
