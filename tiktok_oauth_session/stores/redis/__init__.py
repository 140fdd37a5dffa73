"""Tokens in Redis, for all machines that reach it."""

from __future__ import annotations

import contextlib
import inspect
import logging
import secrets
import time
import weakref
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager
from typing import Any

try:
    from redis import Redis
    from redis.cluster import RedisCluster
    from redis.exceptions import RedisError, ResponseError
    from redis.lock import Lock
except ImportError as error:
    raise ImportError("RedisStore needs redis-py: pip install tiktok-oauth-session[redis]") from error

from tiktok_oauth_session._process import after_fork_in_child
from tiktok_oauth_session.errors import StoreError
from tiktok_oauth_session.stores import (
    LOCK_TIMEOUT_S,
    KeyLocks,
    TokenStore,
    check_replacing,
    required,
)
from tiktok_oauth_session.stores.redis.hash import (
    DELETE,
    MEND,
    SAVE,
    Damaged,
    document_of,
    key_of,
    member_of,
    quoted,
    scores_of,
    token_in,
)
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

log = logging.getLogger(__name__)

#: Seconds that a lock outlives a holder that died. A refresh takes at most three tries of 36 s and two
#: pauses of 30 s, so no living holder loses it; and it ends before those who wait give up
#: (`LOCK_TIMEOUT_S`), so one of them gets it.
LEASE_S = 170.0
#: Seconds between two looks at a lock that another process holds.
POLL_INTERVAL_S = 0.05
#: How many accounts are asked for at once when they are listed.
PAGE_LENGTH = 1000


