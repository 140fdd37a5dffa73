"""What a process knows of its connections' refreshes, beside what stores know."""

from __future__ import annotations

import collections
import copy
import threading
import time
from collections.abc import Hashable

from tiktok_oauth_session._process import after_fork_in_child
from tiktok_oauth_session.errors import StoreError, TokenError
from tiktok_oauth_session.stores import KeyLock, TokenStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

#: Seconds without another attempt after a refresh failed whose old token still works; less when it
#: has less than twice that to live.
PAUSE_S = 60.0
#: How many connections a process remembers.
REMEMBERED_CONNECTIONS = 10_000


class Flight:
    """What a process knows of one connection's refreshes, for all of its sessions."""

    def __init__(self) -> None:
        self.lock = KeyLock()
        #: The newest token, where no store holds it.
        self.token: TikTokToken | None = None
        #: The refresh token that TikTok refused, if the store could not be told.
        self.refused: str | None = None
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
        # A twin: the traceback of the original would keep the session and its store alive.
        self._failure = (time.monotonic(), _twin(error))

    def failure_since(self, moment: float) -> TokenError | StoreError | None:
        """Return the failure that came while somebody waited from `moment` on."""
        if self._failure is None or self._failure[0] < moment:
            return None
        return _twin(self._failure[1])


def _twin(error: TokenError | StoreError) -> TokenError | StoreError:
    try:
        twin = copy.copy(error)
    except TypeError:
        # A store's own error, which takes other arguments than ours.
        return StoreError(str(error))
    twin.response = error.response
    return twin


class Flights:
    """The flights of this process: per store and account, or per refresh token without a store."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._in_stores: collections.OrderedDict[Hashable, Flight] = collections.OrderedDict()
        self._storeless: collections.OrderedDict[Hashable, Flight] = collections.OrderedDict()
        self._unsaved: dict[str, TikTokToken] = {}
        after_fork_in_child(self, Flights._leave_locks)

    def _leave_locks(self) -> None:
        """In a forked child: whoever held a lock does not exist here. What is known stays known."""
        self._guard = threading.Lock()
        for flight in self._storeless.values():
            flight.lock = KeyLock()

    def of(self, store: TokenStore, key: AccountKey) -> Flight:
        """Return the flight of a stored connection, the same one through every handle on its store."""
        return self._remembered(self._in_stores, (store.identity, key))

    def storeless(self, key: AccountKey) -> Flight:
        """Return the flight of a connection that only sessions of this process hold."""
        return self._remembered(self._storeless, key)

    def forget(self, store: TokenStore, key: AccountKey) -> None:
        """Drop what is known of a stored connection."""
        with self._guard:
            self._in_stores.pop((store.identity, key), None)

    def also_known_as(self, key: AccountKey, flight: Flight) -> None:
        """Let a storeless connection be found by its next refresh token, too."""
        self._remembered(self._storeless, key, flight)

    def _remembered(
        self,
        known: collections.OrderedDict[Hashable, Flight],
        name: Hashable,
        flight: Flight | None = None,
    ) -> Flight:
        with self._guard:
            flight = flight or known.get(name) or Flight()
            known[name] = flight
            known.move_to_end(name)
            while len(known) > REMEMBERED_CONNECTIONS:
                known.popitem(last=False)
            return flight

    def keep_unsaved(self, spent: str, token: TikTokToken) -> None:
        """Hold the only copy of a new token, under the refresh token that it came for.

        For the whole process: a web application makes its session, and perhaps its store, anew for
        every request.
        """
        self._unsaved[spent] = token

    def unsaved_for(self, spent: str | None) -> TikTokToken | None:
        """Return the token that came for a refresh token and could not be saved."""
        return self._unsaved.get(spent or "")

    def settle(self, token: TikTokToken) -> None:
        """Let go of a token that is safe now, or no longer wanted."""
        for spent, unsaved in list(self._unsaved.items()):
            if unsaved.refresh_token == token.refresh_token:
                self._unsaved.pop(spent, None)

    def forget_unsaved(self, spent: str | None) -> None:
        """Let go of what came for a refresh token whose account is gone."""
        unsaved = self.unsaved_for(spent)
        if unsaved is not None:
            self.settle(unsaved)


#: The one memory of this process.
flights = Flights()


def is_unsaved(token: TikTokToken) -> bool:
    """Tell whether there is a successor of a token that no store has taken yet."""
    return flights.unsaved_for(token.refresh_token) is not None
