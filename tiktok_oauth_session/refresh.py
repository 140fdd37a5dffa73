"""The refresh engine: one refresh per expiry, whoever asks.

TikTok spends the refresh token at every refresh, so a refresh is a transaction::

    lock      everybody who shares the store waits, or goes on with the token that still works
    re-read   somebody may have refreshed meanwhile: theirs is used
    re-check  is it still due, and is it worth asking?
    mark      write down that a refresh begins; a store that cannot be written is found out here,
              while nothing is spent
    request   one request to TikTok
    save      only if the store still holds the token that was spent
    publish   and only now is the new token used
    unlock

A mark that is still there when the next caller has the lock means that nobody learnt how that
refresh ended: the process died, or the reply was lost.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import copy
import hashlib
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from tiktok_oauth_session.errors import (
    ReauthorizationRequired,
    StoreConflict,
    StoreError,
    TokenError,
    TokenExpired,
    TokenNotSaved,
)
from tiktok_oauth_session.exchange import (
    REFRESH_AT_LAST,
    REFRESH_IN_TIME,
    REFRESH_WAITED_FOR,
    NoReply,
    Retry,
)
from tiktok_oauth_session.forks import after_fork_in_child
from tiktok_oauth_session.replies import reauthorization_required
from tiktok_oauth_session.stores import KeyLock, TokenStore, lock_timeout
from tiktok_oauth_session.tokens import (
    REFRESH_ERROR,
    REFRESH_STARTED_AT,
    AccountKey,
    Freshness,
    TikTokToken,
)

log = logging.getLogger(__name__)

#: Seconds without another attempt after a refresh failed whose old token still works; less when it
#: has less than twice that to live.
PAUSE_S = 60.0
#: How many connections a process remembers beside what stores remember.
REMEMBERED_CONNECTIONS = 10_000

Updater = Callable[[TikTokToken], object]
#: Sends one refresh token to TikTok and returns what came for it.
Ask = Callable[[TikTokToken, Retry], TikTokToken]

#: Replies that leave open whether the refresh was carried out.
_UNCLEAR = ("invalid_response", "missing_token", "server_error")
_BUSY = (429, 503)


class Flight:
    """What a process knows of one connection's refreshes, for all of its sessions."""

    def __init__(self) -> None:
        self.lock = KeyLock()
        #: The newest token, where no store holds it.
        self.token: TikTokToken | None = None
        #: A new token that could not be saved, and the refresh token it came for.
        self.unsaved: tuple[TikTokToken, str] | None = None
        self._paused_until = 0.0
        self._failure: tuple[float, TokenError | StoreError] | None = None

    def pause(self, token: TikTokToken) -> None:
        """Let the working token be used for a while without another attempt."""
        left = max((token.expires_at or 0.0) - time.time(), 0.0)
        self._paused_until = time.monotonic() + min(PAUSE_S, left / 2)

    @property
    def paused(self) -> bool:
        """Whether an attempt failed a moment ago."""
        return time.monotonic() < self._paused_until

    def fail(self, error: TokenError | StoreError) -> None:
        """Remember a failure for those who are waiting for the same refresh."""
        self._failure = (time.monotonic(), error)

    def failure_since(self, moment: float) -> TokenError | StoreError | None:
        """Return the failure that came while somebody waited from `moment` on."""
        if self._failure is None or self._failure[0] < moment:
            return None
        twin = copy.copy(self._failure[1])
        twin.response = self._failure[1].response
        return twin


