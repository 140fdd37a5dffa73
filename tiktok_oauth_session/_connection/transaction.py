"""A refresh, as a transaction.

TikTok spends the refresh token at every refresh, so::

    lock      everybody who shares the store waits, or goes on with the token that still works
    re-read   somebody may have refreshed meanwhile: theirs is used
    re-check  is it still due, and is it worth asking?
    mark      write down that a refresh begins; a store that cannot be written is found out here,
              while nothing is spent
    request   one request to TikTok, with a deadline over all of it
    keep      what came is kept in this process before anything else looks at it
    save      only if the store still holds the token that was spent; again and again while it fails
    publish   and only now is the new token used
    unlock

A mark that is still there when the next caller has the lock means that nobody learnt how that
refresh ended: the process died, or the reply was lost.

Unless it is inline it runs in a thread of its own, which nothing that happens to a caller can interrupt.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import requests

from tiktok_oauth_session._connection.marks import PAUSE_S, UNSENT_PAUSE_S, Marks
from tiktok_oauth_session._connection.process_memory import Untold, is_alive, memory
from tiktok_oauth_session._connection.single_flight import HOLD_BACK_S, Flight
from tiktok_oauth_session._connection.token_source import TokenSource
from tiktok_oauth_session._http.oauth_request import NoReply
from tiktok_oauth_session._oauth.error_codes import Meaning, meaning_of
from tiktok_oauth_session._oauth.grants import PreparedRefresh, RefreshGrant
from tiktok_oauth_session._oauth.responses import reauthorization_required
from tiktok_oauth_session._process import main_thread_has_ended
from tiktok_oauth_session.errors import (
    ReauthorizationRequired,
    StoreConflict,
    StoreError,
    TokenError,
    TokenExpired,
    TokenNotSaved,
    reason_of,
)
from tiktok_oauth_session.events import EventName
from tiktok_oauth_session.stores import LOCK_TIMEOUT_S
from tiktok_oauth_session.tokens import ISSUER, Freshness, TikTokToken

log = logging.getLogger(__name__)

#: Seconds of one wait for the lock, between two looks at whether the process is about to end.
LOOK_S = 1.0
#: Seconds from one failed save to the next: at first, and at most.
SAVE_PAUSE_S = (0.05, 2.0)
#: Seconds for which a caller that refreshes by itself is kept by a save that fails.
INLINE_SAVES_S = 1.0
#: Seconds that have to be left of the deadline for a replay to be worth it.
REPLAY_NEEDS_S = 1.0
#: Seconds for which `invalid_grant` is not the last word on a token that another process was about to spend.
NOT_FINAL_S = 120.0
#: Seconds for which a process that has marked a token and is still there is taken for the one that did it.
ALIVE_COUNTS_S = 900.0


class ProgramEnded(TokenError):
    """The interpreter is about to exit, and what has not begun yet is not begun."""

    error = "no_reply"


class Demand(NamedTuple):
    """What a caller needs."""

    #: The token that will not do, as the caller last saw it.
    mine: TikTokToken
    #: Tells whether a token, which the store may hold meanwhile, is to be refreshed.
    is_due: Callable[[TikTokToken], bool]
    #: Whether TikTok says that the access token is dead.
    is_refused: bool = False
    #: Seconds to wait for somebody else who refreshes; None: `LOCK_TIMEOUT_S`.
    lock_timeout: float | None = None


class Transaction:
    """One refresh of one connection.

    Args:
        source: Where its token lives.
        grant: What asks TikTok.
        demand: What is needed.
        flight: Who waits for it.
        is_inline: Whether it runs in its caller's thread, which cannot save again and again.
    """

    def __init__(
        self, source: TokenSource, grant: RefreshGrant, demand: Demand, flight: Flight, *, is_inline: bool
    ) -> None:
        self._source, self._grant, self._demand = source, grant, demand
        self._flight, self._is_inline = flight, is_inline
        #: What there is to tell of it by now; None: nothing that others have not told.
        self.event: EventName | None = None
        #: When it was about to ask TikTok (monotonic clock, seconds).
        self.began = 0.0

    def run(self) -> TikTokToken | None:
        """Return a token that will do; None if somebody else is at it, and that is not waited for.

        Raises:
            ReauthorizationRequired: Only a new login helps.
            TokenError: TikTok gave no token for another reason.
            TokenNotSaved: It gave one that could not be saved.
            StoreError: The store failed, and nothing was spent.
        """
        try:
            with self._locked() as held:
                if not held:
                    return None
                current = self.current()
                if self._has_moved(current) or not self._demand.is_due(current):
                    return current
                return self._refreshed(current)
        except Exception as failure:
            # Whatever failed, the save or the lock after it: what came is in this process only.
            unsaved = self._source.known.unsaved
            if unsaved is None:
                raise
            error = failure if isinstance(failure, TokenNotSaved) else _not_saved(unsaved[1], failure)
            return self._saved_later(error)

    def _saved_later(self, error: TokenNotSaved) -> TikTokToken:
        """Save again and again, until it succeeds, is not wanted any more, or the process ends.

        Inline that is as long as a caller may be kept, which one that waits for no lock may not.

        Without the lock in between: whoever logs the account in, or out, must not wait for a full disk. The
        mark keeps others from sending the spent refresh token for as long as a request could be under way.
        """
        pause = SAVE_PAUSE_S[0]
        patience = INLINE_SAVES_S if self._demand.lock_timeout is None else 0.0
        end = time.monotonic() + patience if self._is_inline else math.inf
        log.warning("a new token is not saved yet, and is tried again: %s", error)
        while True:
            self._flight.fail_to_save(error)
            if main_thread_has_ended():
                end = min(end, time.monotonic() + HOLD_BACK_S)
            if self._flight.is_given_up or time.monotonic() >= end:
                log.error("a new token is not saved, and its predecessor is spent: %s", error)
                raise error
            self._flight.rest(pause)
            pause = min(2 * pause, SAVE_PAUSE_S[1])
            try:
                with self._source.try_lock(LOOK_S) as held:
                    if held:
                        return self.current()
            except ReauthorizationRequired:
                raise
            except TokenNotSaved as again:
                error = again
            except Exception as failure:  # noqa: BLE001 - a store of the user's may raise anything
                error = _not_saved(error.token, failure)

    @contextlib.contextmanager
    def excluding_all(self) -> Iterator[None]:
        """Hold the account's lock, and wait for it as long as anybody does.

        Raises:
            StoreError: It could not be had.
        """
        with self._locked():
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        timeout = self._demand.lock_timeout
        deadline = time.monotonic() + (LOCK_TIMEOUT_S if timeout is None else timeout)
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            with self._source.try_lock(min(left, LOOK_S)) as held:
                if held:
                    yield True
                    return
            if timeout is not None and left <= LOOK_S:
                yield False
                return
            self._require_life()
            if self._flight.is_unwanted:
                raise _not_now("The account's lock is somebody else's, and nobody waits", "no_reply", LOOK_S)
            if left <= 0:
                raise StoreError(
                    f"The account's lock was not free within {LOCK_TIMEOUT_S:.0f} s. Look for a process that "
                    "hangs while it refreshes."
                )

    def _require_life(self) -> None:
        if main_thread_has_ended() and not self._is_inline:
            raise ProgramEnded("The program ended before the refresh began; nothing was spent.")

    def current(self) -> TikTokToken:
        """Read the newest token again, saving one first that could not be saved before.

        Raises:
            ReauthorizationRequired: The account is gone.
            StoreError: The store failed, or holds another platform's token.
        """
        known, current = self._source.known, self._source.load(self._demand.mine)
        if current is None:
            known.settle()
            raise ReauthorizationRequired(
                "This account is no longer in the store: it was logged out or revoked. The user has to log "
                "in again."
            )
        if self._source.issuer is not None:
            current.require_issuer(self._source.issuer)
        if known.unsaved is not None:
            spent, new = known.unsaved
            if spent == current.refresh_token:
                return self._saved(new, spent)
            if current.refresh_token == new.refresh_token:
                # The save that failed was carried out all the same.
                self._settle(new)
            known.settle()
        return current

    def _has_moved(self, current: TikTokToken) -> bool:
        """Tell whether what is left here only says whose token it was, which the caller did not know."""
        is_empty = current.access_token is None and current.refresh_token is None
        return is_empty and current.open_id is not None and self._demand.mine.open_id is None

    def _settle(self, new: TikTokToken) -> None:
        self._source.known.settle()
        if self._source.updater is not None:
            self._source.known.owe(Untold(new, self._source.updater))

    # --- whether to ask ----------------------------------------------------------------------------

    def _refreshed(self, current: TikTokToken) -> TikTokToken:
        spent = current.refresh_token
        if spent is None:
            raise TokenExpired("There is no refresh token for this account. The user has to log in again.")
        marks, dead = Marks.of(current), self._is_dead(current)
        self._require_worth(current, marks, dead=dead)
        request = self._grant.prepare(current)
        with request.ready() as send:
            self._require_life()
            marks = marks.begun(memory().holder, request.deadline_s)
            self._flight.spend()
            self.event, self.began = "refresh_failed", time.monotonic()
            try:
                self._source.mark(marks.on(current))
            except StoreConflict:
                return self._overtaken(spent)
            new = self._received(current, marks, request, send, dead=dead)
        if new is None:
            return self._overtaken(spent)
        return self._saved(new, spent)

    def _is_dead(self, current: TikTokToken) -> bool:
        """Tell whether nothing is left to lose: the access token works no more."""
        return self._is_refused(current) or current.freshness() is Freshness.EXPIRED

    def _is_refused(self, current: TikTokToken) -> bool:
        """Tell whether TikTok refuses the access token, although its time may not be up."""
        return self._demand.is_refused and current.access_token == self._demand.mine.access_token

    def _require_worth(self, current: TikTokToken, marks: Marks, *, dead: bool) -> None:
        """Spare TikTok a request that cannot succeed, and a refresh token that may be spent already.

        Raises:
            ReauthorizationRequired: TikTok has said so before.
            TokenError: It is not to be sent now.
        """
        if marks.error or self._source.known.refused == current.refresh_token:
            raise ReauthorizationRequired(
                f"TikTok refused this account's refresh token before ({marks.error or 'invalid_grant'}); it "
                "was not asked again. The user has to log in again."
            )
        memory().require_app(self._grant.app)
        if seconds := marks.paused_s():
            raise _not_now("An earlier refresh failed", marks.paused_after, seconds)
        if self._is_refused(current) and (seconds := marks.refused_s()):
            raise _not_now("TikTok refuses even new access tokens", "access_token_invalid", seconds)
        if not marks.tries:
            return
        seconds = marks.under_way_s()
        if self._source.lock_is_certain and marks.may_last_s is not None and is_alive(marks.started_by):
            # It has let go of a certain lock, so it cannot save what it has; unless it is another by now.
            seconds = max(seconds, marks.started_s_ago(ALIVE_COUNTS_S))
        if seconds and self._may_have_the_successor(marks):
            raise _not_now("Another process may still be refreshing", "no_reply", seconds)
        if seconds := marks.replay_s():
            raise _not_now("A refresh and its replay got no reply", "no_reply", seconds)
        if not dead:
            raise _not_now(
                "An earlier refresh got no reply, so its refresh token may be spent. It is sent again only "
                "once the access token has expired",
                "no_reply",
                (current.expires_at or time.time()) - time.time(),
            )

    def _may_have_the_successor(self, marks: Marks) -> bool:
        """Tell whether another process may be about to save what came for this refresh token.

        Where the lock is certain it has let go of it, so it has none if it is dead.
        """
        if marks.started_by in (None, memory().holder):
            return False
        return not (self._source.lock_is_certain and is_alive(marks.started_by) is False)

    def _overtaken(self, spent: str) -> TikTokToken:
        """Return what somebody else has put in our token's place before it was spent, or meanwhile."""
        self._flight.spared()
        self.event = None
        current = self.current()
        if current.refresh_token != spent:
            return current
        self.event = "refresh_failed"
        # Only the lock was lost: this process was held up for longer than its lease.
        raise _not_now("The account's lock was lost before anything was sent", "no_reply", UNSENT_PAUSE_S)

    # --- the request -------------------------------------------------------------------------------

    def _received(
        self,
        current: TikTokToken,
        marks: Marks,
        request: PreparedRefresh,
        send: Callable[[], requests.Response],
        *,
        dead: bool,
    ) -> TikTokToken | None:
        """Spend the refresh token; None if somebody else has put another one in its place.

        With nothing left to lose, what gets no reply is replayed once.
        """
        before = Marks.of(current)
        keep = functools.partial(self._source.known.keep, str(current.refresh_token))
        while True:
            try:
                new = request.read(send(), keep)
            except TokenError as failure:
                error = failure
                first = isinstance(error, NoReply) and error.sent and marks.tries == 1
                if not (first and dead and request.seconds_left > REPLAY_NEEDS_S):
                    return self._after(error, current, before, marks, request)
            except BaseException as failure:
                if request.is_under_way or not isinstance(failure, Exception):
                    # An interruption, of whatever class.
                    self._keep_late_reply(request, current, keep)
                    raise
                # An adapter of the user's may raise anything.
                return self._after(_no_reply(failure), current, before, marks, request)
            else:
                memory().accept_app(self._grant.app)
                return self._successor(new, current)
            before, marks = marks.ended(), marks.begun(memory().holder, request.seconds_left)
            try:
                self._source.mark(marks.on(current))
            except StoreConflict:
                return None

    def _keep_late_reply(
        self, request: PreparedRefresh, current: TikTokToken, keep: Callable[[TikTokToken], object]
    ) -> None:
        """Save what comes for a refresh token after all, when what interrupts this very thread lets it be.

        A refresh in a thread of its own is not interrupted.
        """
        reply = request.late_reply(HOLD_BACK_S)
        if reply is not None:
            with contextlib.suppress(TokenError, StoreError):
                self._saved(self._successor(request.read(reply, keep), current), str(current.refresh_token))

    def _successor(self, new: TikTokToken, current: TikTokToken) -> TikTokToken:
        """Return a new token as it is kept.

        Raises:
            TokenNotSaved: It is another user's.
        """
        spent = str(current.refresh_token)
        if new.open_id and current.open_id and new.open_id != current.open_id:
            self._source.known.settle()
            outcome = Marks(error="another_open_id")
            self._write(outcome.on(current))
            self.event = "needs_login"
            raise TokenNotSaved(
                f"TikTok answered the refresh of open_id {current.open_id} with a token of another one, "
                f"{new.open_id}. It is in the `token` of this error and was saved nowhere; the account's own "
                "refresh token is spent, so its user has to log in again.",
                error=outcome.error,
                token=new,
            )
        if self._is_refused(current):
            new = Marks.of(current).of_successor().on(new)
        if self._source.issuer is not None:
            new[ISSUER] = self._source.issuer
        self._source.known.keep(spent, new)
        return new

    # --- without a token ---------------------------------------------------------------------------

    def _after(
        self,
        error: TokenError,
        current: TikTokToken,
        before: Marks,
        marks: Marks,
        request: PreparedRefresh,
    ) -> TikTokToken | None:
        """Leave the store in the state that tells everybody else what this failure means.

        Returns:
            None where somebody else's newer token is why ours was refused.
        """
        if isinstance(error, NoReply) and not error.sent:
            # As if it had not been begun.
            return self._failed(error, current, before.paused(error.error, UNSENT_PAUSE_S))
        meaning = meaning_of(error.error, error.status_code)
        if meaning is Meaning.UNCLEAR:
            # Past its deadline it may be under way for all we know.
            ended = marks if request.seconds_left <= 0 else marks.ended()
            # The first replay waits for the access token's death alone.
            return self._failed(error, current, ended.paused(error.error) if marks.tries > 1 else ended)
        if meaning is Meaning.ABOUT_APP:
            error.retry_after = memory().refuse_app(self._grant.app, str(error.error))
            return self._failed(error, current, before)
        if meaning is Meaning.NEEDS_LOGIN:
            return self._refused(error, current, before)
        # What was unclear before stays so: this reply tells nothing of the requests before it.
        return self._failed(error, current, before.paused(error.error, PAUSE_S, error.retry_after))

    def _failed(self, error: TokenError, current: TikTokToken, outcome: Marks) -> TikTokToken | None:
        self._write(outcome.on(current))
        error.retry_after = error.retry_after or outcome.paused_s() or None
        raise error

    def _refused(self, error: TokenError, current: TikTokToken, before: Marks) -> TikTokToken | None:
        self._source.known.refused = current.refresh_token
        newest = self._source.load(current)
        if newest is None or newest.refresh_token != current.refresh_token:
            return None
        seconds = before.started_s_ago(NOT_FINAL_S)
        # One whose request is known to have ended has not got it.
        if seconds and before.may_last_s is not None and self._may_have_the_successor(before):
            # Somebody else may have the reply that came for it, and be held up before the save. Until that
            # is over nobody asks again.
            self._source.known.refused = None
            again = before.ended().paused(error.error, seconds, seconds)
            self._write(again.on(current))
            raise _not_now(
                "TikTok refuses the refresh token, and a process that was about to spend it may have its "
                "successor",
                "no_reply",
                again.paused_s(),
            )
        self._write(Marks(error=error.error).on(current))
        self.event = "needs_login"
        raise reauthorization_required(error)

    def _write(self, token: TikTokToken) -> None:
        try:
            self._source.mark(token)
        except StoreError as failure:
            log.warning("the outcome of a refresh could not be written down: %s", failure)

    # --- with a token ------------------------------------------------------------------------------

    def _saved(self, new: TikTokToken, spent: str) -> TikTokToken:
        """Hand the new token over; from here on it is the only one that works."""
        known = self._source.known
        known.keep(spent, new)
        self._flight.spend()
        self.began = self.began or time.monotonic()
        try:
            self._source.save(new, spent)
        except StoreConflict:
            # Logged out meanwhile, or logged in anew: theirs is the last word.
            known.settle()
            self.event = None
            return self.current()
        except Exception as failure:
            self.event = "refresh_failed"
            raise _not_saved(new, failure) from failure
        self.event = "refreshed"
        self._settle(new)
        return new


def _not_saved(new: TikTokToken | None, failure: Exception) -> TokenNotSaved:
    error = TokenNotSaved(
        "TikTok issued a new token and it could not be saved. The old refresh token is spent: mend what "
        "keeps your tokens and call again in this process, or save the `token` of this error yourself. "
        f"({reason_of(failure)})",
        token=new,
    )
    error.__cause__ = failure
    return error


def _no_reply(failure: Exception) -> NoReply:
    """Return what an exception that is neither requests' nor ours means: nobody knows what became of it."""
    error = NoReply(
        f"The refresh failed in a way that leaves open whether it was sent: {type(failure).__name__}."
    )
    error.__cause__ = failure
    return error


def _not_now(what: str, error: str | None, seconds: float) -> TokenError:
    return TokenError(
        f"{what}: TikTok is not asked now. Try again in {math.ceil(seconds)} s.",
        error=error or "no_reply",
        retry_after=seconds,
    )
