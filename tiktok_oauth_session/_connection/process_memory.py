"""What a process knows of its connections' refreshes, beside what stores know."""

from __future__ import annotations

import collections
import hashlib
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_session._process import PerProcess, is_running, process_space
from tiktok_oauth_session.errors import TokenError
from tiktok_oauth_session.stores import KeyLock, TokenStore
from tiktok_oauth_session.tokens import AccountKey, Freshness, TikTokToken

if TYPE_CHECKING:
    from tiktok_oauth_session._connection.single_flight import Flight

#: Called with the new token after every refresh.
Updater = Callable[[TikTokToken], object]

#: Seconds without another attempt after a refresh failed whose old token still works; less when it
#: has less than twice that to live.
WORKING_PAUSE_S = 60.0
#: Seconds without another request of an app that TikTok refuses; doubled each time, up to the cap.
APP_PAUSE_S = 30.0
APP_PAUSE_CAP_S = 900.0
#: How many connections, and how many apps, a process remembers.
REMEMBERED_CONNECTIONS = 10_000
REMEMBERED_APPS = 100
#: Digits of a process id at most.
PID_DIGITS = 9


class Untold(NamedTuple):
    """A new token that an updater has yet to take."""

    token: TikTokToken
    updater: Updater
    #: How often it has failed.
    failures: int = 0


class KnownConnection:
    """What a process knows of one connection, for all of its sessions."""

    def __init__(self) -> None:
        self.flight: Flight | None = None
        #: Excludes the process's threads, where there is no store to do it.
        self.lock = KeyLock()
        #: The newest token, where no store holds it.
        self.token: TikTokToken | None = None
        #: The refresh token that was spent, and what came for it and is not saved yet.
        self.unsaved: tuple[str, TikTokToken] | None = None
        self.untold: Untold | None = None
        #: Held while an updater is told.
        self.telling = threading.RLock()
        self.is_being_told = False
        #: The refresh token that TikTok refused, where no store says so.
        self.refused: str | None = None
        #: Whether the process has forgotten it, although its refresh is still ending.
        self.is_forgotten = False
        self._paused_until = 0.0

    def pause(self, token: TikTokToken) -> None:
        """Let the working token be used for a while without another attempt."""
        left = max((token.expires_at or 0.0) - time.time(), 0.0)
        self._paused_until = time.monotonic() + min(WORKING_PAUSE_S, left / 2)

    @property
    def is_paused(self) -> bool:
        """Whether an attempt failed a moment ago."""
        return time.monotonic() < self._paused_until

    @property
    def is_pending(self) -> bool:
        """Whether a new token waits for a store or an updater to take it."""
        return self.unsaved is not None or self.untold is not None

    def keep(self, spent: str, token: TikTokToken) -> None:
        """Hold the only copy of a new token."""
        self.unsaved = (spent, token)
        self._remember_what_is_pending()

    def settle(self) -> None:
        """Let go of a new token that is safe now, or no longer wanted."""
        self.unsaved = None
        self._remember_what_is_pending()

    def owe(self, untold: Untold | None) -> None:
        """Remember which updater is to be told what; None if none is (any more)."""
        self.untold = untold
        self._remember_what_is_pending()

    def let_go(self) -> None:
        """Let go of whatever waits to be taken: the connection is over, or begins anew."""
        self.unsaved = None
        self.owe(None)

    def _remember_what_is_pending(self) -> None:
        if self.is_pending and not self.is_forgotten:
            pending.add(self)
        else:
            pending.discard(self)


_Connections = collections.OrderedDict[Hashable, KnownConnection]

#: The connections with a new token that waits to be taken. Empty nearly always, and looked at by every call.
pending: set[KnownConnection] = set()


