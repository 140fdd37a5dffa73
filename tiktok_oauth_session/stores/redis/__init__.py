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
except ImportError as _missing:
    raise ImportError("RedisStore needs redis-py: pip install tiktok-oauth-session[redis]") from _missing

from tiktok_oauth_session.errors import StoreConflict, StoreError
from tiktok_oauth_session.stores import (
    LOCK_TIMEOUT_S,
    TokenStore,
    check_replacing,
    required,
)
from tiktok_oauth_session.stores.envelope import Unreadable, written
from tiktok_oauth_session.stores.redis.hash import (
    DELETE,
    MARK,
    MEND,
    NO_LEASE,
    OTHER_TOKEN,
    SAVE,
    SAVED,
    key_of,
    member_of,
    quoted,
    scores_of,
    token_in,
)
from tiktok_oauth_session.stores.redis.leases import Lease, leases_of
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

log: logging.Logger = logging.getLogger(__name__)

#: How many accounts are asked for at once when they are listed.
PAGE_LENGTH = 1000


class RedisStore(TokenStore):
    """Keeps tokens in Redis 6 or later, and two indexes of what expires next.

    The client is the caller's: its address, password, TLS, timeouts and retries are what it was made
    with, ``decode_responses`` may be on or off, and it is never closed here. Give it a
    ``socket_timeout``, or it may wait for a server that hangs, and let it read from the primary: a
    replica may not have the newest token yet.

    A save is one script: the comparison, the token and the indexes. The lock of an account is a lease: a key
    that ends 18 s after its holder died, by Redis' own clock, and that a thread renews every 5 s while its
    holder lives. A holder that was held up for longer (a paused machine, a Redis that was away) has lost it:
    it may not begin a refresh any more, and what a refresh has brought it saves only in place of the token
    that it spent. Nobody keeps a connection between two commands, and a forked child shares neither
    connections nor locks, whoever forked it.

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

    Raises:
        TypeError: The client is one of `redis.asyncio`.
        ValueError: The client has one connection for all threads, which a forked child would use as well.
    """

    def __init__(self, client: Redis | RedisCluster, *, prefix: str = "tiktok-oauth:") -> None:
        if inspect.iscoroutinefunction(client.execute_command):
            raise TypeError("RedisStore needs a client of redis, not of redis.asyncio.")
        if getattr(client, "connection", None) is not None:
            raise ValueError("RedisStore needs a client with a pool: leave out single_connection_client.")
        # Any: redis-py declares what a command returns for its two kinds of client at once.
        self._client: Any = client
        self._prefix = prefix

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
        key = AccountKey(*key)
        token, damage = self._look(key, self._document_read(key))
        if damage:
            raise StoreError(f"{damage}.")
        return token

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep the account's token. Does not wait for the account's lock.

        Raises:
            StoreConflict: Another token is stored; or this very one is, and the calling thread has lost the
                account's lock, or never had it.
            StoreError: It could not be written. What is damaged is kept aside, not overwritten, and only
                by a save that does not say `replacing`.
        """
        key = AccountKey(*key)
        document = written(key, token)
        how = self._how(key, token, replacing)
        lease = self._lease_here(key)
        arguments = [
            member_of(key),
            *scores_of(token),
            how,
            secrets.token_hex(16),
            lease.holder if lease else "",
            lease.milliseconds if lease else 0,
            document,
            token.refresh_token or "",
            replacing or "",
        ]
        keys = [self._account(key), *self._indexes, self._aside(key), self._lease_name(key)]
        outcome = self._saved(key, keys, arguments, lease if how == MARK else None)
        if outcome == NO_LEASE:
            raise StoreConflict(
                f"The lock of account {key.open_id} is not held (any more); nothing was written."
            )
        if outcome == OTHER_TOKEN:
            check_replacing(key, self.load(key), replacing)
            raise StoreError(f"{self._account(key)} is damaged: its fields disagree; {MEND}.")

    def delete(self, key: AccountKey) -> None:
        """Forget the account, with what was kept aside of it."""
        key = AccountKey(*key)
        with self.lock(key), _as_store_error("delete", key):
            self._document_read(key)
            DELETE(self._client, [self._account(key), *self._indexes, self._aside(key)], [member_of(key)])

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

    def require_writable(self, client_key: str) -> None:
        """Find out whether a key could be written, by one that ends at once."""
        with _as_store_error("write"):
            self._client.set(f"{self._prefix}write-test", "", px=1)

    # --- keys --------------------------------------------------------------------------------------

    def _account(self, key: AccountKey) -> str:
        return f"{self._prefix}token:{member_of(key)}"

    @property
    def _indexes(self) -> tuple[str, str]:
        return f"{self._prefix}expires", f"{self._prefix}refresh-expires"

    def _aside(self, key: AccountKey) -> str:
        """Return where damage is kept; the next damage of the same account takes its place."""
        return f"{self._prefix}damaged:{member_of(key)}"

    def _lease_name(self, key: AccountKey) -> str:
        return f"{self._prefix}lock:{member_of(key)}"

    def _look(self, key: AccountKey, document: bytes | str | None = None) -> tuple[TikTokToken | None, str]:
        """Return an account's token, and what is wrong with what is stored.

        Args:
            key: Whose token.
            document: What is stored, if that is known.
        """
        name = self._account(key)
        with _as_store_error("load", key):
            try:
                fields = {"document": document} if document else self._client.hgetall(name)
                return (token_in(key, fields) if fields else None), ""
            except UnicodeDecodeError:
                return None, f"{name} is damaged: {MEND}"
            except Unreadable as error:
                return None, f"{name} {error}"
            except ResponseError as error:
                if str(error).startswith("WRONGTYPE"):
                    return None, f"{name} is of another type than a token's: {MEND}"
                raise

    def _saved(self, key: AccountKey, keys: list[str], arguments: list[Any], lease: Lease | None) -> int:
        """Save, and renew the lease that it takes, if any; return what the script says."""
        # From here on, what was read under this lock may not be what is stored.
        self._document_read(key)
        while True:
            sent_at = time.monotonic()
            with _as_store_error("save", key):
                outcome = int(SAVE(self._client, keys, arguments))
            if lease is None or outcome != SAVED:
                return outcome
            lease.began(sent_at)
            if not lease.is_over:
                return outcome
            # The reply came so late that the lease may be somebody else's. Sent again, it is the same save.

    def _how(self, key: AccountKey, token: TikTokToken, replacing: str | None) -> str:
        """Return how to save a token."""
        if replacing is not None:
            return MARK if token.refresh_token == replacing else "replace"
        _, damage = self._look(key)
        if not damage:
            return "overwrite"
        log.warning("keeping damage aside as %s: %s", self._aside(key), damage)
        return "keep aside"

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
        deadline = time.monotonic() + timeout
        leases = leases_of(self._client, self._prefix)
        between_threads = leases.key_locks.of(key)
        with between_threads.held(timeout=timeout) as inside, contextlib.ExitStack() as stack:
            had = inside
            if inside and between_threads.depth == 1:
                lease = Lease(self._client, self._lease_name(key), self._account(key))
                # Around the taking only: what is done under the lock has errors of its own.
                with _as_store_error("lock", key):
                    had = stack.enter_context(leases.holding(lease, deadline))
            yield had

    def _lease_here(self, key: AccountKey) -> Lease | None:
        """Return the lease by which the calling thread has the account's lock."""
        if not self.is_locked_here(key):
            return None
        return leases_of(self._client, self._prefix).held(self._lease_name(key))

    def _document_read(self, key: AccountKey) -> bytes | str | None:
        """Return what the account held when this thread took its lock, just now; only once."""
        lease = self._lease_here(key)
        return None if lease is None else lease.pop_document()


@contextlib.contextmanager
def _as_store_error(what: str, key: AccountKey | None = None) -> Iterator[None]:
    about = f"account {key.open_id}" if key else "the accounts"
    try:
        yield
    except (RedisError, OSError) as error:
        why = str(error).rstrip(".")
        raise StoreError(
            f"Redis could not {what} {about}: {type(error).__name__}: {why}. Check that the server runs, "
            "that it has room, and that this client may use it."
        ) from error
