"""Where a connection's token lives: in a store, or with the sessions of this process."""

from __future__ import annotations

import abc
from collections.abc import Hashable
from contextlib import AbstractContextManager

from tiktok_oauth_session._connection.process_memory import KnownConnection, Updater, memory
from tiktok_oauth_session.errors import StoreConflict
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken


class TokenSource(abc.ABC):
    """Where a connection's token lives, and what excludes its other users."""

    #: Whose token it is; None where nobody knows.
    account: AccountKey | None
    #: What this process knows of the connection.
    known: KnownConnection
    #: Told of every new token.
    updater: Updater | None
    #: Who issues the tokens that it holds, where it is a place that other platforms' sessions reach, too.
    issuer: str | None = None
    #: Whether a new token is safe before the updater has taken it.
    is_durable: bool = True
    #: Whether every thread may use it.
    any_thread: bool = True
    #: Whether having the lock proves that every earlier holder is done or dead.
    lock_is_certain: bool = True

    @abc.abstractmethod
    def try_lock(self, timeout: float) -> AbstractContextManager[bool]:
        """Exclude everybody else, unless somebody is in for longer than so many seconds."""

    @abc.abstractmethod
    def is_locked_here(self) -> bool:
        """Tell whether the calling thread excludes everybody else already."""

    @abc.abstractmethod
    def load(self, mine: TikTokToken) -> TikTokToken | None:
        """Return the newest token; None if the account was deleted."""

    @abc.abstractmethod
    def mark(self, token: TikTokToken) -> None:
        """Write the same token with other marks."""

    @abc.abstractmethod
    def save(self, token: TikTokToken, replacing: str) -> None:
        """Keep a new token in the spent one's place."""


class StoreSource(TokenSource):
    """A token in a store."""

    def __init__(self, store: TokenStore, key: AccountKey, updater: Updater | None, issuer: str) -> None:
        self._store, self._key, self.issuer = store, key, issuer
        self.account = key
        self.updater = updater
        self.known = memory().in_store(store, key)
        self.any_thread, self.lock_is_certain = store.any_thread, store.lock_is_certain

    def try_lock(self, timeout: float) -> AbstractContextManager[bool]:
        """Exclude everybody who shares the store."""
        return self._store.try_lock(self._key, timeout=timeout)

    def is_locked_here(self) -> bool:
        """Tell whether the caller holds the account's lock."""
        return self._store.is_locked_here(self._key)

    def load(self, mine: TikTokToken) -> TikTokToken | None:
        """Return what the store holds."""
        return self._store.load(self._key)

    def mark(self, token: TikTokToken) -> None:
        """Write the marks, if the store still holds this token."""
        self._store.save(self._key, token, replacing=token.refresh_token)

    def save(self, token: TikTokToken, replacing: str) -> None:
        """Save a new token, if the store still holds the spent one."""
        self._store.save(self._key, token, replacing=replacing)


class ProcessSource(TokenSource):
    """A token that sessions of this process hold, and perhaps an updater keeps.

    Found by its refresh token: whoever comes with one that was spent here gets its successor.

    Args:
        app: Who issued the token, and to which app.
        token: The token as its session holds it.
        updater: Keeps new tokens.
        session: The session that alone gets it; None lets every session that comes with the old token later
            have its successor.
        account: Whose token it is, if somebody knows.
    """

    def __init__(
        self,
        app: Hashable,
        token: TikTokToken,
        updater: Updater | None,
        session: Hashable | None,
        account: AccountKey | None,
    ) -> None:
        self.account = account
        self._app, self._session = app, session
        self.updater = updater
        self.is_durable = updater is None
        self.known = memory().without_store(app, token, session)

    def try_lock(self, timeout: float) -> AbstractContextManager[bool]:
        """Exclude the process's other threads."""
        return self.known.lock.held(timeout=timeout)

    def is_locked_here(self) -> bool:
        """Tell whether the caller is the refresh itself, such as a hook in the middle of it."""
        return self.known.lock.is_held_here

    def load(self, mine: TikTokToken) -> TikTokToken | None:
        """Return what the last refresh in this process brought, or else the session's own."""
        return self.known.token or mine

    def mark(self, token: TikTokToken) -> None:
        """Let the process's other sessions see the marks, unless a hook in the middle has refreshed."""
        self._require(token.refresh_token)
        self.known.token = token

    def save(self, token: TikTokToken, replacing: str) -> None:
        """Let the process's other sessions find the new token."""
        self._require(replacing)
        self.known.token = token
        memory().also_known_as(self._app, token, self.known, self._session)

    def _require(self, refresh_token: str | None) -> None:
        held = self.known.token
        if held is not None and held.refresh_token != refresh_token:
            raise StoreConflict("The session has another token now; nothing was kept.")