class ProcessMemory:
    """The connections that a process knows: by store and account, or by refresh token without a store.

    Args:
        parents: What the process that forked this one knew. Its locks and flights stay there.
    """

    def __init__(self, parents: ProcessMemory | None = None) -> None:
        # A signal's handler may use a session while its thread is in here.
        self.guard = threading.RLock()
        #: Who this process is to others that share a store.
        self.holder = f"{os.getpid()}.{process_space()}.{secrets.token_hex(8)}"
        self._in_stores: _Connections = collections.OrderedDict()
        self._without_store: _Connections = collections.OrderedDict()
        self._of_sessions: weakref.WeakKeyDictionary[Hashable, _Connections] = weakref.WeakKeyDictionary()
        self._refused_apps: collections.OrderedDict[Hashable, _RefusedApp] = collections.OrderedDict()
        known_before = parents._without_store if parents else {}  # noqa: SLF001 - of the same class
        for name, theirs in list(known_before.items()):
            self._without_store[name] = known = KnownConnection()
            known.token, known.refused = theirs.token, theirs.refused

    def in_store(self, store: TokenStore, key: AccountKey) -> KnownConnection:
        """Return what is known of a stored connection, the same through every handle on its store."""
        return self._remembered(self._in_stores, (store.identity, key))

    def without_store(
        self, app: Hashable, token: TikTokToken, session: Hashable | None = None
    ) -> KnownConnection:
        """Return what is known of a connection that only sessions of this process hold.

        Args:
            app: Who issued the token, and to which app.
            token: The token as its session holds it.
            session: The session that alone finds it again; None lets all of the process find it.
        """
        name = _name(app, token)
        with self.guard:
            connections = self._connections_of(session)
            there = connections.get(name)
            if there is not None and there.flight is None and not there.is_pending:
                successor = there.token or token
                if (
                    successor.refresh_token != token.refresh_token
                    and successor.freshness() is Freshness.EXPIRED
                ):
                    # It is no news any more, and whoever comes with the old token has missed it for long.
                    del connections[name]
        return self._remembered(connections, name)

    def also_known_as(
        self,
        app: Hashable,
        token: TikTokToken,
        connection: KnownConnection,
        session: Hashable | None = None,
    ) -> None:
        """Let a connection without a store be found by its next refresh token, too."""
        self._remembered(self._connections_of(session), _name(app, token), connection)

    def _connections_of(self, session: Hashable | None) -> _Connections:
        if session is None:
            return self._without_store
        return self._of_sessions.setdefault(session, collections.OrderedDict())

    def forget(self, store: TokenStore, key: AccountKey) -> None:
        """Drop what is known of a stored connection, which a login has replaced."""
        with self.guard:
            known = self._in_stores.pop((store.identity, key), None)
        if known is not None:
            known.let_go()

    def _remembered(
        self,
        known: _Connections,
        name: Hashable,
        connection: KnownConnection | None = None,
    ) -> KnownConnection:
        with self.guard:
            connection = connection or known.get(name) or KnownConnection()
            known[name] = connection
            known.move_to_end(name)
            if len(known) > REMEMBERED_CONNECTIONS:
                _drop_one(known)
            return connection

    # --- apps --------------------------------------------------------------------------------------

    def require_app(self, app: Hashable) -> None:
        """Spare TikTok an app that it has just refused.

        What it says of an app stays in the process: another worker may have the right secret already.

        Args:
            app: The client key and the secret, or what stands for them.

        Raises:
            TokenError: TikTok refused it a moment ago.
        """
        refused = self._refused_apps.get(app)
        left = refused.until - time.monotonic() if refused else 0.0
        if refused and left > 0:
            raise TokenError(
                f"TikTok gave this app no token ({refused.error}); it is not asked again for {left:.0f} s. "
                "Check the client key and the secret.",
                error=refused.error,
                retry_after=left,
            )

    def refuse_app(self, app: Hashable, error: str) -> float:
        """Remember that TikTok refuses an app; return for how many seconds."""
        with self.guard:
            before = self._refused_apps.get(app)
            pause = min(2 * before.pause_s if before else APP_PAUSE_S, APP_PAUSE_CAP_S)
            self._refused_apps[app] = _RefusedApp(error, pause, time.monotonic() + pause)
            while len(self._refused_apps) > REMEMBERED_APPS:
                self._refused_apps.popitem(last=False)
        return pause

    def accept_app(self, app: Hashable) -> None:
        """Forget that TikTok refused an app."""
        self._refused_apps.pop(app, None)


class _RefusedApp(NamedTuple):
    error: str
    pause_s: float
    until: float


def _drop_one(known: _Connections) -> None:
    """Forget the connection that was asked for longest ago, of those where nothing is going on."""
    for name, each in known.items():
        if each.flight is None and not each.is_pending:
            del known[name]
            return


def _name(app: Hashable, token: TikTokToken) -> Hashable:
    digest = hashlib.sha256((token.refresh_token or "").encode("utf-8", "surrogatepass"))
    return app, digest.hexdigest()


_latest: ProcessMemory | None = None


def _begin() -> ProcessMemory:
    global _latest  # noqa: PLW0603 - a forked child begins with what its parent knew
    pending.clear()
    _latest = ProcessMemory(_latest)
    return _latest


_memory = PerProcess(_begin)


def memory() -> ProcessMemory:
    """Return the one memory of this process."""
    return _memory.value


def is_alive(holder: str | None) -> bool | None:
    """Tell whether a process lives, by its name as a holder; None where that cannot be seen from here."""
    pid, space, _ = ((holder or "") + "..").split(".", 2)
    # No system has a longer one.
    is_pid = pid.isdecimal() and len(pid) <= PID_DIGITS
    return is_running(int(pid)) if is_pid and space == process_space() else None


def forget_connections() -> None:
    """Forget every connection, as a process that starts now would know none; for tests."""
    global _latest, _memory
    for known in list(pending):
        known.is_forgotten = True
        if known.flight is not None:
            known.flight.give_up()
    _latest, _memory = None, PerProcess(_begin)
    pending.clear()