class _Flights:
    """The flights of this process: per store and account, or per refresh token without a store."""

    def __init__(self) -> None:
        self._forget()
        after_fork_in_child(self, _Flights._forget)

    def _forget(self) -> None:
        self._guard = threading.Lock()
        self._by_store: weakref.WeakKeyDictionary[TokenStore, collections.OrderedDict[AccountKey, Flight]] = (
            weakref.WeakKeyDictionary()
        )
        self._storeless: collections.OrderedDict[AccountKey, Flight] = collections.OrderedDict()

    def of(self, store: TokenStore | None, key: AccountKey) -> Flight:
        """Return the flight of a connection, the same one to everybody."""
        with self._guard:
            if store is None:
                return self._remember(self._storeless, key, self._storeless.get(key) or Flight())
            known = self._by_store.setdefault(store, collections.OrderedDict())
            return self._remember(known, key, known.get(key) or Flight())

    def forget(self, store: TokenStore, key: AccountKey) -> None:
        """Drop what is known of a connection."""
        with self._guard:
            self._by_store.get(store, collections.OrderedDict()).pop(key, None)

    def also_known_as(self, key: AccountKey, flight: Flight) -> None:
        """Let a storeless connection be found by its next refresh token, too."""
        with self._guard:
            self._remember(self._storeless, key, flight)

    @staticmethod
    def _remember(
        known: collections.OrderedDict[AccountKey, Flight], key: AccountKey, flight: Flight
    ) -> Flight:
        known[key] = flight
        known.move_to_end(key)
        while len(known) > REMEMBERED_CONNECTIONS:
            oldest, forgotten = known.popitem(last=False)
            if forgotten.unsaved is not None:
                # The only copy of a token is never dropped.
                known[oldest] = forgotten
                break
        return flight


_flights = _Flights()


class Home(abc.ABC):
    """Where a connection's token lives, and what excludes its other users."""

    flight: Flight

    @abc.abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Exclude everybody else."""

    @abc.abstractmethod
    def try_lock(self) -> AbstractContextManager[bool]:
        """Exclude everybody else unless somebody is in already."""

    @abc.abstractmethod
    def read(self, mine: TikTokToken) -> TikTokToken | None:
        """Return the newest token; None if the account was deleted."""

    @abc.abstractmethod
    def mark(self, token: TikTokToken) -> None:
        """Write the same token with another mark."""

    @abc.abstractmethod
    def keep(self, token: TikTokToken, replacing: str) -> None:
        """Hand a new token over. Once this returns, it is safe."""


class StoreHome(Home):
    """A token in a store."""

    def __init__(self, store: TokenStore, key: AccountKey, updater: Updater | None) -> None:
        self._store, self._key, self._updater = store, key, updater
        self.flight = _flights.of(store, key)

    def lock(self) -> AbstractContextManager[None]:
        """Exclude everybody who shares the store."""
        return self._store.lock(self._key)

    def try_lock(self) -> AbstractContextManager[bool]:
        """Exclude everybody who shares the store unless somebody is in already."""
        return self._store.try_lock(self._key)

    def read(self, mine: TikTokToken) -> TikTokToken | None:
        """Return what the store holds."""
        return self._store.load(self._key)

    def mark(self, token: TikTokToken) -> None:
        """Write the mark, if the store still holds this token."""
        self._store.save(self._key, token, replacing=token.refresh_token)

    def keep(self, token: TikTokToken, replacing: str) -> None:
        """Save a new token in the spent one's place, then tell the updater."""
        self._store.save(self._key, token, replacing=replacing)
        if self._updater is not None:
            self._updater(TikTokToken(token))


class ProcessHome(Home):
    """A token that sessions of this process hold, and perhaps an updater keeps.

    Found by its refresh token: whoever comes with one that was spent here gets its successor.
    """

    def __init__(self, client_key: str, token: TikTokToken, updater: Updater | None) -> None:
        self._client_key, self._updater = client_key, updater
        self.flight = _flights.of(None, self._name(token))

    def _name(self, token: TikTokToken) -> AccountKey:
        digest = hashlib.sha256((token.refresh_token or "").encode("utf-8", "surrogatepass"))
        return AccountKey(self._client_key, digest.hexdigest())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude the process's other threads."""
        with self.flight.lock.held() as held:
            if not held:
                raise lock_timeout(AccountKey(self._client_key, "(no store)"))
            yield

    def try_lock(self) -> AbstractContextManager[bool]:
        """Exclude the process's other threads unless one of them is in already."""
        return self.flight.lock.held(timeout=0)

    def read(self, mine: TikTokToken) -> TikTokToken | None:
        """Return what the last refresh in this process brought, or else the caller's own."""
        return self.flight.token or mine

    def mark(self, token: TikTokToken) -> None:
        """Let the process's other sessions see the mark."""
        self.flight.token = token

    def keep(self, token: TikTokToken, replacing: str) -> None:
        """Tell the updater, then let the process's other sessions find the new token."""
        if self._updater is not None:
            self._updater(TikTokToken(token))
        self.flight.token = token
        _flights.also_known_as(self._name(token), self.flight)


