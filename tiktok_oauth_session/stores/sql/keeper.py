"""The leases that a process has or waits for, and the thread that renews them."""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable

from tiktok_oauth_session.errors import reason_of

log: logging.Logger = logging.getLogger(__name__)

#: Seconds that a lease outlives a holder that died.
LEASE_S = 18.0
#: Seconds of a lease where no thread can be started to renew it: longer than a refresh may take.
UNKEPT_LEASE_S = 60.0
#: Seconds from one renewal to the next. One that fails is tried again every second until the lease ends.
RENEW_S = 5.0
#: Seconds from a renewal that failed to the next try.
RETRY_S = 1.0
#: What to say of a lease that is somebody else's.
LOST = "an account's lock was lost: this process was held up for longer than it lasts"


class Lease:
    """One taking of one account's lock.

    Its holder is a text of its own: so nothing is shared with a forked child, and a statement that is
    repeated since its answer was lost finds what it did. Only what an earlier taking of this process may
    have left behind is taken up, by its holder.

    Args:
        account: The primary key.
    """

    def __init__(self, account: str) -> None:
        self.account = account
        self.holder: str = secrets.token_hex(16)
        #: How long it is from each renewal.
        self.seconds = LEASE_S
        #: When the statement was sent that it began with (`time.monotonic`): it is never older than that.
        self.began_at: float = -math.inf
        self.is_had = False
        #: Whether a statement that takes it may have done so without anybody knowing.
        self.is_unsettled = False
        #: Whether its account is deleted, and the row is to go as well.
        self.is_obsolete = False
        #: What was stored when it was taken, if that is known and nobody has asked yet.
        self.loaded: tuple[str | None, ...] = ()
        self.pid: int = os.getpid()

    @property
    def age(self) -> float:
        """Seconds since it began, or was renewed."""
        return time.monotonic() - self.began_at

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew it."""
        return self.age > RENEW_S

    @property
    def is_over(self) -> bool:
        """Whether somebody else may have it by now."""
        return not self.is_had or self.age >= self.seconds


class Keeper:
    """Renews the leases of one table, for one process, in a thread of its own while there are any."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._left: dict[str, Lease] = {}
        self._thread: threading.Thread | None = None

    def of(self, account: str) -> Lease | None:
        """Return the lease of an account that this process has, or waits for."""
        return self._leases.get(account)

    def expect(self, lease: Lease, renew: Callable[[list[Lease]], bool]) -> None:
        """Have a lease renewed, from when it is had until it is forgotten.

        Before it is taken: where no thread can be started, it is to last longer.

        Args:
            lease: The lease.
            renew: Renews some at once, those that are nobody else's; tells whether that is all of them.
        """
        with self._guard:
            self._leases[lease.account] = lease
            lease.holder = self._left.pop(lease.account, lease).holder
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, args=(renew,), name="tiktok-leases", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError:
                    # The interpreter is about to end, or there are too many.
                    self._thread = None
            lease.seconds = LEASE_S if self._thread else UNKEPT_LEASE_S

    def forget(self, lease: Lease) -> None:
        """Let a lease end."""
        with self._guard:
            self._leases.pop(lease.account, None)

    def leave(self, lease: Lease) -> None:
        """Remember a lease that nobody holds here and that may not be over: the next one takes it up."""
        lease.began_at = time.monotonic()
        with self._guard:
            self._left = {each.account: each for each in self._left.values() if each.age < each.seconds}
            self._left[lease.account] = lease

    def _run(self, renew: Callable[[list[Lease]], bool]) -> None:
        while True:
            time.sleep(self._seconds_to_renewal())
            with self._guard:
                if not self._leases:
                    self._thread = None
                    return
            if self._seconds_to_renewal() > 0:
                continue
            try:
                self._renew(self._had(), renew)
            except Exception as error:  # noqa: BLE001 - a driver, or whatever hands out passwords, may raise anything
                log.warning("accounts' locks could not be renewed, and end soon: %s", reason_of(error))
                time.sleep(RETRY_S)

    def _had(self) -> list[Lease]:
        return [lease for lease in list(self._leases.values()) if lease.is_had]

    def _seconds_to_renewal(self) -> float:
        """Return when the first lease is due. One that is taken from now on is due later."""
        return max(min((RENEW_S - lease.age for lease in self._had()), default=RENEW_S), 0.0)

    def _renew(self, leases: list[Lease], renew: Callable[[list[Lease]], bool]) -> None:
        if not leases or renew(leases):
            return
        if len(leases) > 1:
            # Which of them is it?
            for each in leases:
                self._renew([each], renew)
        elif self.of(leases[0].account) is leases[0]:
            # Else it has been released meanwhile.
            log.warning(LOST)
            leases[0].is_had = False
