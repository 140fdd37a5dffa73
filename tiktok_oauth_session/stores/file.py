"""Tokens in files, one for each account, for all processes of one machine."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import shutil
import time
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.stores import (
    LOCK_TIMEOUT_S,
    KeyLocks,
    TokenStore,
    check_replacing,
    due,
    required,
)
from tiktok_oauth_session.stores.envelope import Unreadable, opened, written
from tiktok_oauth_session.stores.private_directories import (
    as_store_error,
    directories_in,
    fail,
    file_name,
    is_there,
    named_by,
    our_directory,
)
from tiktok_oauth_session.stores.private_files import delete_file, lock_file, read_file, replace_file
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

log: logging.Logger = logging.getLogger(__name__)

#: In the place of a token that cannot be read: it may have expired, so that who looks for those finds it.
_DAMAGED = TikTokToken(expires_at=0)


class FileStore(TokenStore):
    """Keeps each account's token in a file of its own, below one directory per client key.

    A save is a temporary file, flushed to the disk, that replaces the old one in one step: whatever
    is killed, or however the machine stops, a file holds the token before or the token after. The
    lock of an account is a lock of the operating system on a ``.lock`` file that is never deleted;
    it is free as soon as its holder dies. So is the ``.saving.lock`` file of each save.

    Files, and the directories of client keys, are for their owner alone; so is `directory` if the store
    makes it, while one that is there already keeps its mode. Symlinks in their places, and what belongs
    to somebody else, are refused. A directory that this process has used and that is gone (unmounted,
    removed) is an error, not a logout, until it is back or a new login makes it anew.

    Not for network file systems, whose locks do not exclude other machines: see
    `tiktok_oauth_session.stores.sql` and `tiktok_oauth_session.stores.redis`.

    Args:
        directory: Where to keep the files; ``~`` is expanded. Made when an account is first locked or saved.
    """

    lock_is_certain = True

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        # Absolute, so that it stays where it is when the process changes its own.
        self.directory: Path = Path(directory).expanduser().absolute()
        self._locks = KeyLocks()

    def __repr__(self) -> str:
        """Show where."""
        return f"{type(self).__name__}({str(self.directory)!r})"

    # --- the contract ------------------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        """The directory."""
        return self.directory

    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return the account's token.

        Raises:
            StoreError: The file cannot be read, is not ours, or is damaged; or its directory is gone. A
                damaged file stays where it is, and stays an error, until a new login is saved.
        """
        key = AccountKey(*key)
        path = self._path(key)
        return self._stored(key, path) if is_there(path.parent, self.directory) else None

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep the account's token. Waits for other saves of it, but not for the account's lock.

        Raises:
            StoreConflict: Another token is stored.
            StoreError: It could not be written. What only a save without `replacing` does: keep a damaged
                file aside and write another, and make a directory anew that is gone.
        """
        key = AccountKey(*key)
        path = self._path(key)
        document = written(key, token).encode()
        with self._saving(key, path, anew=replacing is None):
            aside = None
            if replacing is None:
                aside = self._aside(key, path)
            else:
                self._check(key, path, replacing)
            # Notes about a token that stays are for whoever outlives their author. A power cut ends everybody
            # and the request under way, too: what comes after it without the note may send the refresh token
            # at once and not only when the access token is dead. If it was spent, its successor has gone with
            # the machine in either case, and the note would have saved the last minutes of the old one.
            is_note = replacing is not None and token.refresh_token == replacing
            replace_file(path, document, aside=aside, durable=not is_note)

    def delete(self, key: AccountKey) -> None:
        """Forget the account, with what was kept aside of it. Its empty lock files stay.

        Raises:
            StoreError: It could not be deleted; or the directory is gone, and its token could come back.
        """
        key = AccountKey(*key)
        path = self._path(key)
        if not is_there(path.parent, self.directory):
            return
        with self.lock(key), self._saving(key, path, anew=False):
            delete_file(path, asides=_aside(path, "*").name)

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude all other threads and processes of this machine.

        Raises:
            StoreError: It could not be had, or the directory is gone.
        """
        return required(self._held(AccountKey(*key), LOCK_TIMEOUT_S), AccountKey(*key))

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Exclude all others, unless somebody is in already."""
        return self._held(AccountKey(*key), timeout)

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts, those of damaged files as well: `load` says what is wrong with them.

        A damaged file whose name does not say whose it is, because the ``open_id`` is long or has other
        characters than letters, digits, ``-`` and ``_``, is passed over with a warning.

        Raises:
            StoreError: A directory cannot be read, is not ours, or is gone.
        """
        return (key for key, _ in self._accounts(client_key))

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts that expire, soonest first; of damaged ones nobody knows. Reads every file.

        Raises:
            StoreError: As for `keys`.
        """
        return iter(due(self._accounts(None), before))

    def require_writable(self, client_key: str) -> None:
        """Find out whether a file could be made.

        Raises:
            StoreError: A directory is not ours, or cannot be written; or the disk is full.
        """
        directory = self.directory / file_name(client_key)
        with as_store_error("write", directory):
            for each in (self.directory, directory):
                with contextlib.suppress(FileNotFoundError):
                    our_directory(each)
            there = next(each for each in (directory, *directory.parents) if each.exists())
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            disk = shutil.disk_usage(there)
            # There are file systems that count nothing.
            if disk.total and not disk.free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # --- files -------------------------------------------------------------------------------------

    def _path(self, key: AccountKey) -> Path:
        return _path(self.directory, key)

    def _stored(self, key: AccountKey, path: Path) -> TikTokToken | None:
        document = read_file(path)
        if document is None:
            # An error if the directory has vanished just now.
            is_there(path.parent, self.directory)
            return None
        return _opened(path, document, key)[1]

    def _check(self, key: AccountKey, path: Path, replacing: str) -> None:
        stored = self._stored(key, path)
        # Nobody deletes a lock file: if ours is gone, that was no logout, but somebody at the directory.
        if not _lock_path(path, "lock" if self.is_locked_here(key) else "saving.lock").exists():
            fail(f"{path.parent} was removed or replaced meanwhile")
        check_replacing(key, stored, replacing)

    def _accounts(self, client_key: str | None) -> Iterator[tuple[AccountKey, TikTokToken]]:
        if client_key is None:
            directories = directories_in(self.directory)
        else:
            directories = [self.directory / file_name(client_key)]
        for directory in [each for each in directories if is_there(each, self.directory)]:
            with as_store_error("read", directory):
                paths = sorted(directory.iterdir())
            for path in (path for path in paths if path.suffix == ".json"):
                key = _named_by(path)
                try:
                    document = read_file(path)
                    if document is not None:
                        yield _opened(path, document, key)
                except StoreError as error:
                    if key is None:
                        log.warning("passing over an account: %s", error)
                    else:
                        yield key, _DAMAGED
            # An error if it has vanished meanwhile.
            is_there(directory, self.directory)

    def _aside(self, key: AccountKey, path: Path) -> Path | None:
        """Return where to keep the account's file if it is damaged; None if it is not, or not there."""
        document = read_file(path)
        if document is None:
            return None
        try:
            _opened(path, document, key)
        except StoreError as error:
            log.warning("keeping a damaged file aside: %s", error)
            return _aside(path, time.time_ns())
        return None

    # --- locks -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _held(self, key: AccountKey, timeout: float) -> Iterator[bool]:
        deadline = time.monotonic() + timeout
        between_threads = self._locks.of(key)
        path = _lock_path(self._path(key), "lock")
        with between_threads.held(timeout=timeout) as held:
            if not held or between_threads.depth > 1:
                yield held
                return
            with self._locked(path, deadline - time.monotonic(), anew=False) as held_by_us:
                yield held_by_us

    def _locked(self, path: Path, timeout: float, *, anew: bool) -> AbstractContextManager[bool]:
        # A new directory, empty but for a lock, would tell everybody else that all were logged out.
        return lock_file(path, timeout, root=self.directory, anew=anew)

    def _saving(self, key: AccountKey, path: Path, *, anew: bool) -> AbstractContextManager[None]:
        """Exclude all others who write the account's file.

        Not the account's lock, since whoever refreshes holds that until the new token is saved, also where
        the disk is full for hours: a new login would wait for it, and is what the user does about it. Taken
        after the account's lock by whoever takes both.
        """
        return required(self._locked(_lock_path(path, "saving.lock"), LOCK_TIMEOUT_S, anew=anew), key)


@functools.lru_cache(maxsize=128)
def _path(directory: Path, key: AccountKey) -> Path:
    # Kept for the few that are in use: a refresh asks for its own six times.
    return directory / file_name(key.client_key) / f"{file_name(key.open_id)}.json"


def _named_by(path: Path) -> AccountKey | None:
    client_key, open_id = named_by(path.parent.name), named_by(path.stem)
    return None if client_key is None or open_id is None else AccountKey(client_key, open_id)


def _aside(path: Path, number: int | str) -> Path:
    return path.with_name(f"{path.stem}.damaged-{number}")


def _lock_path(path: Path, what: str) -> Path:
    return path.with_suffix(f".{what}")


def _opened(path: Path, document: bytes, key: AccountKey | None = None) -> tuple[AccountKey, TikTokToken]:
    try:
        return opened(document, key=key, mend="a new login replaces it and keeps it aside")
    except Unreadable as error:
        raise StoreError(f"{path} {error}.") from None
