"""Where tokens live: the contract of a store, and the store in memory.

A store keeps tokens by account and lends a lock for each. It knows nothing of OAuth; a session
knows nothing of where a store keeps things. Whatever shares a store (threads, processes,
machines) shares its tokens and its locks, and that is what keeps a connection alive while many
use it: TikTok spends the refresh token at every refresh, so one caller refreshes and the others
read what it saved.

The transaction that sessions run on a store::

    with store.lock(key):                       # everybody else waits here
        token = store.load(key)                 # somebody may have refreshed meanwhile: use theirs
        store.save(key, marked, replacing=...)  # finds out whether the store can be written at all
        ...                                     # one request to TikTok
        store.save(key, new, replacing=...)     # and only then is the new token used

Writing a store of one's own: subclass `TokenStore`, keep its promises, and run
``tiktok_oauth_session.testing.conformance.TokenStoreConformance`` on it.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import functools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from tiktok_oauth_session._plain_errors import StoreConflict, StoreError
from tiktok_oauth_session._process import PerProcess, threads_stop_greenlets
from tiktok_oauth_session._tracebacks import each_without_variables, without_variables
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

__all__ = ["LOCK_TIMEOUT_S", "MemoryStore", "StoreConflict", "StoreError", "TokenStore"]

#: Seconds to wait for an account's lock, longer than several refreshes with long timeouts can take.
LOCK_TIMEOUT_S = 180.0


#: Seconds between two looks at a lock that another greenlet of the same thread holds.
GREENLET_PAUSE_S = 0.02


class TokenStore(abc.ABC):
    """Keeps tokens by account, for everything that shares it.

    Every method raises `StoreError` when the store cannot do what it promises; none of them ever
    pretends. Keys are any text: nothing in a ``client_key`` or an ``open_id`` is special.
    """

    #: Whether every thread may use it. A refresh runs in a thread of its own, unless a store says no here.
    any_thread: bool = True
    #: Whether having an account's lock proves that every earlier holder has let go of it or is dead (the
    #: operating system's locks), and not only that the holder's time is over (a lease).
    lock_is_certain: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Let locks, of every store, be recorded for `is_locked_here`, and errors show no token."""
        super().__init_subclass__(**options)
        for name in ("lock", "try_lock"):
            if name in cls.__dict__:
                setattr(cls, name, _recorded(cls.__dict__[name]))
        for name in ("load", "save", "delete", "require_writable"):
            if name in cls.__dict__:
                setattr(cls, name, without_variables(cls.__dict__[name]))
        for name in ("keys", "expiring", "refresh_expiring"):
            if name in cls.__dict__:
                setattr(cls, name, each_without_variables(cls.__dict__[name]))

    def is_locked_here(self, key: AccountKey) -> bool:
        """Tell whether the calling thread holds the account's lock."""
        return _holdings()[self.identity, AccountKey(*key)] > 0

    @property
    def identity(self) -> Hashable:
        """What every handle on the same tokens has in common, and no handle on others.

        A process remembers by it what failed a moment ago. This default tells every handle from every
        other one. Stores of which a web application may make a handle for each request override it.
        """
        # Not the handle itself, which would be kept alive by whoever remembers it.
        identity: Hashable = self.__dict__.setdefault("_identity", object())
        return identity

    @abc.abstractmethod
    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return what was last saved for an account, as a copy; None if there is nothing.

        Raises:
            StoreError: It cannot be read, or is damaged. Damage is never reported as None: that would
                read as "logged out".
        """

    @abc.abstractmethod
    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep a token. Once this returns, the token survives a crash of whatever asked for it.

        A reader sees the token before or the token after, never a part of either.

        Args:
            key: Whose token it is.
            token: The token.
            replacing: Save only if the stored token has this refresh token (compare-and-swap). So a
                caller that lost its lock cannot overwrite a newer token, and no refresh brings back an
                account that was deleted meanwhile. A token that has this very refresh token itself only
                brings notes about it: where a lock is a lease, that needs the lease, and renews it.

        Raises:
            StoreConflict: Another refresh token is stored, or none, or the lease is lost; nothing was
                written.
            StoreError: The token could not be written; what was stored before still is.
        """

    @abc.abstractmethod
    def delete(self, key: AccountKey) -> None:
        """Forget an account. It is no error if there is none; its neighbours stay.

        Waits for the account's lock if somebody else holds it.

        Raises:
            StoreError: It could not be deleted, or its lock could not be had in `LOCK_TIMEOUT_S`.
        """

    @abc.abstractmethod
    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude every other holder of this account's lock until the block ends.

        Holders are threads, of this process and of others, through this handle and through every
        other one. The holding thread may take the lock again, and its own `load`, `save` and `delete`
        work inside the block. The lock of a holder that dies is free at once (or, where only a lease
        can be had, when the lease ends).

        Raises:
            StoreError: It could not be had in `LOCK_TIMEOUT_S`.
        """

    @abc.abstractmethod
    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts, of one app or of all, in no order.

        Raises:
            StoreError: The store could not be read.
        """

    @abc.abstractmethod
    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts whose access token expires before a time, soonest first.

        A token that can be refreshed and whose expiry is unknown counts as expired.

        Args:
            before: Unix time in seconds.

        Raises:
            StoreError: The store could not be read.
        """

    def refresh_expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts whose *refresh* token expires before a time, soonest first.

        Those whose expiry is unknown are left out, but not those that cannot be read: they may have
        expired, and whoever loads them is told what is wrong. This default loads every token.

        Args:
            before: Unix time in seconds.

        Raises:
            StoreError: The store could not be read.
        """
        expiries = ((self._refresh_expiry(key), key) for key in self.keys())
        return iter([key for expiry, key in sorted(expiries) if expiry < before])

    def _refresh_expiry(self, key: AccountKey) -> float:
        try:
            token = self.load(key) or TikTokToken()
        except StoreError:
            return float("-inf")
        return float(token.get("refresh_expires_at", "inf"))

    def require_writable(self, client_key: str) -> None:  # noqa: B027 - a store that cannot tell says nothing
        """Find out, without writing anything, whether the token of a new login could be kept.

        Asked before the login's code is spent. This default does not know.

        Args:
            client_key: Whose login.

        Raises:
            StoreError: It could not.
        """

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Take the account's lock if it is free, or soon is; tell whether it could be had.

        This default cannot tell and waits. Stores that can tell override it, so that nobody waits
        for a refresh that is merely advisable.

        Args:
            key: Whose lock.
            timeout: Seconds to wait for it; 0 does not.

        Raises:
            StoreError: The store failed.
        """
        return self._lock_told(key)

    @contextlib.contextmanager
    def _lock_told(self, key: AccountKey) -> Iterator[bool]:
        with self.lock(key):
            yield True


class _Recorded:
    """A lock of an account that is written down while it is held."""

    def __init__(self, lock: AbstractContextManager[Any], held: tuple[Hashable, AccountKey]) -> None:
        self._lock, self._held = lock, held
        self._is_held = False

    def __enter__(self) -> Any:
        had = self._lock.__enter__()
        # `try_lock` tells whether; `lock` says nothing, and could be had.
        self._is_held = had is not False
        _holdings()[self._held] += self._is_held
        return had

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        holdings = _holdings()
        # A forked child may leave its copy of a block in which it never held anything.
        if self._is_held and holdings[self._held]:
            holdings[self._held] -= 1
        if not holdings[self._held]:
            del holdings[self._held]
        return self._lock.__exit__(kind, error, traceback)


def _recorded(lock: Callable[..., AbstractContextManager[Any]]) -> Callable[..., AbstractContextManager[Any]]:
    @functools.wraps(lock)
    def recorded(store: TokenStore, key: AccountKey, **options: Any) -> AbstractContextManager[Any]:
        return _Recorded(lock(store, key, **options), (store.identity, AccountKey(*key)))

    return recorded


_in_thread = threading.local()


def _holdings() -> collections.Counter[tuple[Hashable, AccountKey]]:
    """Return how often the calling thread holds which lock. A forked child holds none of its parent's."""
    pid = os.getpid()
    if getattr(_in_thread, "pid", None) != pid:
        _in_thread.pid, _in_thread.holdings = pid, collections.Counter()
    holdings: collections.Counter[tuple[Hashable, AccountKey]] = _in_thread.holdings
    return holdings


