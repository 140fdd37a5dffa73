"""The accounts that a run has yet to look at, and when."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterable

from tiktok_oauth_session._keepalive import LOOK_UP_S
from tiktok_oauth_session.tokens import AccountKey


class Agenda:
    """Hands out accounts, one after the other; those that were put off when their time has come.

    Args:
        keys: The accounts.
        stop: Set when the run is to end.
    """

    def __init__(self, keys: Iterable[AccountKey], stop: threading.Event) -> None:
        self._numbers = itertools.count()
        self._waiting = [(0.0, next(self._numbers), key) for key in keys]
        self._stop, self._news = stop, threading.Condition()
        # Those that somebody is at may be put off.
        self._begun = 0

    def take(self) -> AccountKey | None:
        """Wait for the next account; None if there is none any more, or the run ends."""
        with self._news:
            while not self._stop.is_set() and (self._waiting or self._begun):
                left = self._waiting[0][0] - time.monotonic() if self._waiting else LOOK_UP_S
                if left <= 0:
                    self._begun += 1
                    return heapq.heappop(self._waiting)[2]
                self._news.wait(min(left, LOOK_UP_S))
        return None

    def put_off(self, key: AccountKey, seconds: float) -> None:
        """Hand an account out again, not before so many seconds have passed."""
        with self._news:
            heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._numbers), key))
            self._news.notify()

    def done(self) -> None:
        """Tell that somebody is no longer at an account that was taken."""
        with self._news:
            self._begun -= 1
            if not self._begun:
                self._news.notify_all()