class RefreshEngine:
    """Keeps one connection's token fresh.

    Args:
        home: Where the token lives.
        ask: Sends one refresh token to TikTok.
    """

    def __init__(self, home: Home, ask: Ask) -> None:
        self._home = home
        self._ask = ask

    def fresh(self, mine: TikTokToken) -> TikTokToken:
        """Return the token to use now.

        In the advisory window one caller refreshes and nobody waits; in the mandatory window and
        after expiry everybody waits for the one refresh. While the old token works, a failure is
        a log line.

        Args:
            mine: The token as the caller last saw it.

        Raises:
            ReauthorizationRequired: Only a new login helps.
            TokenError: It has expired and could not be refreshed.
            TokenNotSaved: It was refreshed and could not be saved.
            StoreError: It has expired and the store failed.
        """
        freshness = mine.freshness()
        if freshness is Freshness.FRESH:
            return mine
        if freshness is not Freshness.EXPIRED and self._home.flight.paused:
            return mine
        try:
            if freshness is Freshness.ADVISORY:
                with self._home.try_lock() as held:
                    return self._newer(mine, Freshness.FRESH, REFRESH_IN_TIME) if held else mine
            return self.renew(mine, force=False)
        except TokenNotSaved:
            raise
        except (TokenError, StoreError) as error:
            if mine.freshness() is Freshness.EXPIRED:
                raise
            log.warning("the token could not be refreshed and still works: %s", error)
            self._home.flight.pause(mine)
            return mine

    def renew(self, mine: TikTokToken, *, force: bool) -> TikTokToken:
        """Return another token than `mine`: somebody else's newer one, or one that is asked for now.

        Args:
            mine: The token that will not do.
            force: Whether it will not do although its time is not up.

        Raises:
            TokenError: As for `fresh`.
            StoreError: As for `fresh`.
        """
        arrived = time.monotonic()
        flight = self._home.flight
        with self._home.lock():
            if error := flight.failure_since(arrived):
                raise error
            try:
                return self._newer(mine, Freshness.ADVISORY, REFRESH_WAITED_FOR, force=force)
            except (TokenError, StoreError) as error:
                flight.fail(error)
                raise

    def ahead(self, mine: TikTokToken, is_due: Callable[[TikTokToken], bool]) -> TikTokToken | None:
        """Refresh ahead of time, unless somebody else is at it or has done it.

        Args:
            mine: The token as the caller last saw it.
            is_due: Tells whether a token is to be refreshed, asked with the lock held.

        Returns:
            The new token; None if there was nothing to do.

        Raises:
            TokenError: As for `fresh`.
            StoreError: As for `fresh`.
        """
        with self._home.try_lock() as held:
            if not held:
                return None
            current = self._current(mine)
            return self._refreshed(current, REFRESH_WAITED_FOR, force=False) if is_due(current) else None

    def end(self, mine: TikTokToken, revoke: Callable[[TikTokToken], None]) -> None:
        """Revoke, while nobody can refresh. A token that has expired is refreshed first.

        Raises:
            TokenError: It has expired and could not be refreshed.
            StoreError: As for `fresh`.
        """
        with self._home.lock():
            current = self._current(mine)
            if current.freshness() is Freshness.EXPIRED:
                current = self._refreshed(current, REFRESH_WAITED_FOR, force=False)
            revoke(current)

    # Everything below runs while the lock is held.

    def _newer(
        self, mine: TikTokToken, good_enough: Freshness, retry: Retry, *, force: bool = False
    ) -> TikTokToken:
        current = self._current(mine)
        theirs = current.access_token != mine.access_token
        if (theirs or not force) and current.freshness() <= good_enough:
            return current
        return self._refreshed(current, retry, force=force and not theirs)

    def _current(self, mine: TikTokToken) -> TikTokToken:
        """Read the newest token again, saving one first that could not be saved before."""
        flight = self._home.flight
        current = self._home.read(mine)
        if flight.unsaved is not None:
            token, replacing = flight.unsaved
            if current is not None and current.refresh_token == replacing:
                return self._saved(token, replacing)
            flight.unsaved = None
        if current is None:
            raise ReauthorizationRequired(
                "This account is no longer in the store: it was logged out or revoked. The user has to log "
                "in again."
            )
        return current

    def _refreshed(self, current: TikTokToken, retry: Retry, *, force: bool) -> TikTokToken:
        spent = current.refresh_token
        if spent is None:
            raise TokenExpired("There is no refresh token for this account. The user has to log in again.")
        if REFRESH_ERROR in current:
            raise ReauthorizationRequired(
                f"TikTok refused this account's refresh token before ({current[REFRESH_ERROR]}); it was not "
                "asked again. The user has to log in again."
            )
        dead = force or current.freshness() is Freshness.EXPIRED
        unclear = REFRESH_STARTED_AT in current
        if unclear and not dead:
            raise TokenError(
                "An earlier refresh got no reply, so its refresh token may be spent. It is sent again only "
                "once the access token has expired.",
                error="no_reply",
            )
        if dead and retry is REFRESH_WAITED_FOR:
            # If this is the replay of a lost refresh already, it is not replayed within the call again.
            retry = REFRESH_AT_LAST._replace(lost=not unclear)
        try:
            self._home.mark(current.marked(**{REFRESH_STARTED_AT: int(time.time())}))
        except StoreConflict:
            return self._current(current)
        try:
            new = self._ask(current, retry)
        except TokenError as error:
            return self._after(error, current)
        return self._saved(new, spent)

    def _after(self, error: TokenError, current: TikTokToken) -> TikTokToken:
        """Leave the store in the state that tells everybody else what this failure means.

        Returns:
            Somebody else's newer token, where that is why ours was refused.
        """
        if _is_unclear(error):
            # The mark stays.
            raise error
        verdict, refused = {}, error.error == "invalid_grant"
        if refused:
            newest = self._current(current)
            if newest.refresh_token != current.refresh_token:
                return newest
            verdict = {REFRESH_ERROR: "invalid_grant"}
        try:
            self._home.mark(current.marked(**verdict))
        except StoreError as failure:
            log.warning("the outcome of a refresh could not be written down: %s", failure)
        raise reauthorization_required(error) if refused else error

    def _saved(self, new: TikTokToken, spent: str) -> TikTokToken:
        """Hand the new token over; from here on it is the only one that works."""
        flight = self._home.flight
        # Also for Ctrl-C in the middle of the save.
        flight.unsaved = (new, spent)
        try:
            self._home.keep(new, spent)
        except StoreConflict:
            # Logged out meanwhile, or logged in anew: theirs is the last word.
            flight.unsaved = None
            return self._current(new)
        except Exception as failure:
            raise TokenNotSaved(
                "TikTok issued a new token and it could not be saved. The old refresh token is spent: mend "
                "what keeps your tokens and call again in this process, or save the `token` of this error "
                f"yourself. ({type(failure).__name__})",
                token=new,
            ) from failure
        flight.unsaved = None
        return new


def _is_unclear(error: TokenError) -> bool:
    """Tell whether the refresh may have been carried out although it failed."""
    if isinstance(error, NoReply):
        return error.sent
    return error.error in _UNCLEAR and error.status_code not in _BUSY


def home_of(
    store: TokenStore | None,
    client_key: str,
    open_id: str | None,
    token: TikTokToken,
    updater: Updater | None,
) -> Home:
    """Return where a session's connection lives."""
    if store is not None and open_id:
        return StoreHome(store, AccountKey(client_key, open_id), updater)
    return ProcessHome(client_key, token, updater)


def forget_failures(store: TokenStore, key: AccountKey) -> None:
    """Forget what is known of a connection that a new login has just replaced."""
    _flights.forget(store, key)
