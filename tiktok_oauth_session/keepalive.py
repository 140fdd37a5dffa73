"""Keeping many connections alive: refresh what is about to end, on any number of machines at once."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from requests.adapters import BaseAdapter, HTTPAdapter

from tiktok_oauth_session.errors import ReauthorizationRequired, StoreError, TokenError, TokenNotSaved
from tiktok_oauth_session.platforms import LOGIN_KIT, Platform
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

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

#: Refusals that no other account of the same app would escape.
_APP_REFUSED = ("invalid_client", "unauthorized_client")


@dataclass
class Summary:
    """What became of the accounts that were due."""

    #: How many were due when the run began.
    due: int = 0
    refreshed: int = 0
    #: Somebody else refreshed them meanwhile, or was at it.
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
    continued by the next.

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
        stop: Set it to end the run after the refreshes in flight.
        progress: Called after every account, from one thread at a time.
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

    def __call__(self, workers: int) -> Summary:
        keys = list(dict.fromkeys(self._due()))
        self.summary.due = len(keys)
        waiting: queue.SimpleQueue[AccountKey] = queue.SimpleQueue()
        for key in keys:
            waiting.put(key)
        threads = [
            threading.Thread(target=self._work, args=(waiting,), name=f"keep-alive-{n}")
            for n in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._save_the_unsaved()
        if self.stop.is_set() and not self.summary.stopped and self.summary.done < self.summary.due:
            self.summary.stopped = "told to stop"
        return self.summary

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
        while not self.stop.is_set():
            try:
                key = waiting.get_nowait()
            except queue.Empty:
                return
            self.slots.wait()
            if self.stop.is_set():
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
            token = self._session(key).refresh_ahead(self._is_due)
        except TokenNotSaved as error:
            with self._guard:
                summary.failed[key] = str(error)
                if error.token is not None:
                    summary.unsaved[key] = error.token
        except ReauthorizationRequired as error:
            with self._guard:
                summary.dead[key] = str(error)
        except (TokenError, StoreError) as error:
            with self._guard:
                summary.failed[key] = str(error)
                if error.error in _APP_REFUSED:
                    summary.stopped = f"TikTok refuses the app itself: {error}"
                    self.stop.set()
        else:
            with self._guard:
                summary.refreshed += token is not None
                summary.left_to_others += token is None
        with self._guard:
            log.debug("keep-alive: %d of %d accounts", summary.done, summary.due)
            if self.progress is not None:
                self.progress(summary)

    def _save_the_unsaved(self) -> None:
        """Go on trying to save what only this process holds: when it ends, those accounts are lost."""
        for attempt in range(SAVE_TRIES):
            for key in list(self.summary.unsaved):
                try:
                    self._session(key).refresh_ahead(lambda _: False)
                except StoreError as error:
                    log.warning("keep-alive: the token of %s is still not saved: %s", key.open_id, error)
                except ReauthorizationRequired as error:
                    self.summary.dead[key] = str(error)
                    self._settle(key)
                else:
                    self.summary.refreshed += 1
                    self._settle(key)
            if not self.summary.unsaved or attempt == SAVE_TRIES - 1:
                return
            time.sleep(SAVE_PAUSE_S)

    def _settle(self, key: AccountKey) -> None:
        del self.summary.unsaved[key]
        del self.summary.failed[key]