def due(tokens: Iterator[tuple[AccountKey, TikTokToken]], before: float) -> list[AccountKey]:
    """Sort out the accounts that expire before a time, soonest first, for stores without an index."""
    expiries = ((_expiry(token), key) for key, token in tokens)
    return [key for expiry, key in sorted(each for each in expiries if each[0] < before)]


def _expiry(token: TikTokToken) -> float:
    if token.expires_at is not None:
        return token.expires_at
    return float("-inf") if token.refresh_token else float("inf")


def check_replacing(key: AccountKey, stored: TikTokToken | None, replacing: str | None) -> None:
    """Do the comparison of a compare-and-swap.

    Raises:
        StoreConflict: `stored` does not have the refresh token to be replaced.
    """
    if replacing is None or (stored is not None and stored.refresh_token == replacing):
        return
    what = "was deleted" if stored is None else "has another token now"
    raise StoreConflict(f"The account {key.open_id} {what}; nothing was written.")


class KeyLocks:
    """The locks of a store's accounts between the threads of one process.

    They are reentrant, come into being when they are asked for, and go when nobody holds them. A
    forked child starts without them: a thread that held one does not exist there.
    """

    def __init__(self) -> None:
        self._state = PerProcess(_Locks)

    def of(self, key: AccountKey) -> KeyLock:
        """Return the lock of an account, the same one to everybody."""
        locks = self._state.value
        with locks.guard:
            return locks.by_key.setdefault(key, KeyLock())