class RedisStore(TokenStore):
    """Keeps tokens in Redis 6 or later, and two indexes of what expires next.

    The client is the caller's: its address, password, TLS, timeouts and retries are what it was made
    with, ``decode_responses`` may be on or off, and it is never closed here. Give it a
    ``socket_timeout``, or it may wait for a server that hangs, and let it read from the primary: a
    replica may not have the newest token yet.

    A save is one script: the comparison, the token and the indexes. The lock of an account is redis-py's
    own, a lease. The lease of a holder that died ends by itself; a holder that hangs for
    longer finds at its save that the token it refreshed is not there any more, and uses the newer one.

    What "durable" means is set in the server, not here. With ``appendonly yes`` and
    ``appendfsync always`` a saved token survives whatever stops the machine; with ``everysec``, the
    default, a crash of the machine (not of Redis) costs up to its last second, and each
    refresh in it an account; without an append-only file, everything since the last snapshot. A replica
    that takes over may lack the latest saves: ``min-replicas-to-write`` keeps that short.
    ``maxmemory-policy`` has to be ``noeviction``, or Redis forgets accounts when it is full.

    All keys of a store begin with its prefix. For Redis Cluster let the prefix be a hash tag
    (``"{tiktok-oauth}:"``), so that one script may touch them all.

    Args:
        client: A `redis.Redis` or `redis.cluster.RedisCluster`.
        prefix: What the names of all keys begin with.
        lease: Seconds after which a lock is free although nobody released it. Longer than a refresh with
            all its retries: raise it along with a session's ``token_timeout``.

    Raises:
        TypeError: The client is one of `redis.asyncio`.
        ValueError: The lease is no time at all: redis-py's lock would never end.
    """

    def __init__(
        self, client: Redis | RedisCluster, *, prefix: str = "tiktok-oauth:", lease: float = LEASE_S
    ) -> None:
        if inspect.iscoroutinefunction(client.execute_command):
            raise TypeError("RedisStore needs a client of redis, not of redis.asyncio.")
        if lease <= 0:
            raise ValueError("lease must be more than 0 seconds.")
        # Any: redis-py declares what a command returns for its two kinds of client at once.
        self._client: Any = client
        self._prefix = prefix
        self._lease = lease
        self._save_script = self._client.register_script(SAVE)
        self._delete_script = self._client.register_script(DELETE)
        self._locks = KeyLocks()
        self._become_a_holder()
        after_fork_in_child(self, RedisStore._become_a_holder)

    def _become_a_holder(self) -> None:
        self._holder = secrets.token_hex(16)

    def __repr__(self) -> str:
        """Show where, and nothing of how to get there."""
        return f"{type(self).__name__}(prefix={self._prefix!r})"

    # --- the contract ------------------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        """The client and the prefix."""
        return weakref.ref(self._client), self._prefix

    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return the account's token.

        Raises:
            StoreError: Redis cannot be read, or the account's key is damaged or of another type. It stays
                where it is, and stays an error, until a new login is saved.
        """
        token, damage = self._look(AccountKey(*key))
        if damage:
            raise StoreError(f"{damage}.")
        return token

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep the account's token. Does not wait for the account's lock.

        Raises:
            StoreConflict: Another token is stored.
            StoreError: It could not be written. What is damaged is kept aside, not overwritten, and only
                by a save that does not say `replacing`.
        """
        key = AccountKey(*key)
        document = document_of(key, token)
        how, aside = "replace", ""
        if replacing is None:
            how, aside = self._room_for(key)
        with _as_store_error("save", key):
            saved = self._save_script(
                keys=[self._account(key), *self._indexes, aside or self._account(key)],
                args=[
                    member_of(key),
                    *scores_of(token),
                    how,
                    secrets.token_hex(16),
                    # Last, for Redis quotes the first arguments of a command that it does not know.
                    document,
                    token.refresh_token or "",
                    replacing or "",
                ],
            )
        if not saved:
            check_replacing(key, self.load(key), replacing)
            raise StoreError(f"{self._account(key)} is damaged: its fields disagree. {MEND}.")

    def delete(self, key: AccountKey) -> None:
        """Forget the account."""
        key = AccountKey(*key)
        with self.lock(key), _as_store_error("delete", key):
            self._delete_script(keys=[self._account(key), *self._indexes], args=[member_of(key)])

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude all other threads, processes and machines, until the block or the lease ends."""
        return required(self._held(AccountKey(*key), LOCK_TIMEOUT_S), AccountKey(*key))

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Exclude all others, unless somebody is in already."""
        return self._held(AccountKey(*key), timeout)

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts, damaged ones included."""
        # Nothing in a quoted name means anything in a pattern.
        pattern = None if client_key is None else f"{quoted(client_key)}:*"
        seen = set()
        with _as_store_error("list"):
            for member, _ in self._client.zscan_iter(self._indexes[0], match=pattern, count=PAGE_LENGTH):
                # A scan may meet a member twice.
                if member not in seen:
                    seen.add(member)
                    yield from key_of(member)

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts that expire, soonest first."""
        return self._below(self._indexes[0], before)

    def refresh_expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts whose refresh token expires before a time, soonest first.

        Accounts of which nobody knows when that is are not among them.

        Args:
            before: Unix time in seconds.
        """
        return self._below(self._indexes[1], before)

    # --- keys --------------------------------------------------------------------------------------

    def _account(self, key: AccountKey) -> str:
        return f"{self._prefix}token:{member_of(key)}"

    @property
    def _indexes(self) -> tuple[str, str]:
        return f"{self._prefix}expires", f"{self._prefix}refresh-expires"

    def _look(self, key: AccountKey) -> tuple[TikTokToken | None, str]:
        """Return an account's token, and what is wrong with what is stored."""
        name = self._account(key)
        with _as_store_error("load", key):
            try:
                fields = self._client.hgetall(name)
                return (token_in(key, fields) if fields else None), ""
            except UnicodeDecodeError:
                return None, f"{name} is damaged. {MEND}"
            except Damaged as error:
                return None, f"{name} {error}"
            except ResponseError as error:
                if str(error).startswith("WRONGTYPE"):
                    return None, f"{name} is of another type than a token's. {MEND}"
                raise

    def _room_for(self, key: AccountKey) -> tuple[str, str]:
        """Return how to save a new login: over what is there, or keeping that aside, and where."""
        _, damage = self._look(key)
        if not damage:
            return "overwrite", ""
        aside = f"{self._prefix}damaged:{member_of(key)}:{time.time_ns()}"
        log.warning("keeping damage aside as %s: %s", aside, damage)
        return "keep aside", aside

    def _below(self, index: str, before: float) -> Iterator[AccountKey]:
        lowest, seen = "-inf", set[Any]()
        while True:
            # Not by position: that shifts whenever an account is refreshed. Twice what was seen, so that any
            # number of accounts that expire at the same moment is through in a few pages.
            length = PAGE_LENGTH + 2 * len(seen)
            with _as_store_error("list"):
                page = self._client.zrangebyscore(
                    index, lowest, f"({float(before)!r}", start=0, num=length, withscores=True
                )
            fresh = [member for member, _ in page if member not in seen]
            for member in fresh:
                yield from key_of(member)
            if len(page) < length:
                return
            last = page[-1][1]
            lowest, seen = repr(last), {member for member, score in page if score == last}

    # --- locks -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _held(self, key: AccountKey, timeout: float) -> Iterator[bool]:
        between_threads = self._locks.of(key)
        with between_threads.held(timeout=timeout) as held:
            if not held or between_threads.depth > 1:
                yield held
                return
            with _as_store_error("lock", key):
                lease = self._client.lock(
                    f"{self._prefix}lock:{member_of(key)}",
                    timeout=self._lease,
                    sleep=POLL_INTERVAL_S,
                    lock_class=_Lease,
                )
                had = lease.acquire(blocking=timeout > 0, blocking_timeout=timeout, token=self._holder)
            try:
                yield had
            finally:
                if had:
                    _release(lease, key)


class _Lease(Lock):
    """redis-py's lock, which knows its holder again.

    A holder whose reply was lost, or that could not release because Redis was away, has the lock
    already: it would wait for itself until the lease ends.
    """

    def do_acquire(self, token: Any) -> bool:
        """Take the lock, or take it up again."""
        if super().do_acquire(token):
            return True
        milliseconds = int((self.timeout or 0) * 1000)
        reacquire: Any = self.lua_reacquire
        return bool(reacquire(keys=[self.name], args=[token, milliseconds], client=self.redis))


def _release(lease: _Lease, key: AccountKey) -> None:
    """Release a lock, or leave that to the lease's end: what was done under it is done."""
    try:
        lease.release()
    except (RedisError, OSError) as error:
        log.warning("the lock of account %s could not be released: %s", key.open_id, error)


@contextlib.contextmanager
def _as_store_error(what: str, key: AccountKey | None = None) -> Iterator[None]:
    about = f"account {key.open_id}" if key else "the accounts"
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreError(
            f"Redis could not {what} {about}: {type(error).__name__}: {error}. Check that the server runs, "
            "that it has room, and that this client may use it."
        ) from error
