"""When a run may ask TikTok: so many requests a second, and hardly any while TikTok is down."""

from __future__ import annotations

import threading
import time

from tiktok_oauth_session._keepalive import LOOK_UP_S

#: Seconds for which a run waits for TikTok, and for one account, to be well again.
PATIENCE_S = 300.0
#: How many accounts in a row that get no answer mean that TikTok is down. From the first of them on, they
#: go one after the other.
IN_A_ROW = 3
#: Seconds until one of them is let through then; each that follows waits twice as long.
PROBE_S = 1.0
#: Seconds by which requests that were late may follow one another faster, so that the rate is kept up.
CATCH_UP_S = 0.02


class Turn:
    """The leave to refresh one account, and what it sent."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.sent = 0

    def count(self) -> None:
        """Note a request, just before it is sent."""
        self.sent += 1
        if self.sent > 1:
            self._pace.charge(1)


class Pace:
    """A rate, and a circuit breaker.

    Args:
        rate: Requests a second at most.
        stop: Set when the run is to end.

    Attributes:
        trouble: Why nobody is let through any more, once that is so.
    """

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._interval_s, self._stop = 1.0 / rate, stop
        self.trouble = ""
        self._next_at = time.monotonic()
        # Of several that wait, one watches the clock.
        self._first = threading.Lock()
        self._news = threading.Condition()
        self._unanswered = 0
        self._down_since = self._probe_at = 0.0
        self._probe: Turn | None = None

    def turn(self) -> Turn | None:
        """Wait until another account may be refreshed; None if the run ends before."""
        with self._first:
            while not self._stop.is_set() and not self.trouble:
                with self._news:
                    seconds = self._seconds_left()
                    if seconds <= 0:
                        return self._granted()
                    if self._unanswered:
                        self._news.wait(min(seconds, LOOK_UP_S))
                        continue
                self._stop.wait(seconds)
        return None

    def _seconds_left(self) -> float:
        now = time.monotonic()
        if not self._unanswered:
            return self._next_at - now
        return LOOK_UP_S if self._probe else max(self._next_at, self._probe_at) - now

    def _granted(self) -> Turn:
        turn = Turn(self)
        self.charge(1)
        if self._unanswered:
            self._probe = turn
        return turn

    def charge(self, requests: int) -> None:
        """Count requests: those of turns, those beside them, and, below zero, those that were not made."""
        with self._news:
            if requests > 0:
                self._next_at = max(self._next_at, time.monotonic() - CATCH_UP_S)
            self._next_at += requests * self._interval_s

    def end(self, turn: Turn, *, answered: bool, wait_s: float = 0.0) -> None:
        """Give a turn back.

        Args:
            turn: The turn.
            answered: Whether what it sent, if anything, got an answer: any but "not now".
            wait_s: Seconds that TikTok asks to wait.
        """
        with self._news:
            is_probe, is_down = turn is self._probe, self._unanswered >= IN_A_ROW
            if is_probe:
                self._probe = None
            if not turn.sent:
                self.charge(-1)
            elif is_probe or not is_down:
                # What was sent before it was down tells nothing of how it is now.
                self._judge(wait_s, answered=answered)
            self._news.notify_all()

    def _judge(self, wait_s: float, *, answered: bool) -> None:
        if answered:
            self._unanswered = 0
            return
        now = time.monotonic()
        if not self._unanswered:
            self._down_since = now
        self._unanswered += 1
        further = self._unanswered - IN_A_ROW
        self._probe_at = now + max(PROBE_S * 2.0**further, wait_s) if further >= 0 else now
        if self._probe_at - self._down_since > PATIENCE_S:
            self.trouble = f"TikTok has been down or busy for {now - self._down_since:.0f} s"
            if wait_s > PATIENCE_S:
                self.trouble = f"TikTok asks not to be asked for {wait_s:.0f} s"
