"""A connection: which account, where its token lives, how it is refreshed, and when."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator

from tiktok_oauth_session._connection.process_memory import Untold, memory
from tiktok_oauth_session._connection.single_flight import HOLD_BACK_S, Flight, copy_of
from tiktok_oauth_session._connection.token_source import TokenSource
from tiktok_oauth_session._connection.transaction import Demand, ProgramEnded, Transaction
from tiktok_oauth_session._oauth.error_codes import Meaning, meaning_of
from tiktok_oauth_session._oauth.grants import RefreshGrant
from tiktok_oauth_session._process import main_thread_has_ended, start_thread, threads_stop_greenlets
from tiktok_oauth_session.errors import (
    ReauthorizationRequired,
    RevocationError,
    StoreError,
    TikTokOAuthError,
    TokenError,
    TokenNotSaved,
    reason_of,
)
from tiktok_oauth_session.events import ConnectionEvent, OnEvent, tell
from tiktok_oauth_session.tokens import Freshness, TikTokToken

log = logging.getLogger(__name__)

#: Seconds in which a refresh that is merely advisable has begun, or its caller goes on without it: somebody
#: may hold all connections to the database.
ADVISORY_PATIENCE_S = 0.25
#: Seconds that a caller waits beyond the deadline of a request, for its outcome.
OUTCOME_S = 0.5


class Connection:
    """Keeps one connection's token alive. Whatever speaks HTTP asks it for a token that works.

    Args:
        source: Where the token lives.
        grant: What asks TikTok for another one.
        on_event: Told what becomes of the connection.
    """

    def __init__(self, source: TokenSource, grant: RefreshGrant, on_event: OnEvent | None = None) -> None:
        self._source, self._grant, self._on_event = source, grant, on_event
        self._known = source.known
        #: What this caller waits for.
        self._flight: Flight | None = None

    # --- a token that works ------------------------------------------------------------------------

    def fresh(self, mine: TikTokToken) -> TikTokToken:
        """Return the token to use now.

        In the advisory window one caller refreshes and nobody else waits; in the mandatory window and
        after expiry everybody waits for the one refresh. While the old token works, a failure is a log
        line.

        Args:
            mine: The token as the caller last saw it.

        Raises:
            ReauthorizationRequired: Only a new login helps.
            TokenError: It has expired and could not be refreshed.
            TokenNotSaved: It was refreshed and could not be saved.
            StoreError: It has expired and the store failed.
        """
        freshness, pending = mine.freshness(), self._known.is_pending
        if not pending and freshness is Freshness.FRESH:
            return mine
        if not pending and freshness is not Freshness.EXPIRED and self._known.is_paused:
            return mine
        try:
            if not pending and freshness is Freshness.ADVISORY:
                return self._advisory(mine)
            return self._required(Demand(mine, _is_nearly_over))
        except TokenNotSaved:
            raise
        except (TokenError, StoreError) as error:
            if mine.freshness() is Freshness.EXPIRED:
                raise
            log.warning("the token could not be refreshed and still works: %s", error)
            self._known.pause(mine)
            return mine

    def renew(self, mine: TikTokToken, *, is_refused: bool = False) -> TikTokToken:
        """Return another token than `mine`: somebody else's newer one, or one that is asked for now.

        Args:
            mine: The token that will not do, although its time is not up.
            is_refused: Whether that is because TikTok says that it is dead.

        Raises:
            TokenError: As for `fresh`.
            StoreError: As for `fresh`.
        """

        def is_due(current: TikTokToken) -> bool:
            return current.access_token == mine.access_token or _is_nearly_over(current)

        return self._required(Demand(mine, is_due, is_refused=is_refused))

    def ahead(self, mine: TikTokToken, is_due: Callable[[TikTokToken], bool]) -> TikTokToken | None:
        """Refresh ahead of time, in this very thread, unless somebody else is at it or has done it.

        Args:
            mine: The token as the caller last saw it.
            is_due: Tells whether a token is to be refreshed, asked with the lock held.

        Returns:
            The new token; None if there was nothing to do.

        Raises:
            TokenError: As for `fresh`.
            StoreError: As for `fresh`.
        """
        due: list[TikTokToken] = []

        def is_still_due(current: TikTokToken) -> bool:
            due.extend([current] * is_due(current))
            return bool(due)

        token = self._inline(Demand(mine, is_still_due, lock_timeout=0.0))
        return token if due else None

    def end(self, mine: TikTokToken, revoke: Callable[[TikTokToken], None], *, may_refresh: bool) -> None:
        """Revoke, while nobody can refresh. A token that has expired, or is refused, is refreshed first.

        Args:
            mine: The token as the caller last saw it.
            revoke: Revokes a token and forgets it.
            may_refresh: Whether the caller has what a refresh needs.

        Raises:
            TokenError: It has expired, or was refused, and could not be refreshed.
            RevocationError: TikTok did not revoke it.
            StoreError: As for `fresh`.
        """
        flight = self._known.flight
        if flight is not None:
            flight.wait_for_result(self._until())
        if may_refresh and mine.freshness() is Freshness.EXPIRED:
            mine = self._required(Demand(mine, lambda current: current.freshness() is Freshness.EXPIRED))
        tried: list[TikTokToken] = []
        try:
            self._end(mine, revoke, tried)
        except RevocationError as error:
            if not (may_refresh and _is_of_the_token(error)):
                raise
            # TikTok says of a dead token just that the request is malformed. A refresh tells whether that is
            # so: whose connection was ended before has to log in again, and there is nothing to revoke.
            try:
                self._end(self.renew(tried[0], is_refused=True), revoke, tried)
            except (ReauthorizationRequired, TokenNotSaved):
                raise
            except (RevocationError, TokenError) as again:
                is_new = isinstance(again, RevocationError) and not _is_of_the_token(again)
                raise (again if is_new else error) from None

    def _end(
        self, mine: TikTokToken, revoke: Callable[[TikTokToken], None], tried: list[TikTokToken]
    ) -> None:
        ending = Transaction(
            self._source, self._grant, Demand(mine, _is_nearly_over), _no_flight(), is_inline=True
        )
        with ending.excluding_all():
            current, began = ending.current(), time.monotonic()
            tried.append(current)
            revoke(current)
            self._known.let_go()
        tell(ConnectionEvent("revoked", self._source.account, None, time.monotonic() - began), self._on_event)

    # --- by whom -----------------------------------------------------------------------------------

    def _advisory(self, mine: TikTokToken) -> TikTokToken:
        if self._runs_inline():
            demand = Demand(mine, _is_advisable, lock_timeout=0.0)
            return self._inline(demand) or mine
        if self._known.flight is not None:
            return mine
        demand = Demand(mine, _is_advisable, lock_timeout=0.0)
        with self._holding_back():
            flight = self._begun(demand, is_advisory=True)
            if flight is None:
                return mine
            return self._led(flight, self._until(), begun_by=time.monotonic() + ADVISORY_PATIENCE_S) or mine

    def _required(self, demand: Demand) -> TikTokToken:
        """Return a token for a demand, from this process's one refresh."""
        until, done = self._until(), None
        with self._holding_back():
            while done is None:
                if self._runs_inline():
                    done = self._inline_for(demand)
                    continue
                try:
                    done = self._shared(demand, until)
                except ProgramEnded:
                    # While this thread has not: it looks again at who is to refresh.
                    continue
        return done

    def _shared(self, demand: Demand, until: float) -> TikTokToken | None:
        """Return what this process's one refresh brings; None if that is no answer to the demand."""
        flight = self._known.flight
        if flight is not None:
            return self._joined(flight, demand, until)
        flight = self._begun(demand)
        if flight is not None:
            return self._led(flight, until)
        # Somebody was faster, or there is no thread to be had.
        return self._inline_for(demand) if self._known.flight is None else None

    @contextlib.contextmanager
    def _holding_back(self) -> Iterator[None]:
        """Let an interruption of the caller wait while a token is being spent.

        Job queues end the process as soon as it arrives at the top.
        """
        try:
            yield
        except TikTokOAuthError:
            raise
        except BaseException:
            if self._flight is not None:
                self._flight.hold_back()
            raise

    def _until(self) -> float:
        return time.monotonic() + self._grant.deadline_s + OUTCOME_S

    def _runs_inline(self) -> bool:
        """Tell whether this caller's thread is the one to refresh.

        Raises:
            TokenError: None is.
        """
        if main_thread_has_ended():
            if threading.current_thread().daemon:
                # It may be stopped at any moment, with the only copy of a token in hand.
                raise TokenError("The program has ended; nothing was spent.", error="no_reply")
            # The interpreter waits for this thread, and for others that begin now it may not.
            return True
        return not self._source.any_thread or self._source.is_locked_here() or threads_stop_greenlets()

    def _inline_for(self, demand: Demand) -> TikTokToken:
        token = self._inline(demand)
        if token is None:
            raise AssertionError("unreachable: a demand without a time limit is met, or it is an error")
        return token

    def _inline(self, demand: Demand) -> TikTokToken | None:
        transaction = Transaction(self._source, self._grant, demand, _no_flight(), is_inline=True)
        try:
            token = transaction.run()
            self._tell()
        except BaseException as error:
            self._tell_event(transaction, error)
            raise
        self._tell_event(transaction, None)
        return token

    def _begun(self, demand: Demand, *, is_advisory: bool = False) -> Flight | None:
        """Begin a refresh in a thread of its own; None if somebody else has, or no thread is to be had."""
        flight = Flight(is_advisory=is_advisory)
        context = contextvars.copy_context()
        transaction = Transaction(self._source, self._grant, demand, flight, is_inline=False)
        try:
            with memory().guard:
                if self._known.flight is not None:
                    return None
                self._known.flight = self._flight = flight
            start_thread(lambda: context.run(self._run, flight, transaction), "tiktok-oauth-refresh")
        except BaseException as error:
            if flight.abandon():
                self._remove(flight)
            if isinstance(error, RuntimeError):
                return None
            flight.leave()
            raise
        return flight

    def _remove(self, flight: Flight) -> None:
        with memory().guard:
            if self._known.flight is flight:
                self._known.flight = None

    def _run(self, flight: Flight, transaction: Transaction) -> None:
        """Be the thread of a refresh."""
        token: TikTokToken | None = None
        error: BaseException | None = None
        if not flight.begin():
            return
        try:
            token = transaction.run()
        except BaseException as failure:  # noqa: BLE001 - whatever it is, it is for those who wait
            error = failure
        # First: whoever comes from here on begins anew, with what the store holds by now.
        self._remove(flight)
        owes = self._known.untold is not None
        flight.end(token, error, is_safe=self._source.is_durable or not owes)
        if owes:
            self._tell_after(flight)
        self._tell_event(transaction, error)

    def _tell_after(self, flight: Flight) -> None:
        """See that the updater is told, by its caller, or here if that has gone or was cut short.

        Where it failed for the caller, and a store holds the token, the next call tells it again. Without a
        store the failure may have been a time limit of the caller's, and its process's end may follow.
        """
        flight.wait(time.monotonic() + HOLD_BACK_S, lambda: flight.leader_is_gone)
        if flight.tell_error is None or not self._source.is_durable:
            try:
                self._tell()
            except TokenNotSaved as error:
                log.warning("%s", error)
        flight.spared()

    # --- waiting -----------------------------------------------------------------------------------

    def _led(self, flight: Flight, until: float, *, begun_by: float | None = None) -> TikTokToken | None:
        """Wait for a refresh that this caller began, and tell its updater."""
        try:
            if begun_by is not None and not flight.wait(
                begun_by, lambda: flight.is_spending or flight.is_over
            ):
                return None
            token = self._outcome(flight, until)
            self._tell()
        except TokenNotSaved as error:
            if flight.is_over:
                flight.tell_error = error
                flight.leave()
                # A time limit may have cut the updater short, and the process's end may follow.
                flight.hold_back()
            raise
        finally:
            flight.leave()
        return token

    def _joined(self, flight: Flight, demand: Demand, until: float) -> TikTokToken | None:
        """Wait for somebody else's refresh; None if it is no answer to this caller's demand."""
        self._flight = flight
        try:
            token = self._outcome(flight, until)
        except TokenNotSaved:
            raise
        except (TokenError, StoreError):
            if flight.is_advisory and flight.is_over:
                return None
            raise
        if token is None or demand.is_due(token):
            return None
        if not self._source.is_durable:
            flight.wait(until, lambda: flight.leader_is_gone)
            if flight.tell_error is not None:
                raise copy_of(flight.tell_error)
            self._tell()
        return token

    def _outcome(self, flight: Flight, until: float) -> TikTokToken | None:
        if not flight.wait_for_result(until):
            if flight.is_lost and flight.abandon():
                self._remove(flight)
                return None
            raise TokenError(
                "The refresh takes longer than this session waits, or another process holds the account's "
                "lock for as long. Try again.",
                error="no_reply",
                retry_after=OUTCOME_S,
            )
        error = flight.error or flight.save_error
        if error is not None and flight.token is None:
            raise copy_of(error)
        return flight.token

    # --- telling -----------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Let an updater take a new token that it has yet to take: once, whoever comes.

        Raises:
            TokenNotSaved: It failed.
        """
        known = self._known
        if known.untold is None and (self._source.is_durable or not known.is_being_told):
            return
        with known.telling:
            # An updater that uses the session itself, and whoever waited for it, finds nothing more to tell.
            untold, known.untold = known.untold, None
            if untold is None:
                return
            known.is_being_told = True
            try:
                untold.updater(TikTokToken(untold.token))
            except Exception as failure:  # noqa: BLE001 - an updater may raise anything
                self._tell_again(untold, failure)
            except BaseException:
                if known.untold is None:
                    known.owe(untold)
                raise
            else:
                known.owe(known.untold)
            finally:
                known.is_being_told = False

    def _tell_again(self, untold: Untold, failure: Exception) -> None:
        newer = self._known.untold
        if newer is not None:
            # That is the one to be told.
            return
        if self._source.is_durable and untold.failures:
            self._known.owe(None)
            log.warning("token_updater failed again (%s); the store holds the token", reason_of(failure))
            return
        self._known.owe(untold._replace(failures=untold.failures + 1))
        where = "The store holds it" if self._source.is_durable else "The old refresh token is spent"
        raise TokenNotSaved(
            f"TikTok issued a new token and token_updater did not take it. {where}; the next call tells the "
            f"updater again, or save the `token` of this error yourself. ({reason_of(failure)})",
            token=untold.token,
        ) from failure

    def _tell_event(self, transaction: Transaction, error: BaseException | None) -> None:
        """Tell whoever watches what came of a refresh: last, since nobody knows how long that takes."""
        if transaction.event is not None:
            reason = None if transaction.event == "refreshed" or error is None else _reason(error)
            seconds = time.monotonic() - transaction.began
            tell(ConnectionEvent(transaction.event, self._source.account, reason, seconds), self._on_event)


def _reason(error: BaseException) -> str:
    """Return why there is no new token, in one word."""
    if isinstance(error, TikTokOAuthError) and error.error:
        return error.error
    return "store" if isinstance(error, StoreError) else type(error).__name__


def _is_nearly_over(token: TikTokToken) -> bool:
    return token.freshness() > Freshness.ADVISORY


def _is_advisable(token: TikTokToken) -> bool:
    return token.freshness() > Freshness.FRESH


def _no_flight() -> Flight:
    """Return what a refresh that nobody waits for tells its steps."""
    return Flight(is_advisory=False)


def _is_of_the_token(error: RevocationError) -> bool:
    """Tell whether a revocation may have been refused for its token."""
    is_busy = meaning_of(None, error.status_code) is Meaning.PASSING
    return not is_busy and meaning_of(error.error, error.status_code) in (
        Meaning.NEEDS_LOGIN,
        Meaning.REFUSED,
    )
