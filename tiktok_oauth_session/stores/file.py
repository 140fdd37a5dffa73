"""Tokens in files, one for each account, for all processes of one machine."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiktok_oauth_session.plain_errors import StoreError
from tiktok_oauth_session.stores import (
    LOCK_TIMEOUT_S,
    KeyLocks,
    TokenStore,
    check_replacing,
    due,
    lock_timeout,
)
from tiktok_oauth_session.stores.private_files import (
    FILE_MODE,
    as_store_error,
    fail,
    file_name,
    lock_file,
    require_ours,
)
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

log = logging.getLogger(__name__)

#: The version of the file's envelope. A later version of this package reads all earlier ones.
ENVELOPE_VERSION = 1

# Without these (Windows), symlinks are not refused and directories not synchronised.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
# Opening a pipe in a file's place must not wait for somebody to write to it.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


class FileStore(TokenStore):
    """Keeps each account's token in a file of its own, below one directory per client key.

    A save is a temporary file, flushed to the disk, that replaces the old one in one step: whatever
    is killed, or however the machine stops, a file holds the token before or the token after. The
    lock of an account is a lock of the operating system on a ``.lock`` file that is never deleted;
    it is free as soon as its holder dies. Files are readable by their owner alone. Symlinks, and
    files that belong to somebody else, are refused.

    Not for network file systems, whose locks do not exclude other machines: see
    `tiktok_oauth_session.stores.sql` and `tiktok_oauth_session.stores.redis`.

    Args:
        directory: Where to keep the files; ``~`` is expanded. Created when something is first saved.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory).expanduser()
        self._locks = KeyLocks()

    def __repr__(self) -> str:
        """Show where."""
        return f"{type(self).__name__}({str(self.directory)!r})"

    # --- the contract ------------------------------------------------------------------------------

    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return the account's token.

        Raises:
            StoreError: The file cannot be read, is not ours, or is damaged. A damaged file stays where it
                is, and stays an error, until a new login is saved.
        """
        key = AccountKey(*key)
        path = self._path(key)
        envelope = _read(path)
        if envelope is None:
            return None
        stored_key, token = _opened(path, envelope)
        if stored_key != key:
            fail(f"{path} holds the token of another account")
        return token

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep the account's token.

        Raises:
            StoreConflict: Another token is stored.
            StoreError: It could not be written. A damaged file is kept aside, not overwritten, and only
                by a save that does not say `replacing`.
        """
        key = AccountKey(*key)
        path = self._path(key)
        envelope = {
            "format": "tiktok-oauth-session token",
            "version": ENVELOPE_VERSION,
            "client_key": key.client_key,
            "open_id": key.open_id,
            "saved_at": int(time.time()),
            "token": dict(token),
        }
        try:
            text = json.dumps(envelope, indent=1)
        except (TypeError, ValueError) as error:
            raise StoreError(f"The token of {key.open_id} is not JSON: {error}") from None
        with self.lock(key):
            if replacing is not None:
                if not path.with_suffix(".lock").exists():
                    # Nobody deletes a lock file: not a logout, but somebody at the directory.
                    fail(f"{path.parent} was removed or replaced meanwhile")
                check_replacing(key, self.load(key), replacing)
            aside = None if replacing is not None else self._aside(key)
            _replace(path, text.encode(), aside=aside)

    def delete(self, key: AccountKey) -> None:
        """Forget the account. Its empty lock file stays."""
        key = AccountKey(*key)
        path = self._path(key)
        if not path.parent.exists():
            return
        with self.lock(key), as_store_error("delete", path):
            _temporary(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            _sync_directory(path.parent)

    @contextlib.contextmanager
    def lock(self, key: AccountKey) -> Iterator[None]:
        """Exclude all other threads and processes of this machine."""
        with self._held(AccountKey(*key), LOCK_TIMEOUT_S) as held:
            if not held:
                raise lock_timeout(AccountKey(*key))
            yield

    @contextlib.contextmanager
    def try_lock(self, key: AccountKey) -> Iterator[bool]:
        """Exclude all others, unless somebody is in already."""
        with self._held(AccountKey(*key), 0) as held:
            yield held

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts. A damaged file is passed over with a warning."""
        return (key for key, _ in self._accounts(client_key))

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts that expire, soonest first. Reads every file."""
        return iter(due(self._accounts(None), before))

    # --- files -------------------------------------------------------------------------------------

    def _path(self, key: AccountKey) -> Path:
        return self.directory / file_name(key.client_key) / f"{file_name(key.open_id)}.json"

    def _accounts(self, client_key: str | None) -> Iterator[tuple[AccountKey, TikTokToken]]:
        below = "*" if client_key is None else file_name(client_key)
        for path in sorted(self.directory.glob(f"{below}/*.json")):
            try:
                envelope = _read(path)
                if envelope is not None:
                    yield _opened(path, envelope)
            except StoreError as error:
                log.warning("passing over an account: %s", error)

    def _aside(self, key: AccountKey) -> Path | None:
        """Return where to keep the account's file if it is damaged; None if it is not, or not there."""
        path = self._path(key)
        envelope = _read(path)
        try:
            if envelope is None or _opened(path, envelope)[0] == key:
                return None
        except StoreError as error:
            log.warning("keeping a damaged file aside: %s", error)
        return path.with_name(f"{path.stem}.damaged-{time.time_ns()}")

    @contextlib.contextmanager
    def _held(self, key: AccountKey, timeout: float) -> Iterator[bool]:
        between_threads = self._locks.of(key)
        path = self._path(key).with_suffix(".lock")
        with between_threads.held(timeout=timeout) as held:
            if not held or between_threads.depth > 1:
                yield held
                return
            with lock_file(path, timeout, root=self.directory) as held_by_us:
                yield held_by_us


def _temporary(path: Path) -> Path:
    # One name for each account: whoever holds its lock finds, and removes, what a killed process left.
    return path.with_name(f".{path.name}.tmp")


def _read(path: Path) -> bytes | None:
    with as_store_error("read", path):
        try:
            descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW | _NONBLOCK | _BINARY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            require_ours(path, os.fstat(descriptor))
            return file.read()


def _opened(path: Path, envelope: bytes) -> tuple[AccountKey, TikTokToken]:
    try:
        content: Any = json.loads(envelope)
        version = content["version"]
        key = AccountKey(content["client_key"], content["open_id"])
        token = content["token"]
        damaged = not (isinstance(token, dict) and isinstance(version, int))
    except (ValueError, KeyError, TypeError, RecursionError):
        damaged = True
    if damaged:
        fail(f"{path} is damaged: a new login replaces it and keeps it aside")
    if version > ENVELOPE_VERSION:
        fail(f"{path} was written by a later version of this package (envelope {version})")
    return key, TikTokToken(token)


def _replace(path: Path, content: bytes, *, aside: Path | None) -> None:
    """Put a file in another's place, in one step that survives a crash.

    Args:
        path: The file.
        content: What it holds from now on.
        aside: A second name for what it held until now, given when the new content is safe.
    """
    temporary = _temporary(path)
    with as_store_error("write", path):
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
        descriptor = os.open(temporary, flags, FILE_MODE)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            if aside is not None:
                os.link(path, aside)
            os.replace(temporary, path)  # noqa: PTH105 - beside the other calls of its kind
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Make a rename or a deletion itself durable, where a directory can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
