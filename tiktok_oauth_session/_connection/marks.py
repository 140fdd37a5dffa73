"""What is written beside a stored token about its refreshes, so that everybody who shares the store knows."""

from __future__ import annotations

import hashlib
import time
from typing import NamedTuple

from tiktok_oauth_session.tokens import (
    MARKS_OF,
    REFRESH_ERROR,
    REFRESH_MAY_LAST_S,
    REFRESH_PAUSE_S,
    REFRESH_PAUSED_AFTER,
    REFRESH_PAUSED_AT,
    REFRESH_STARTED_AT,
    REFRESH_STARTED_BY,
    REFRESH_TRIES,
    REFUSED_AT,
    REFUSED_PAUSE_S,
    TikTokToken,
)

#: Seconds that a request may be under way after its deadline: a paused machine, a clock that is a little off.
GRACE_S = 30.0
#: Seconds of the first pause; each that follows is twice as long.
PAUSE_S = 5.0
#: The same where nothing left the machine: asking costs nobody anything. And the least that any pause is.
UNSENT_PAUSE_S = 1.0
#: Seconds of a pause at most, whatever anybody says, and so from the end of an outage to an account's return.
PAUSE_CAP_S = 900.0
#: Seconds by which another machine's clock may be ahead.
SKEW_S = 120.0
#: Seconds after which a refused access token is news again, and not one more of the same.
REFUSAL_MEMORY_S = 3600.0
#: Characters of a digest that tell one refresh token from its successor.
DIGEST_LENGTH = 16


class Marks(NamedTuple):
    """The marks of a token. Those about another refresh token than the token's own count as none."""

    started_at: float | None = None
    started_by: str | None = None
    may_last_s: float | None = None
    tries: int = 0
    error: str | None = None
    paused_at: float = 0.0
    pause_s: float = 0.0
    paused_after: str | None = None
    refused_at: float = 0.0
    refused_pause_s: float = 0.0

    @classmethod
    def of(cls, token: TikTokToken) -> Marks:
        """Read a token's marks."""
        if token.get(MARKS_OF) != _digest(token):
            return cls()
        started_at = token.get(REFRESH_STARTED_AT)
        return cls(
            started_at=started_at,
            started_by=_text(token.get(REFRESH_STARTED_BY)),
            may_last_s=token.get(REFRESH_MAY_LAST_S),
            tries=0 if started_at is None else max(int(token.get(REFRESH_TRIES, 1)), 1),
            error=_text(token.get(REFRESH_ERROR)),
            paused_at=token.get(REFRESH_PAUSED_AT, 0.0),
            pause_s=token.get(REFRESH_PAUSE_S, 0.0),
            paused_after=_text(token.get(REFRESH_PAUSED_AFTER)),
            refused_at=token.get(REFUSED_AT, 0.0),
            refused_pause_s=token.get(REFUSED_PAUSE_S, 0.0),
        )

    def on(self, token: TikTokToken) -> TikTokToken:
        """Return a token with these marks and no others."""
        written = {
            REFRESH_STARTED_AT: self.started_at,
            REFRESH_STARTED_BY: self.started_by,
            REFRESH_MAY_LAST_S: self.may_last_s,
            REFRESH_TRIES: self.tries or None,
            REFRESH_ERROR: self.error,
            REFRESH_PAUSED_AT: self.paused_at or None,
            REFRESH_PAUSE_S: self.pause_s or None,
            REFRESH_PAUSED_AFTER: self.paused_after,
            REFUSED_AT: self.refused_at or None,
            REFUSED_PAUSE_S: self.refused_pause_s or None,
        }
        there = {name: value for name, value in written.items() if value is not None}
        return token.marked(**{MARKS_OF: _digest(token), **there}) if there else token.marked()

    # --- a request ---------------------------------------------------------------------------------

    def begun(self, holder: str, deadline_s: float) -> Marks:
        """Return the marks of a request that is about to be sent.

        Args:
            holder: The process that sends it.
            deadline_s: Seconds after which it is given up.
        """
        return self._replace(
            started_at=int(time.time()),
            started_by=holder,
            may_last_s=min(deadline_s, PAUSE_CAP_S) + GRACE_S,
            tries=self.tries + 1,
        )

    def ended(self) -> Marks:
        """Return the marks once the last request is over, and nobody knows what came of it."""
        return self._replace(may_last_s=None)

    def under_way_s(self) -> float:
        """Return for how many seconds a request of another process may still be under way."""
        return _left(self.started_at or 0.0, self.may_last_s or 0.0)

    def started_s_ago(self, at_most_s: float) -> float:
        """Return how many seconds are left of a time that counts from the last request."""
        return _left(self.started_at or 0.0, at_most_s)

    def replay_s(self) -> float:
        """Return for how many seconds a refresh token that was sent and sent again is not sent once more."""
        if self.tries < 2:  # noqa: PLR2004 - the first one and its replay
            return 0.0
        return _left(self.started_at or 0.0, min(PAUSE_S * 2.0 ** min(self.tries - 2, 32), PAUSE_CAP_S))

    # --- pauses ------------------------------------------------------------------------------------

    def paused(self, error: str | None, first_s: float = PAUSE_S, retry_after: float | None = None) -> Marks:
        """Return the marks of a refresh that is not worth another request for a while.

        Args:
            error: Why.
            first_s: Seconds of the first such pause.
            retry_after: Seconds that TikTok asks to wait, if it does.
        """
        seconds = max(2 * self.pause_s, first_s) if retry_after is None else max(retry_after, UNSENT_PAUSE_S)
        return self._replace(paused_at=time.time(), pause_s=min(seconds, PAUSE_CAP_S), paused_after=error)

    def paused_s(self) -> float:
        """Return for how many seconds nobody asks. A pause that is longer than any of ours counts as none."""
        return _left(self.paused_at, self.pause_s) if self.pause_s <= PAUSE_CAP_S else 0.0

    # --- access tokens that are refused ------------------------------------------------------------

    def refused_s(self) -> float:
        """Return for how many seconds another refusal of the access token leads to no refresh."""
        return _left(self.refused_at, self.refused_pause_s) if self.refused_pause_s <= PAUSE_CAP_S else 0.0

    def of_successor(self) -> Marks:
        """Return the marks of a token that a refused access token led to."""
        recently = time.time() - self.refused_at < REFUSAL_MEMORY_S
        pause = max(2 * self.refused_pause_s, PAUSE_S) if recently else PAUSE_S
        return Marks(refused_at=time.time(), refused_pause_s=min(pause, PAUSE_CAP_S))


def _left(since: float, seconds: float) -> float:
    """Return what is left of some seconds since a time; nothing if that is far in the future."""
    left = since + seconds - time.time()
    return min(left, seconds) if 0 < left <= seconds + SKEW_S else 0.0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _digest(token: TikTokToken) -> str:
    refresh_token = (token.refresh_token or "").encode("utf-8", "surrogatepass")
    return hashlib.sha256(refresh_token).hexdigest()[:DIGEST_LENGTH]
