"""Where a connection's token lives: in a store, or with the sessions of this process."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from tiktok_oauth_session._connection.process_memory import Flight, flights
from tiktok_oauth_session.stores import TokenStore, required
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

#: Called with the new token after every change.
Updater = Callable[[TikTokToken], object]


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
        self.flight = flights.of(store, key)

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
        self.flight = flights.storeless(self._name(token))

    def _name(self, token: TikTokToken) -> AccountKey:
        digest = hashlib.sha256((token.refresh_token or "").encode("utf-8", "surrogatepass"))
        return AccountKey(self._client_key, digest.hexdigest())

    def lock(self) -> AbstractContextManager[None]:
        """Exclude the process's other threads."""
        return required(self.flight.lock.held(), AccountKey(self._client_key, "(no store)"))

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
        """Let the process's other sessions find the new token, once they have the lock; tell the updater."""
        self.flight.token = token
        flights.also_known_as(self._name(token), self.flight)
        if self._updater is not None:
            self._updater(TikTokToken(token))


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
    flights.forget(store, key)
