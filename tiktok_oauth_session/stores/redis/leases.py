"""An account's lock as a lease: a key in Redis that ends by itself, and is renewed while its holder lives."""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

from redis.exceptions import RedisError

from tiktok_oauth_session._process import PerProcess
from tiktok_oauth_session.stores import KeyLocks
from tiktok_oauth_session.stores.redis.scripts import Script

log: logging.Logger = logging.getLogger(__name__)

#: Seconds that a lease outlives a holder that died.
LEASE_S = 18.0
#: Seconds from one renewal to the next. One that fails is tried again every second until the lease ends.
RENEW_S = 5.0
#: Seconds until a renewal that failed is tried again.
RENEW_AGAIN_S = 1.0
#: Seconds of a lease that no thread can renew, since none can be started: longer than a refresh takes.
UNKEPT_LEASE_S = 60.0
#: Seconds between two looks at a lease that another process holds: at first, and at most.
POLL_S = (0.02, 0.25)
#: Seconds for which what was read when a lease was taken counts as read just now.
JUST_NOW_S = 0.05

# Processes that were forked in C would share a generator's state, and look all at the same moments.
_random = secrets.SystemRandom()

# Whoever has it already takes it again: then the reply to an earlier try was lost.
#
# Our documents are ASCII. Of anything else a reader shall find out by itself what is wrong with it.
TAKE = Script(r"""
local lease, account = unpack(KEYS)
local holder, lease_ms = unpack(ARGV)
local held_by = redis.call('GET', lease)

if held_by and held_by ~= holder then
    return {0}
end
redis.call('SET', lease, holder, 'PX', lease_ms)
local document = redis.pcall('HGET', account, 'document')
if type(document) ~= 'string' or string.find(document, '[\128-\255]') then
    return {1}
end
return {1, document}
""")

RENEW = Script("""
local kept = {}
for n, lease in ipairs(KEYS) do
    local holder, lease_ms = ARGV[2 * n - 1], ARGV[2 * n]
    kept[n] = redis.call('GET', lease) == holder and redis.call('PEXPIRE', lease, lease_ms) or 0
end
return kept
""")

RELEASE = Script("""
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
""")


class Lease:
    """One taking of an account's lock, by one thread.

    It ends a time after the command was sent that took or renewed it, not after the reply came: by then
    it may be over.

    Args:
        client: A client of redis-py.
        name: The lease's key.
        account: The account's key.
    """

    def __init__(self, client: Any, name: str, account: str) -> None:
        self.client: Any = client
        self.name: str = name
        self._account = account
        #: Another one each time: a process, a thread and its next taking have nothing in common.
        self.holder: str = secrets.token_hex(16)
        self.seconds = LEASE_S
        #: By the monotonic clock.
        self.ends_at: float = -math.inf
        self._taken_at = -math.inf
        self._document: bytes | str | None = None

    @property
    def milliseconds(self) -> int:
        """How long it lasts, as Redis wants to hear it."""
        return int(self.seconds * 1000)

    @property
    def is_over(self) -> bool:
        """Whether it may have ended, or was never had."""
        return time.monotonic() >= self.ends_at

    def began(self, sent_at: float) -> None:
        """Note that it was taken or renewed by what was sent at a time (monotonic)."""
        self.ends_at = sent_at + self.seconds

    def take(self) -> bool:
        """Take it if it is free, or ours already; tell whether it could be had."""
        sent_at = time.monotonic()
        taken, *document = TAKE(self.client, [self.name, self._account], [self.holder, self.milliseconds])
        if taken:
            self.began(sent_at)
            self._taken_at, self._document = sent_at, next(iter(document), None)
        return bool(taken)

    def release(self) -> bool:
        """Free it; tell whether it was still had."""
        return bool(RELEASE(self.client, [self.name], [self.holder]))

    def pop_document(self) -> bytes | str | None:
        """Return what the account held when the lease was taken: once, and only just then."""
        document, self._document = self._document, None
        return document if time.monotonic() < self._taken_at + JUST_NOW_S else None


