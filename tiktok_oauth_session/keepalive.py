"""Keeping many connections alive: refresh what is about to end, on any number of machines at once."""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field

from requests.adapters import BaseAdapter, HTTPAdapter

from tiktok_oauth_session._oauth.error_codes import Meaning, meaning_of
from tiktok_oauth_session.errors import (
    ReauthorizationRequired,
    StoreError,
    TokenError,
    TokenNotSaved,
    reason_of,
)
from tiktok_oauth_session.platforms import LOGIN_KIT, Platform
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import REFRESH_ERROR, AccountKey, TikTokToken

log = logging.getLogger(__name__)

#: Seconds before its own end from which a refresh token is replaced: time for a month of failed runs.
REFRESH_WITHIN_S = 30 * 86_400.0
#: How many accounts are refreshed at the same time.
WORKERS = 4
#: Refreshes per second at most, over all workers. TikTok documents no limit for its OAuth endpoints.
RATE_PER_S = 10.0
#: Seconds between two attempts to save a token that TikTok issued and the store did not take.
SAVE_PAUSE_S = 5.0
#: How many such attempts.
SAVE_TRIES = 12
#: Seconds of waiting in one go: a Ctrl-C just before a wait, or on Windows during it, is seen after it.
LOOK_UP_S = 0.5


@dataclass
class Summary:
    """What became of the accounts that were due."""

    #: How many were due when the run began.
    due: int = 0
    refreshed: int = 0
    #: Somebody else refreshed them meanwhile, or was at it, or their owners logged out.
    left_to_others: int = 0
    #: Only a new login helps: account -> why.
    dead: dict[AccountKey, str] = field(default_factory=dict)
    #: Worth another run: account -> why.
    failed: dict[AccountKey, str] = field(default_factory=dict)
    #: New tokens that the store did not take: account -> token. Nothing else holds them.
    unsaved: dict[AccountKey, TikTokToken] = field(default_factory=dict, repr=False)
    #: Why the run ended before its time, if it did.
    stopped: str = ""

    @property
    def done(self) -> int:
        """How many accounts have been looked at."""
        return self.refreshed + self.left_to_others + len(self.dead) + len(self.failed)


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
    stop: threading.Event | None = None,
    progress: Callable[[Summary], object] | None = None,
    adapter: BaseAdapter | None = None,
) -> Summary:
    """Refresh every account of an app whose tokens are about to end.

    A refresh token that is never used ends after months, and with it the connection; this is for the
    accounts that nobody calls for. Run it as often as you like and on as many machines as you like:
    the store shares the work out, and an account is refreshed once. A run that is cut short is
    continued by the next. Ctrl-C, too, ends it after the refreshes in flight, and is raised then.

    Args:
        store: Where the tokens are.
        client_key: The app's client key; accounts of other apps in the store are left alone.
        client_secret: The app's secret.
        platform: Which of TikTok's OAuth surfaces.
        access_within: Seconds: also refresh access tokens that end within them. None leaves access
            tokens to whoever uses them, which refreshes far less.
        refresh_within: Seconds: refresh what has a refresh token that ends within them.
        workers: How many accounts to refresh at the same time.
        rate: Refreshes per second at most.
        stop: Set it to end the run after the refreshes in flight. The run itself sets it when it ends
            before its time.
        progress: Called after every account, from one thread at a time, until it fails.
        adapter: How to reach TikTok, as for `requests.Session.mount`.

    Returns:
        What became of the accounts.

    Raises:
        StoreError: The store could not say which accounts are due.
    """
    run = _Run(store, client_key, client_secret, platform, stop or threading.Event())
    run.access_within, run.refresh_within, run.progress = access_within, refresh_within, progress
    run.adapter = adapter or HTTPAdapter(pool_maxsize=workers)
    run.slots = _Slots(rate, run.stop)
    return run(workers)


