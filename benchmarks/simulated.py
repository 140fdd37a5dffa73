"""Keep-alive's own pace and agenda, under a clock that is not the world's: hours pass in seconds."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from tiktok_oauth_session._connection.marks import PAUSE_CAP_S, PAUSE_S
from tiktok_oauth_session._keepalive import agenda, pace
from tiktok_oauth_session.keepalive import REPLAY_AFTER_S


class Clock:
    """The time (seconds), and what is going to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, happen: Callable[[], object]) -> None:
        """Let something happen in so many seconds."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), happen))

    def wait(self, seconds: float = math.inf) -> None:
        """Wait until something has happened, or so many seconds are over."""
        until = self.now + seconds
        if self._events and self._events[0][0] <= until:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        else:
            self.now = until


class Stop:
    """What ends a run, as `threading.Event` does."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._is_set = clock, False

    def set(self) -> None:
        """End it."""
        self._is_set = True

    def is_set(self) -> bool:
        """Tell whether it has ended."""
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._clock.wait(seconds)


class _Condition(contextlib.nullcontext[None]):
    """What is waited for. Nobody is in anybody's way: there is one thread."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.wait = clock.wait

    def notify(self) -> None:
        """Do nothing: whoever waits looks again whenever something has happened."""

    notify_all = notify


@contextlib.contextmanager
def simulated(clock: Clock) -> Iterator[None]:
    """Let keep-alive's pace and agenda go by a clock."""
    threads = types.SimpleNamespace(Condition=lambda: _Condition(clock), Lock=contextlib.nullcontext)
    times = types.SimpleNamespace(monotonic=lambda: clock.now)
    with contextlib.ExitStack() as stack:
        for module in (agenda, pace):
            stack.enter_context(mock.patch.multiple(module, time=times, threading=threads))
        yield


class Fleet:
    """A process that keeps its accounts' access tokens alive, run after run; TikTok may be down.

    Args:
        accounts: How many accounts it looks after.
        rate: Requests a second at most.
        workers: How many at a time.
        lifetime_s: Seconds that a new access token lives.
        within_s: Seconds before its end from which it is due.
        latency_s: Seconds that TikTok takes for an answer.
        is_down: Tells at what time TikTok is down.
        silence_s: Seconds until a request gets no answer then; it is told to come later if this is 0.
    """

    #: Seconds from one minute's run to the next, unless one takes longer.
    EVERY_S = 60.0

    def __init__(
        self,
        accounts: int,
        *,
        rate: float,
        workers: int,
        lifetime_s: float,
        within_s: float,
        latency_s: float,
        is_down: Callable[[float], bool],
        silence_s: float,
    ) -> None:
        self.clock = Clock()
        self._rate, self._workers = rate, workers
        self._lifetime_s, self._within_s, self._latency_s = lifetime_s, within_s, latency_s
        self._is_down, self._silence_s = is_down, silence_s
        #: When each account's token ends; and all ends, in their order, of which some are over by a refresh.
        self._ends = [within_s + (lifetime_s - within_s) * n / accounts for n in range(accounts)]
        self._log = list(zip(self._ends, range(accounts), strict=True))
        self._looked_for_due = self._looked_for_ended = 0
        self._left: set[int] = set()
        self._ended: set[int] = set()
        #: Since when an account gets no answer in this run, and how long it is left alone next.
        self._pauses: dict[int, tuple[float, float]] = {}
        self._in_flight = 0
        #: Requests, by minute; the accounts whose token had ended, at each minute's end.
        self.requests: list[int] = [0]
        self.ended: list[int] = []

    def live(self, seconds: float) -> None:
        """Let so many seconds pass, run after run."""
        self.clock.after(self.EVERY_S, self._minute)
        while self.clock.now < seconds:
            next_at = self.clock.now + self.EVERY_S
            self._run(self._due())
            while self.clock.now < next_at:
                self.clock.wait(next_at - self.clock.now)

    def _minute(self) -> None:
        now = self.clock.now
        while self._log[self._looked_for_ended][0] <= now:
            end, account = self._log[self._looked_for_ended]
            self._looked_for_ended += 1
            if self._ends[account] == end:
                self._ended.add(account)
        self.ended.append(len(self._ended))
        self.requests.append(0)
        self.clock.after(self.EVERY_S, self._minute)

    def _due(self) -> list[int]:
        due = sorted(self._left, key=self._ends.__getitem__)
        self._left.clear()
        while self._log[self._looked_for_due][0] <= self.clock.now + self._within_s:
            due.append(self._log[self._looked_for_due][1])
            self._looked_for_due += 1
        return due

    def _run(self, due: list[int]) -> None:
        stop: Any = Stop(self.clock)
        keys: Any = due
        todo, pacing = agenda.Agenda(keys, stop), pace.Pace(self._rate, stop)
        self._left.update(due)
        self._pauses.clear()
        while (account := todo.take()) is not None:
            turn = pacing.turn()
            if turn is None:
                todo.done()
                break
            turn.count()
            self._send(int(account), turn, todo, pacing, stop)
            while self._in_flight >= self._workers:
                self.clock.wait()
        while self._in_flight:
            self.clock.wait()

    def _send(
        self, account: int, turn: pace.Turn, todo: agenda.Agenda, pacing: pace.Pace, stop: Stop
    ) -> None:
        self.requests[-1] += 1
        self._in_flight += 1
        answered = not self._is_down(self.clock.now)
        began = self.clock.now

        def end() -> None:
            self._in_flight -= 1
            pacing.end(turn, answered=answered)
            if answered:
                self._refreshed(account, began)
            else:
                self._put_off(account, todo)
            if pacing.trouble:
                stop.set()
            todo.done()

        self.clock.after(self._latency_s if answered else self._silence_s or self._latency_s, end)

    def _put_off(self, account: int, todo: agenda.Agenda) -> None:
        """Let an account come again in the same run, as `keep_alive` does."""
        now = self.clock.now
        since, pause_s = self._pauses.get(account, (now, PAUSE_S))
        if self._silence_s:
            # It may have been refreshed: it is asked for again once its token has ended.
            pause_s = REPLAY_AFTER_S if self._ends[account] <= now else math.inf
        if now + pause_s - since <= pace.PATIENCE_S:
            self._pauses[account] = since, min(pause_s * 2, PAUSE_CAP_S)
            key: Any = account
            todo.put_off(key, pause_s)

    def _refreshed(self, account: int, began: float) -> None:
        self._left.discard(account)
        self._ended.discard(account)
        self._ends[account] = began + self._lifetime_s
        self._log.append((self._ends[account], account))
