"""Tokens of those who log in with django-allauth's TikTok provider: refreshed, and kept in its rows."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialToken
from django.db import Error, connections, router
from django.db.models import Q

from tiktok_oauth_session.contrib.django.sessions import new_session
from tiktok_oauth_session.contrib.django.stores import database_store
from tiktok_oauth_session.errors import StoreError
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.stores import TokenStore, check_replacing, due
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

_T = TypeVar("_T")


def session_from_allauth(social_token: SocialToken, **options: Any) -> TikTokOAuth2Session:
    """Return a session for a TikTok account that somebody has logged in with by django-allauth.

    It refreshes the token, and saves it back into the row, for whoever else reads that.

    Args:
        social_token: The row. With ``SOCIALACCOUNT_STORE_TOKENS = True`` django-allauth writes one.
        **options: As for `TikTokOAuth2Session`.
    """
    account = social_token.account
    app = social_token.app or _app_of(account.provider)
    return new_session(
        **{
            "client_key": app.client_id,
            "client_secret": app.secret,
            "store": SocialTokenStore(account.provider),
            "open_id": account.uid,
            **options,
        },
    )


class SocialTokenStore(TokenStore):
    """The rows of django-allauth as a store.

    What they have no column for (until when the refresh token works, whether a refresh is under way) is kept
    beside, in the project's `database_store`, and so is the account's lock. A row counts, whatever is
    noted beside: a new login by django-allauth is what is used from then on.

    Args:
        provider: What django-allauth calls the provider: its ``provider_id``, if the app has one.
    """

    def __init__(self, provider: str = "tiktok") -> None:
        self._provider = provider
        self._notes = database_store()
        self._alias = router.db_for_write(SocialToken)
        self.any_thread: bool = self._notes.any_thread
        self.lock_is_certain: bool = self._notes.lock_is_certain

    @property
    def identity(self) -> Hashable:
        """The provider, and where its locks are."""
        return "allauth", self._provider, self._notes.identity

    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return the token of a row, with what is noted about it."""
        row = self._row(key)
        if row is None:
            return None
        noted = self._notes.load(key)
        token = _token_of(row)
        if noted is not None and [noted.access_token, noted.refresh_token] == [
            token.access_token,
            token.refresh_token,
        ]:
            return noted
        return token

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep a token in its row, which has to be there: django-allauth makes it.

        Raises:
            StoreConflict: Another token is stored, or the lock is lost.
            StoreError: It could not be written, or there is no such row.
        """
        key, token = AccountKey(*key), TikTokToken(token)
        if replacing is not None and token.refresh_token == replacing:
            self._note(key, token, replacing)
            return
        columns = {
            "token": token.access_token or "",
            "token_secret": token.refresh_token or "",
            "expires_at": _moment(token.expires_at),
        }
        self._write(key, columns, replacing)
        self._notes.save(key, token)

    def delete(self, key: AccountKey) -> None:
        """Delete the row, and what is noted about it."""
        key = AccountKey(*key)
        with self.lock(key):
            row = self._row(key)
            if row is not None:
                self._run(f"delete account {key.open_id}", row.delete)
            self._notes.delete(key)

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude all other threads, processes and machines."""
        return self._notes.lock(key)

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Exclude all others, unless somebody is in already."""
        return self._notes.try_lock(key, timeout=timeout)

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts."""
        return (key for key, _ in self._all() if client_key in (None, key.client_key))

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts that expire, soonest first."""
        return iter(due(iter(self._all()), before))

    def require_writable(self, client_key: str) -> None:
        """Find out whether notes could be written."""
        self._notes.require_writable(client_key)

    # --- rows --------------------------------------------------------------------------------------

    def _note(self, key: AccountKey, token: TikTokToken, replacing: str) -> None:
        with self.lock(key):
            # Changes nothing, but finds out whether the row can be written, before anything is spent.
            self._write(key, {"token_secret": replacing}, replacing)
            noted = self._notes.load(key)
            if noted is None or noted.refresh_token != replacing:
                self._notes.save(key, self.load(key) or token)
            # Whoever has lost the lock is told so here.
            self._notes.save(key, token, replacing=replacing)

    def _write(self, key: AccountKey, columns: dict[str, Any], replacing: str | None) -> None:
        row = self._row(key)
        # One statement, so that the row is locked from the comparison on.
        mine = SocialToken.objects.using(self._alias).filter(pk=row.pk if row else None)
        compared = mine if replacing is None else mine.filter(token_secret=replacing)
        if self._run(f"save account {key.open_id}", lambda: compared.update(**columns)):
            return
        check_replacing(key, self.load(key), replacing)
        raise StoreError(
            f"django-allauth has no token of account {key.open_id} to replace: log in with it first, and "
            "with SOCIALACCOUNT_STORE_TOKENS = True."
        )

    def _row(self, key: AccountKey) -> Any:
        rows = self._rows.filter(Q(app__client_id=key[0]) | Q(app=None), account__uid=key[1])
        found: list[Any] = self._run(f"load account {key[1]}", lambda: list(rows), reads=True)
        # Here: to MariaDB and MySQL, texts are the same whatever their case.
        return next((row for row in found if row.account.uid == key[1]), None)

    @property
    def _rows(self) -> Any:
        tokens = SocialToken.objects.using(self._alias).select_related("app", "account")
        return tokens.filter(account__provider=self._provider).order_by("-pk")

    def _all(self) -> Iterable[tuple[AccountKey, TikTokToken]]:
        for row in self._run("list accounts", lambda: list(self._rows), reads=True):
            app = row.app or _app_of(self._provider)
            yield AccountKey(app.client_id, row.account.uid), _token_of(row)

    def _run(self, doing: str, work: Callable[[], _T], *, reads: bool = False) -> _T:
        """Do something apart from the transactions of requests; but what they have written can be read.

        Raises:
            StoreError: The database did not do it.
        """
        try:
            if reads and connections[self._alias].in_atomic_block:
                return work()
            with _own_connection(self._alias):
                return work()
        except Error as error:
            trouble = type(error).__name__
        # Out here, where Django's error is not attached to ours: it may quote the row.
        raise StoreError(f"The database did not {doing} ({trouble}). Its log says why.")


@contextlib.contextmanager
def _own_connection(alias: str) -> Iterator[None]:
    """Let the calling thread have another connection for a while."""
    outer = connections[alias]
    connections[alias] = connections.create_connection(alias)
    try:
        yield
    finally:
        connections[alias].close()
        connections[alias] = outer


def _app_of(provider: str) -> Any:
    """Return the app that the settings describe, which no row refers to."""
    return get_adapter().get_app(None, provider=provider)


def _token_of(row: Any) -> TikTokToken:
    items = {
        "access_token": row.token,
        "refresh_token": row.token_secret,
        "expires_at": row.expires_at and row.expires_at.timestamp(),
        "open_id": row.account.uid,
    }
    return TikTokToken({name: item for name, item in items.items() if item})


def _moment(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
