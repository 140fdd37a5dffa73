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

import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from tiktok_oauth_session._connection.outcomes import is_unclear, replay_in, tries_of
from tiktok_oauth_session._connection.process_memory import flights, is_unsaved
from tiktok_oauth_session._connection.token_source import Home
from tiktok_oauth_session._oauth.responses import reauthorization_required
from tiktok_oauth_session.errors import (
    ReauthorizationRequired,
    StoreConflict,
    StoreError,
    TokenError,
    TokenExpired,
    TokenNotSaved,
    reason_of,
)
from tiktok_oauth_session.tokens import (
    REFRESH_ERROR,
    REFRESH_STARTED_AT,
    REFRESH_TRIES,
    Freshness,
    TikTokToken,
)

log = logging.getLogger(__name__)


class Ask(Protocol):
    """Sends one refresh token to TikTok and returns what came for it."""

    def __call__(self, spent: TikTokToken, *, may_replay: bool) -> TikTokToken:
        """Raise TokenError where nothing came."""


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
        freshness, unsaved = mine.freshness(), is_unsaved(mine)
        if not unsaved and freshness is Freshness.FRESH:
            return mine
        if not unsaved and freshness is not Freshness.EXPIRED and self._home.flight.paused:
            return mine
        try:
            if not unsaved and freshness is Freshness.ADVISORY:
                with self._home.try_lock() as held:
                    return self._in_time(mine) if held else mine
            return self.renew(mine, force=False)
        except TokenNotSaved:
            raise
        except (TokenError, StoreError) as error:
            if mine.freshness() is Freshness.EXPIRED:
                raise
            log.warning("the token could not be refreshed and still works: %s", error)
            self._home.flight.pause(mine)
            return mine

    def renew(self, mine: TikTokToken, *, force: bool, refused: bool = False) -> TikTokToken:
        """Return another token than `mine`: somebody else's newer one, or one that is asked for now.

        Args:
            mine: The token that will not do.
            force: Whether it will not do although its time is not up.
            refused: Whether that is because TikTok says that it is dead.

        Raises:
            TokenError: As for `fresh`.
            StoreError: As for `fresh`.
        """
        arrived = time.monotonic()
        flight = self._home.flight
        with self._home.lock():
            current = self._current(mine)
            theirs = current.access_token != mine.access_token
            if (theirs or not force) and current.freshness() <= Freshness.ADVISORY:
                return current
            if error := flight.failure_since(arrived):
                # Of the refresh that this caller waited for.
                raise error
            try:
                return self._refreshed(current, dead=refused and not theirs)
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
            return self._refreshed(current) if is_due(current) else None

    def end(self, mine: TikTokToken, revoke: Callable[[TikTokToken], None], *, may_refresh: bool) -> None:
        """Revoke, while nobody can refresh. A token that has expired is refreshed first.

        Args:
            mine: The token as the caller last saw it.
            revoke: Revokes a token and forgets it.
            may_refresh: Whether the caller has what a refresh needs.

        Raises:
            TokenError: It has expired and could not be refreshed.
            StoreError: As for `fresh`.
        """
        with self._home.lock():
            current = self._current(mine)
            if may_refresh and current.freshness() is Freshness.EXPIRED:
                current = self._refreshed(current)
            revoke(current)

    # Everything below runs while the lock is held.

    def _in_time(self, mine: TikTokToken) -> TikTokToken:
        current = self._current(mine)
        if current.freshness() is Freshness.FRESH:
            return current
        return self._refreshed(current)

    def _current(self, mine: TikTokToken) -> TikTokToken:
        """Read the newest token again, saving one first that could not be saved before."""
        current = self._home.read(mine)
        if current is None:
            flights.forget_unsaved(mine.refresh_token)
            raise ReauthorizationRequired(
                "This account is no longer in the store: it was logged out or revoked. The user has to log "
                "in again."
            )
        unsaved = flights.unsaved_for(current.refresh_token)
        if unsaved is not None:
            return self._saved(unsaved, str(current.refresh_token))
        return current

    def _refreshed(self, current: TikTokToken, *, dead: bool = False) -> TikTokToken:
        spent = current.refresh_token
        if spent is None:
            raise TokenExpired("There is no refresh token for this account. The user has to log in again.")
        if REFRESH_ERROR in current or self._home.flight.refused == spent:
            raise ReauthorizationRequired(
                "TikTok refused this account's refresh token before (invalid_grant); it was not asked again. "
                "The user has to log in again."
            )
        dead = dead or current.freshness() is Freshness.EXPIRED
        if tries_of(current):
            _require_replay_due(current, dead=dead)
        try:
            self._home.mark(_begun(current, 1))
            # With nothing left to lose, what gets no reply is replayed once within the call.
            new = self._ask(current, may_replay=dead and not tries_of(current))
        except StoreConflict:
            return self._current(current)
        except TokenError as error:
            return self._after(error, current)
        return self._saved(new, spent)

    def _after(self, error: TokenError, current: TikTokToken) -> TikTokToken:
        """Leave the store in the state that tells everybody else what this failure means.

        Returns:
            Somebody else's newer token, where that is why ours was refused.
        """
        if is_unclear(error):
            # The mark stays.
            raise error
        # What was unclear before stays so: this reply tells nothing of the requests before it.
        outcome, refused = current, error.error == "invalid_grant"
        if refused:
            # Here as well: the store may fail now.
            self._home.flight.refused = current.refresh_token
            newest = self._current(current)
            if newest.refresh_token != current.refresh_token:
                return newest
            outcome = current.marked(**{REFRESH_ERROR: "invalid_grant"})
        try:
            self._home.mark(outcome)
        except StoreError as failure:
            log.warning("the outcome of a refresh could not be written down: %s", failure)
        raise reauthorization_required(error) if refused else error

    def _saved(self, new: TikTokToken, spent: str) -> TikTokToken:
        """Hand the new token over; from here on it is the only one that works."""
        # Before the save: Ctrl-C in the middle of it must not lose the token either.
        flights.keep_unsaved(spent, new)
        try:
            self._home.keep(new, spent)
        except StoreConflict:
            # Logged out meanwhile, or logged in anew: theirs is the last word.
            flights.settle(new)
            return self._current(new)
        except BaseException as failure:
            # If it was the updater that failed, the store has the new token already.
            flights.keep_unsaved(str(new.refresh_token), new)
            if not isinstance(failure, Exception):
                raise
            raise TokenNotSaved(
                "TikTok issued a new token and it could not be saved. The old refresh token is spent: mend "
                "what keeps your tokens and call again in this process, or save the `token` of this error "
                f"yourself. ({reason_of(failure)})",
                token=new,
            ) from failure
        flights.settle(new)
        return new


def _begun(token: TikTokToken, times: int) -> TikTokToken:
    """Return a token with the mark of so many requests more that got no reply, or none yet."""
    if not times:
        return token
    return token.marked(**{REFRESH_STARTED_AT: int(time.time()), REFRESH_TRIES: tries_of(token) + times})


def _require_replay_due(token: TikTokToken, *, dead: bool) -> None:
    """Spare a refresh token that may be spent already.

    Raises:
        TokenError: It is not to be sent now.
    """
    if not dead:
        raise TokenError(
            "An earlier refresh got no reply, so its refresh token may be spent. It is sent again only "
            "once the access token has expired.",
            error="no_reply",
        )
    if seconds := replay_in(token):
        raise TokenError(
            "A refresh and its replay got no reply, so the refresh token may be spent. It is sent again "
            f"in {math.ceil(seconds)} s.",
            error="no_reply",
        )