class _Locks:
    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.by_key: weakref.WeakValueDictionary[AccountKey, KeyLock] = weakref.WeakValueDictionary()


class KeyLock:
    """The lock of one account between threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        #: How often the thread that holds it has taken it.
        self.depth: int = 0
        self._owner: object = None

    @property
    def is_held_here(self) -> bool:
        """Whether the calling thread, or greenlet, holds it."""
        return self.depth > 0 and self._owner == _whoever_calls()

    @contextlib.contextmanager
    def held(self, *, timeout: float = LOCK_TIMEOUT_S) -> Iterator[bool]:
        """Hold it; yield whether it could be had in `timeout` seconds (0 does not wait)."""
        if not self._taken(time.monotonic() + timeout):
            yield False
            return
        self.depth += 1
        self._owner = _whoever_calls()
        try:
            yield True
        finally:
            self.depth -= 1
            self._lock.release()

    def _taken(self, deadline: float) -> bool:
        while self._lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            if not self.depth or self._owner == _whoever_calls():
                return True
            # Another greenlet of this very thread has it.
            self._lock.release()
            if time.monotonic() >= deadline:
                break
            time.sleep(GREENLET_PAUSE_S)
        return False


def _whoever_calls() -> object:
    if threads_stop_greenlets():
        # They share a thread, which would be let in again.
        greenlet: Any = sys.modules["greenlet"]
        return greenlet.getcurrent()
    return threading.get_ident()


@contextlib.contextmanager
def required(
    held: AbstractContextManager[bool], key: AccountKey, *, timeout: float = LOCK_TIMEOUT_S
) -> Iterator[None]:
    """Hold a lock that tells whether it could be had in so many seconds, or fail.

    Raises:
        StoreError: It could not be had.
    """
    with held as could_be_had:
        if not could_be_had:
            raise StoreError(
                f"The lock of account {key.open_id} was not free within {timeout:.0f} s. Look for a "
                "process that hangs while it refreshes."
            )
        yield


class MemoryStore(TokenStore):
    """Keeps tokens in this process, for all its threads. They end with it."""

    lock_is_certain = True

    def __init__(self) -> None:
        self._tokens: dict[AccountKey, TikTokToken] = {}
        self._locks = KeyLocks()
        # For the moment of a save. The account's lock is held for as long as a refresh takes.
        self._saving = PerProcess(threading.Lock)

    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return the account's token."""
        token = self._tokens.get(AccountKey(*key))
        return None if token is None else TikTokToken(token)

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep the account's token."""
        key = AccountKey(*key)
        with self._saving.value:
            check_replacing(key, self._tokens.get(key), replacing)
            self._tokens[key] = TikTokToken(token)

    def delete(self, key: AccountKey) -> None:
        """Forget the account."""
        with self.lock(key), self._saving.value:
            self._tokens.pop(AccountKey(*key), None)

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude the process's other threads."""
        return required(self._locks.of(AccountKey(*key)).held(), AccountKey(*key))

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Exclude the process's other threads, unless one of them is in already."""
        return self._locks.of(AccountKey(*key)).held(timeout=timeout)

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts."""
        return iter([key for key in list(self._tokens) if client_key in (None, key.client_key)])

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts that expire, soonest first."""
        return iter(due(iter(list(self._tokens.items())), before))
