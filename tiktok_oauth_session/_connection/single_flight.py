"""One refresh for all callers of a process: who runs it, who waits for it, and what comes of it."""

from __future__ import annotations

import contextlib
import copy
import queue
import threading
import time
from collections.abc import Callable, Iterator

from tiktok_oauth_session.errors import StoreError, TikTokOAuthError, TokenNotSaved
from tiktok_oauth_session.tokens import TikTokToken

#: Seconds from one look at whether a flight still has an owner to the next.
LOOK_S = 1.0
#: Seconds in which a thread that was started has begun, however busy the machine is.
BEGINS_WITHIN_S = 10.0
#: Seconds that an interruption of a caller waits for a token that is being spent.
HOLD_BACK_S = 10.0
#: Seconds between two tries to save at least, however many callers hurry.
SHORTEST_REST_S = 0.05
#: Seconds from the first save that failed until callers are told.
SAVE_PATIENCE_S = 5.0


class Flight:
    """A refresh under way in this process. One thread runs it; any number of others wait.

    They wait on queues of their own, which are C through and through: an interruption (a signal handler
    that raises, a greenlet's timeout) can leave none of them half-locked, as it can a Condition.

    Args:
        is_advisory: Whether it gives way to whoever holds the lock, so that its failure binds nobody.
    """

    def __init__(self, *, is_advisory: bool) -> None:
        self.is_advisory = is_advisory
        #: What came of it, once it is over. Neither: there was nothing to do.
        self.token: TikTokToken | None = None
        self.error: BaseException | None = None
        self.is_over = False
        #: From the mark until the save: what an interruption must not cut its caller off from.
        self.is_spending = False
        #: Why the new token could not be saved so far, and how often that was tried.
        self.save_error: TokenNotSaved | None = None
        self.saves = 0
        #: Whether whoever began it is gone, and whether the updater failed before.
        self.leader_is_gone = False
        self.tell_error: TokenNotSaved | None = None
        #: Whether nobody wants it to go on.
        self.is_given_up = False
        self._save_failed_at = 0.0
        self._guard = threading.RLock()
        self._made_at, self._has_begun, self._is_abandoned = time.monotonic(), False, False
        self._news: list[queue.SimpleQueue[None]] = []
        self._hurry: queue.SimpleQueue[None] = queue.SimpleQueue()

    # --- by the thread that runs it ----------------------------------------------------------------

    def begin(self) -> bool:
        """Tell whether it is still wanted; from here on nobody else begins one instead."""
        with self._guard:
            self._has_begun = not self._is_abandoned
        return self._has_begun

    def spend(self) -> None:
        """From here on the refresh token is marked, and soon spent."""
        self.is_spending = True
        self.tell()

    def spared(self) -> None:
        """Nothing is being spent (any more)."""
        self.is_spending = False
        self.tell()

    def fail_to_save(self, error: TokenNotSaved) -> None:
        """Tell that the new token is not safe yet."""
        self._save_failed_at = self._save_failed_at or time.monotonic()
        self.save_error = error
        self.saves += 1
        self.tell()

    def rest(self, seconds: float) -> None:
        """Wait before the next try to save, less if somebody comes who needs it."""
        shortest = time.monotonic() + SHORTEST_REST_S
        with contextlib.suppress(queue.Empty):
            self._hurry.get(timeout=seconds)
            # However many came.
            while True:
                self._hurry.get(timeout=max(shortest - time.monotonic(), 0.001))

    def end(
        self, token: TikTokToken | None = None, error: BaseException | None = None, *, is_safe: bool = True
    ) -> None:
        """Tell what came of it.

        Args:
            token: The token.
            error: Why there is none.
            is_safe: Whether nobody has to take it any more.
        """
        self.token, self.error = token, error
        self.is_spending = not is_safe
        self.is_over = True
        self.tell()

    def tell(self) -> None:
        """Let all who wait look again."""
        for news in list(self._news):
            news.put(None)

    @property
    def is_unwanted(self) -> bool:
        """Whether whoever began it has gone, and nobody else waits for it."""
        return self.leader_is_gone and not self._news

    # --- by those who wait -------------------------------------------------------------------------

    def abandon(self) -> bool:
        """Call it off, if it has not begun; tell whether it is."""
        with self._guard:
            self._is_abandoned = not self._has_begun
        return self._is_abandoned

    @property
    def is_lost(self) -> bool:
        """Whether its thread has not begun in time: whoever began it was interrupted before there was one."""
        return not self._has_begun and time.monotonic() > self._made_at + BEGINS_WITHIN_S

    def wait(self, until: float, enough: Callable[[], bool]) -> bool:
        """Wait until something is so; tell whether it is.

        Args:
            until: How long at most (`time.monotonic`).
            enough: What is waited for.
        """
        with self._listening() as news:
            while not enough():
                left = until - time.monotonic()
                if left <= 0 or self.is_lost:
                    return False
                with contextlib.suppress(queue.Empty):
                    news.get(timeout=min(left, LOOK_S))
        return True

    @contextlib.contextmanager
    def _listening(self) -> Iterator[queue.SimpleQueue[None]]:
        news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._news.append(news)
        try:
            yield news
        finally:
            self._news.remove(news)

    def wait_for_result(self, until: float) -> bool:
        """Wait until it is over, or has failed to save for so long that its callers are told.

        Args:
            until: How long at most (`time.monotonic`).
        """
        before = self.saves
        if self.save_error is not None:
            self._hurry.put(None)

        def enough() -> bool:
            return self.is_over or (
                self.save_error is not None
                and self.saves > before
                and time.monotonic() >= self._save_failed_at + SAVE_PATIENCE_S
            )

        return self.wait(until, enough)

    def leave(self) -> None:
        """Tell that whoever began it waits no more, nor tells any updater."""
        self.leader_is_gone = True
        self.tell()

    def give_up(self) -> None:
        """Let it end without its result, and not try for longer to save."""
        self.is_given_up = True
        self._hurry.put(None)

    def hold_back(self) -> None:
        """Keep an interrupted caller until the token is safe, for some seconds at most."""
        self.wait(time.monotonic() + HOLD_BACK_S, lambda: not self.is_spending)


def copy_of(error: BaseException) -> BaseException:
    """Return an error for one more caller, without the traceback that leads to somebody else.

    It has a reason of its own: the original's traceback would keep sessions and stores alive.
    """
    if not isinstance(error, TikTokOAuthError):
        return error
    try:
        twin = copy.copy(error)
    except TypeError:
        # A store's own error, which takes other arguments than ours.
        return StoreError(str(error))
    twin.response = error.response
    twin.__cause__ = error.__cause__
    return twin