class Leases:
    """The leases of one store in one process, and the thread that renews them all in one round trip."""

    def __init__(self) -> None:
        #: The locks between this process's threads, one of which asks Redis for all.
        self.key_locks: KeyLocks = KeyLocks()
        self._process = PerProcess(object)
        self._guard = threading.Lock()
        self._held: dict[str, Lease] = {}
        self._left: dict[str, Lease] = {}
        self._keeper: threading.Thread | None = None

    def held(self, name: str) -> Lease | None:
        """Return the lease of a name that is being held, or taken."""
        return self._held.get(name)

    @contextlib.contextmanager
    def holding(self, lease: Lease, deadline: float) -> Iterator[bool]:
        """Hold a lease and have it renewed; yield whether it could be had.

        Args:
            lease: The lease. No other thread of this process may ask for its name.
            deadline: When to give up (monotonic).

        Raises:
            RedisError: Redis could not be asked.
            OSError: The same.
        """
        had, process = False, self._process.value
        try:
            # Before it is taken: whoever is handed a lease has somebody who renews it.
            self._keep(lease)
            try:
                had = self._taken(lease, deadline)
            except BaseException:
                # Nobody knows whether it is ours by now.
                self._leave(lease)
                raise
            yield had
        finally:
            # In a forked child it is the parent's, and the guard may never be free.
            if self._process.value is process:
                self._let_go(lease, had=had)

    def _taken(self, lease: Lease, deadline: float) -> bool:
        pause, longest = POLL_S
        # A reply that came too late tells of a lease that may be somebody else's by now.
        while not (lease.take() and not lease.is_over):
            left = deadline - time.monotonic()
            if left <= 0:
                if lease.ends_at > -math.inf:
                    # Or it is ours.
                    self._leave(lease)
                return False
            time.sleep(min(_random.uniform(0.5, 1.0) * pause, left))
            pause = min(pause * 1.5, longest)
        return True

    def _let_go(self, lease: Lease, *, had: bool) -> None:
        """Release a lease, or leave that to its end: what was done under it is done."""
        with self._guard:
            self._held.pop(lease.name, None)
        if not had:
            return
        try:
            if not lease.release():
                log.warning(
                    "%s ended before it was released: this process was held up, or Redis was", lease.name
                )
        except BaseException as error:
            self._leave(lease)
            if not isinstance(error, (RedisError, OSError)):
                raise
            log.warning("%s could not be released: %s", lease.name, error)

    def _leave(self, lease: Lease) -> None:
        """Remember a lease that nobody holds and that may not have ended: the next one here takes it up."""
        lease.began(time.monotonic())
        with self._guard:
            while self._left and next(iter(self._left.values())).is_over:
                del self._left[next(iter(self._left))]
            self._left[lease.name] = lease

    # --- renewing ----------------------------------------------------------------------------------

    def _keep(self, lease: Lease) -> None:
        """Have a lease renewed from when it is taken until it is let go; if nobody can, let it last."""
        with self._guard:
            self._held[lease.name] = lease
            lease.holder = self._left.pop(lease.name, lease).holder
            if self._keeper is not None and self._keeper.is_alive():
                return
            self._keeper = threading.Thread(target=self._renew_all, name="tiktok-oauth leases", daemon=True)
            try:
                self._keeper.start()
            except RuntimeError:
                self._keeper = None
                lease.seconds = UNKEPT_LEASE_S

    def _renew_all(self) -> None:
        pause = RENEW_S
        while True:
            time.sleep(pause)
            with self._guard:
                held = list(self._held.values())
                if not held:
                    self._keeper = None
                    return
            taken = [lease for lease in held if lease.ends_at > -math.inf]
            pause = RENEW_S if not taken or self._renew(taken) else RENEW_AGAIN_S

    def _renew(self, leases: list[Lease]) -> bool:
        """Let leases begin anew that are still ours; tell whether Redis could be asked."""
        sent_at = time.monotonic()
        arguments = [argument for lease in leases for argument in (lease.holder, lease.milliseconds)]
        try:
            kept = RENEW(leases[0].client, [lease.name for lease in leases], arguments)
        except (RedisError, OSError, ValueError) as error:
            # ValueError: a client that is closed meanwhile reads from a file that is.
            log.warning("locks could not be renewed, and end soon: %s", error)
            return False
        for lease, is_kept in zip(leases, kept, strict=True):
            if is_kept:
                lease.began(sent_at)
            elif self._held.get(lease.name) is lease:
                lease.ends_at = -math.inf
                log.warning("%s was lost: this process was held up, or Redis was", lease.name)
        return True


_by_client: PerProcess[weakref.WeakKeyDictionary[Any, dict[str, Leases]]] = PerProcess(
    weakref.WeakKeyDictionary
)


def leases_of(client: Any, prefix: str) -> Leases:
    """Return the leases of a store in this process, the same ones to every handle on it."""
    clients = _by_client.value
    leases = clients.get(client) or clients.setdefault(client, {})
    return leases.get(prefix) or leases.setdefault(prefix, Leases())