class _Slots:
    """Lets so many pass in a second."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._interval_s, self._stop = 1.0 / rate, stop
        self._next, self._guard = time.monotonic(), threading.Lock()

    def wait(self) -> None:
        with self._guard:
            now = time.monotonic()
            mine = max(self._next, now)
            self._next = mine + self._interval_s
        self._stop.wait(mine - now)


@dataclass
class _Run:
    store: TokenStore
    client_key: str
    client_secret: str
    platform: Platform
    stop: threading.Event
    access_within: float | None = None
    refresh_within: float = REFRESH_WITHIN_S
    progress: Callable[[Summary], object] | None = None
    adapter: BaseAdapter = field(default_factory=HTTPAdapter)
    slots: _Slots = field(init=False)
    summary: Summary = field(default_factory=Summary)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _begin: threading.Event = field(default_factory=threading.Event)

    def __call__(self, workers: int) -> Summary:
        keys = list(dict.fromkeys(self._due()))
        self.summary.due = len(keys)
        waiting: queue.SimpleQueue[AccountKey] = queue.SimpleQueue()
        for key in keys:
            waiting.put(key)
        try:
            self._work_with(workers, waiting)
        finally:
            self._save_the_unsaved()
        if self.summary.done < self.summary.due and not self.summary.stopped:
            self.summary.stopped = "told to stop" if self.stop.is_set() else "the workers ended early"
        return self.summary

    def _work_with(self, workers: int, waiting: queue.SimpleQueue[AccountKey]) -> None:
        # Not by `Thread.join`: before Python 3.13, once interrupted, it takes a running thread for ended.
        with futures.ThreadPoolExecutor(workers, "keep-alive") as pool:
            try:
                working = [pool.submit(self._work, waiting) for _ in range(workers)]
                # Not before: the pool waits only for threads whose start was not interrupted.
                self._begin.set()
                while futures.wait(working, timeout=LOOK_UP_S).not_done:
                    pass
            except BaseException:
                self.stop.set()
                log.warning("keep-alive: interrupted; the refreshes in flight end first")
                raise
            finally:
                self._begin.set()

    def _due(self) -> Iterator[AccountKey]:
        now = time.time()
        for key in self.store.refresh_expiring(now + self.refresh_within):
            if key.client_key == self.client_key:
                yield key
        if self.access_within is not None:
            for key in self.store.expiring(now + self.access_within):
                if key.client_key == self.client_key:
                    yield key

    def _is_due(self, token: TikTokToken) -> bool:
        now = time.time()
        if token.get("refresh_expires_at", float("inf")) < now + self.refresh_within:
            return True
        return self.access_within is not None and (token.expires_at or 0.0) < now + self.access_within

    def _work(self, waiting: queue.SimpleQueue[AccountKey]) -> None:
        self._begin.wait()
        while not self.stop.is_set():
            try:
                key = waiting.get_nowait()
            except queue.Empty:
                return
            self._refresh(key)

    def _session(self, key: AccountKey) -> TikTokOAuth2Session:
        session = TikTokOAuth2Session(
            self.client_key,
            client_secret=self.client_secret,
            store=self.store,
            open_id=key.open_id,
            platform=self.platform,
        )
        # One pool of connections for all: most of the work would be handshakes otherwise.
        session.mount("https://", self.adapter)
        session.mount("http://", self.adapter)
        return session

    def _refresh(self, key: AccountKey) -> None:
        summary = self.summary
        try:
            session = self._session(key)
            if self._will_ask(session.token):
                # Before the account is locked: whoever needs it now must not wait for our turn.
                self.slots.wait()
                if self.stop.is_set():
                    return
            token = session.refresh_ahead(self._is_due)
        except ReauthorizationRequired as error:
            with self._guard:
                summary.dead[key] = str(error)
        except (TokenError, StoreError) as error:
            with self._guard:
                summary.failed[key] = str(error)
                if isinstance(error, TokenNotSaved) and error.token is not None:
                    summary.unsaved[key] = error.token
                if meaning_of(error.error, error.status_code) is Meaning.ABOUT_APP:
                    # No other account of the same app would escape that.
                    summary.stopped = f"TikTok refuses the app itself: {error}"
                    self.stop.set()
        except Exception as error:  # noqa: BLE001 - one account must not hold up the others
            kind, where = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
            # Without the error's own words, which may hold a secret.
            log.error("keep-alive: %s: an unexpected %s:\n%s", key.open_id, kind, where)  # noqa: TRY400 - see above
            with self._guard:
                summary.failed[key] = f"an unexpected {kind}; the log says where"
        else:
            with self._guard:
                summary.refreshed += token is not None
                summary.left_to_others += token is None
        self._tell_progress()

    def _will_ask(self, token: TikTokToken) -> bool:
        """Tell whether TikTok will be asked for another token, as far as can be seen without the lock."""
        return bool(token.refresh_token) and REFRESH_ERROR not in token and self._is_due(token)

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

    def _save_the_unsaved(self) -> None:
        """Go on trying to save what only this process holds: when it ends, those accounts are lost."""
        for attempt in range(SAVE_TRIES):
            for key, token in list(self.summary.unsaved.items()):
                self._save(key, token)
            if not self.summary.unsaved or attempt == SAVE_TRIES - 1:
                return
            time.sleep(SAVE_PAUSE_S)

    def _save(self, key: AccountKey, token: TikTokToken) -> None:
        summary, stored = self.summary, list[TikTokToken]()

        def look(current: TikTokToken) -> bool:
            # Asked only with the lock held, and after what was unsaved has been saved.
            stored.append(current)
            return False

        try:
            session = self._session(key)
            logged_out = not session.token
            session.refresh_ahead(look)
        except ReauthorizationRequired as error:
            summary.dead[key] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next attempt may succeed
            log.warning("keep-alive: the token of %s is still not saved: %s", key.open_id, reason_of(error))
            return
        else:
            if not stored and not logged_out:
                log.warning("keep-alive: the token of %s is still not saved: it is locked", key.open_id)
                return
            ours = [each for each in stored if each.access_token == token.access_token]
            summary.refreshed += bool(ours)
            summary.left_to_others += not ours
        del summary.unsaved[key], summary.failed[key]
