"""Keeping many connections alive: refresh what is about to end, on any number of machines at once."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field
from typing import NamedTuple

from requests.adapters import BaseAdapter, HTTPAdapter

from tiktok_oauth_session._keepalive import LOOK_UP_S
from tiktok_oauth_session._keepalive.agenda import Agenda
from tiktok_oauth_session._keepalive.due import Due
from tiktok_oauth_session._keepalive.pace import PATIENCE_S, Pace
from tiktok_oauth_session._keepalive.refresher import Refresher
from tiktok_oauth_session._oauth.error_codes import Meaning, meaning_of
from tiktok_oauth_session._oauth.responses import retry_after_of
from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.errors import (
    ReauthorizationRequired,
    StoreError,
    TokenError,
    TokenNotSaved,
    reason_of,
)
from tiktok_oauth_session.events import OnEvent
from tiktok_oauth_session.platforms import LOGIN_KIT, Platform
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey, Freshness, TikTokToken

log: logging.Logger = logging.getLogger(__name__)

#: Seconds before its own end from which a refresh token is replaced: time for a month of failed runs.
REFRESH_WITHIN_S = 30 * 86_400.0
#: How many accounts are refreshed at the same time.
WORKERS = 4
#: Requests per second at most, over all workers. TikTok documents no limit for its OAuth endpoints.
RATE_PER_S = 10.0
#: Seconds from a refresh that got no answer, where nothing is left to lose, to the next.
REPLAY_AFTER_S = 5.0
#: Seconds between two attempts to save a token that TikTok issued and the store did not take.
SAVE_PAUSE_S = 5.0
#: How many such attempts.
SAVE_TRIES = 12


@dataclass
class Summary:
    """What became of the accounts that were due."""

    #: How many were due when the run began.
    due: int = 0
    refreshed: int = 0
    #: Nothing to do, since they were refreshed before or meanwhile, or somebody else was at it, or their
    #: owners logged out.
    left_to_others: int = 0
    #: Those of both whose refresh token, although it has been refreshed, ends within `refresh_within`:
    #: account -> when (Unix time, seconds). It is refreshed again when half of its time is over.
    not_prolonged: dict[AccountKey, float] = field(default_factory=dict)
    #: Only a new login helps (account -> why).
    dead: dict[AccountKey, str] = field(default_factory=dict)
    #: Worth another run (account -> why).
    failed: dict[AccountKey, str] = field(default_factory=dict)
    #: New tokens that the store did not take (account -> token). Nothing else holds them.
    unsaved: dict[AccountKey, TikTokToken] = field(default_factory=dict, repr=False)
    #: Why the run ended before its time, if it did.
    stopped: str = ""

    @property
    def done(self) -> int:
        """How many accounts this run is done with."""
        return self.refreshed + self.left_to_others + len(self.dead) + len(self.failed)


@without_variables
def keep_alive(
    store: TokenStore,
    *,
    client_key: str,
    client_secret: str,
    platform: Platform = LOGIN_KIT,
    access_within: float | None = None,
    refresh_within: float = REFRESH_WITHIN_S,
    workers: int = WORKERS,
    rate: float = RATE_PER_S,
    part: tuple[int, int] = (0, 1),
    stop: threading.Event | None = None,
    progress: Callable[[Summary], object] | None = None,
    adapter: BaseAdapter | None = None,
    on_event: OnEvent | None = None,
) -> Summary:
    """Refresh every account of an app whose tokens are about to end.

    A refresh token that is never used ends after months, and with it the connection; this is for the
    accounts that nobody calls for. Run it as often as you like and on as many machines as you like:
    the store shares the work out, and an account is refreshed once. A run that is cut short is
    continued by the next. Ctrl-C, too, ends it after the refreshes in flight, and is raised then.

    While TikTok is down, or busy, it is asked once in a while, less and less often; a run that has
    got no answer for five minutes ends. Accounts that got no answer are tried again in the same run, after
    the pause that their tokens need.

    A process makes use of one processor. For more of them run several, each with its own `part` of the
    accounts, as ``tiktok-oauth keep-alive --jobs`` does.

    Args:
        store: Where the tokens are.
        client_key: The app's client key; accounts of other apps in the store are left alone.
        client_secret: The app's secret.
        platform: Which of TikTok's OAuth surfaces.
        access_within: Seconds: also refresh access tokens that end within them. None leaves access
            tokens to whoever uses them, which refreshes far less.
        refresh_within: Seconds: refresh what has a refresh token that ends within them. Of this window and
            that of access tokens, half of a token's own lifetime counts where that is shorter.
        workers: How many accounts to refresh at the same time.
        rate: Requests per second at most.
        part: Which part of the accounts to look after, counted from 0, and how many parts there are. The
            others are other processes', and each has a rate of its own.
        stop: Set it to end the run after the refreshes in flight. The run itself sets it when it ends
            before its time.
        progress: Called after every account, from one thread at a time, until it fails.
        adapter: How to reach TikTok, as for `requests.Session.mount`.
        on_event: Called with a `tiktok_oauth_session.events.ConnectionEvent` for each refresh, by several
            threads at a time.

    Returns:
        What became of the accounts.

    Raises:
        StoreError: The store could not say which accounts are due.
        ValueError: There is no worker, no rate, or no such part.
    """
    if workers < 1 or rate <= 0 or not 0 <= part[0] < part[1]:
        raise ValueError(f"workers={workers!r}, rate={rate!r}, part={part!r}: nothing can be done by those.")
    adapter = adapter or HTTPAdapter(pool_maxsize=workers)
    run = _Run(store, Due(client_key, access_within, refresh_within, part), rate, stop or threading.Event())
    run.progress = progress
    refreshers = [
        Refresher(store, client_key, client_secret, platform, adapter, on_event) for _ in range(workers)
    ]
    return run(refreshers)


class _PutOff(NamedTuple):
    """An account that is tried again in the same run."""

    since: float
    why: str


class _Look:
    """Tells whether a token is due, and remembers the one that was asked about."""

    def __init__(self, is_due: Callable[[TikTokToken], bool]) -> None:
        self._is_due = is_due
        #: None where the account is gone, or somebody else is at it.
        self.seen: TikTokToken | None = None

    def __call__(self, token: TikTokToken) -> bool:
        self.seen = token
        return self._is_due(token)


class _Run:
    def __init__(self, store: TokenStore, due: Due, rate: float, stop: threading.Event) -> None:
        self._store, self._due, self._stop = store, due, stop
        self._pace = Pace(rate, stop)
        self._agenda = Agenda((), stop)
        self._put_off: dict[AccountKey, _PutOff] = {}
        self._guard, self._begin = threading.Lock(), threading.Event()
        self.summary = Summary()
        self.progress: Callable[[Summary], object] | None = None

    def __call__(self, refreshers: list[Refresher]) -> Summary:
        summary, keys = self.summary, self._due.keys(self._store)
        summary.due, self._agenda = len(keys), Agenda(keys, self._stop)
        try:
            self._work_with(refreshers)
        finally:
            self._save_the_unsaved(refreshers[0])
        if summary.done < summary.due and not summary.stopped and self._stop.is_set():
            summary.stopped = "told to stop"
        summary.failed.update({key: put_off.why for key, put_off in self._put_off.items()})
        if summary.done < summary.due and not summary.stopped:
            summary.stopped = "the workers ended early"
        return summary

    def _work_with(self, refreshers: list[Refresher]) -> None:
        # Not by `Thread.join`: before Python 3.13, once interrupted, it takes a running thread for ended.
        with futures.ThreadPoolExecutor(len(refreshers), "keep-alive") as pool:
            try:
                working = [pool.submit(self._work, refresher) for refresher in refreshers]
                # Not before: the pool waits only for threads whose start was not interrupted.
                self._begin.set()
                while futures.wait(working, timeout=LOOK_UP_S).not_done:
                    pass
            except BaseException:
                self._stop.set()
                log.warning("keep-alive: interrupted; the refreshes in flight end first")
                raise
            finally:
                self._begin.set()

    def _work(self, refresher: Refresher) -> None:
        self._begin.wait()
        while (key := self._agenda.take()) is not None:
            try:
                self._attend(key, refresher)
            finally:
                self._agenda.done()

    def _attend(self, key: AccountKey, refresher: Refresher) -> None:
        # Before the account is locked: whoever needs it now must not wait for our turn.
        turn = self._pace.turn()
        if turn is None:
            return
        look, error = _Look(self._due.includes), None
        try:
            token = refresher.refresh(key, look, turn)
        except Exception as failure:  # noqa: BLE001 - one account must not hold up the others
            token, error = None, failure
        finally:
            self._pace.end(turn, answered=not _is_passing(error), wait_s=_told_to_wait(error))
        with self._guard:
            if error is None:
                self._note(key, token, look.seen)
            else:
                self._note_error(key, error, look.seen)
            if self._pace.trouble:
                self._end(self._pace.trouble)
        self._tell_progress()

    def _end(self, why: str) -> None:
        self.summary.stopped = self.summary.stopped or why
        self._stop.set()

    # --- what became of an account -----------------------------------------------------------------

    def _note(self, key: AccountKey, token: TikTokToken | None, seen: TikTokToken | None) -> None:
        self._put_off.pop(key, None)
        self.summary.refreshed += token is not None
        self.summary.left_to_others += token is None
        newest = token or seen
        if newest is not None and self._due.is_not_prolonged(newest):
            self.summary.not_prolonged[key] = newest["refresh_expires_at"]

    def _note_error(self, key: AccountKey, error: Exception, seen: TikTokToken | None) -> None:
        summary = self.summary
        if self._is_put_off(key, error, seen):
            return
        self._put_off.pop(key, None)
        if isinstance(error, ReauthorizationRequired) and seen is None:
            # It is gone.
            summary.left_to_others += 1
        elif isinstance(error, ReauthorizationRequired) or _is_anothers(error, seen):
            summary.dead[key] = str(error)
        elif isinstance(error, (TokenError, StoreError)):
            summary.failed[key] = str(error)
            if isinstance(error, TokenNotSaved) and error.token is not None:
                summary.unsaved[key] = error.token
            if meaning_of(error.error, error.status_code) is Meaning.ABOUT_APP:
                # No other account of the same app would escape that.
                self._end(f"TikTok refuses the app itself: {error}")
        else:
            kind, where = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
            # Without the error's own words, which may hold a secret.
            log.error("keep-alive: %s: an unexpected %s:\n%s", plain(key.open_id), kind, where)
            summary.failed[key] = f"an unexpected {kind}; the log says where"

    def _is_put_off(self, key: AccountKey, error: Exception, seen: TikTokToken | None) -> bool:
        """Put an account off that a later try in this run may save; tell whether it is."""
        if not (isinstance(error, TokenError) and _is_passing(error)):
            return False
        seconds = error.retry_after
        if seconds is None and seen is not None and seen.freshness() is Freshness.EXPIRED:
            seconds = REPLAY_AFTER_S
        now = time.monotonic()
        since = self._put_off[key].since if key in self._put_off else now
        if seconds is None or now + seconds - since > PATIENCE_S:
            return False
        self._put_off[key] = _PutOff(since, str(error))
        self._agenda.put_off(key, seconds)
        return True

    def _tell_progress(self) -> None:
        with self._guard:
            log.debug("keep-alive: %d of %d accounts", self.summary.done, self.summary.due)
            if self.progress is None:
                return
            try:
                self.progress(self.summary)
            except Exception as error:  # noqa: BLE001 - the work goes on, whoever watches
                self.progress = None
                log.warning("keep-alive: no more is told of the progress: %s", reason_of(error))

    def _save_the_unsaved(self, refresher: Refresher) -> None:
        """Go on trying to save what only this process holds: when it ends, those accounts are lost."""
        for attempt in range(SAVE_TRIES):
            for key, token in list(self.summary.unsaved.items()):
                self._save(key, token, refresher)
            if not self.summary.unsaved or attempt == SAVE_TRIES - 1:
                return
            time.sleep(SAVE_PAUSE_S)

    def _save(self, key: AccountKey, token: TikTokToken, refresher: Refresher) -> None:
        # Asked only with the lock held, and after what was unsaved has been saved.
        summary, look = self.summary, _Look(lambda current: not current.refresh_token)
        try:
            refresher.refresh(key, look)
        except ReauthorizationRequired as error:
            if look.seen is None:
                summary.left_to_others += 1
            else:
                summary.dead[key] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next attempt may succeed
            name = plain(key.open_id)
            log.warning("keep-alive: the token of %s is still not saved: %s", name, reason_of(error))
            return
        else:
            if look.seen is None:
                name = plain(key.open_id)
                log.warning("keep-alive: the token of %s is still not saved: it is locked", name)
                return
            is_ours = look.seen.access_token == token.access_token
            summary.refreshed += is_ours
            summary.left_to_others += not is_ours
        del summary.unsaved[key], summary.failed[key]


def _is_anothers(error: Exception, seen: TikTokToken | None) -> bool:
    """Tell whether TikTok gave another user's token, which cannot be saved in the account's place."""
    new = error.token if isinstance(error, TokenNotSaved) else None
    if not (new and seen and new.open_id and seen.open_id):
        return False
    return new.open_id != seen.open_id


def _is_passing(error: Exception | None) -> bool:
    """Tell whether TikTok is, or was, down or busy."""
    if not isinstance(error, TokenError):
        return False
    return meaning_of(error.error, error.status_code) in (Meaning.PASSING, Meaning.UNCLEAR)


def _told_to_wait(error: Exception | None) -> float:
    """Return for how many seconds TikTok asks not to be asked."""
    response = error.response if isinstance(error, TokenError) else None
    return (retry_after_of(response) if response is not None else None) or 0.0
