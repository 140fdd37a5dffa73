"""Files that nobody but their owner can use, and locks on them, for the stores that need some."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tiktok_oauth_session.stores.file_lock import FileLock, leave_inherited
from tiktok_oauth_session.stores.private_directories import (
    FILE_MODE,
    as_store_error,
    make_directories,
    require_not_gone,
    require_ours,
)

#: Seconds between two looks at a lock that another process holds.
POLL_INTERVAL_S = 0.01
# Without these (Windows), symlinks are not refused and directories not synchronised.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
# Opening a pipe in a file's place must not wait for somebody to write to it.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def lock_file(path: Path, timeout: float, *, root: Path, anew: bool = True) -> Iterator[bool]:
    """Hold a lock of the operating system on a file; yield whether it could be had.

    Args:
        path: The file; created, with its directory, if need be.
        timeout: Seconds to wait.
        root: The topmost directory that is ours: `path`'s own, or the one above it.
        anew: Whether to make again a directory that this process has seen before, and that is gone.

    Raises:
        StoreError: The file cannot be made or locked, or is not ours.
    """
    lock = FileLock(path)
    try:
        with as_store_error("lock", path):
            make_directories(path.parent, root, anew=anew)
            could_be_had = any(lock.take() for _ in _looks(path.parent, timeout))
        yield could_be_had
    finally:
        lock.free()


def _looks(directory: Path, timeout: float) -> Iterator[None]:
    deadline = time.monotonic() + timeout
    yield
    while time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
        require_not_gone(directory)
        yield


def read_file(path: Path) -> bytes | None:
    """Return what a file holds; None if there is none.

    Raises:
        StoreError: It cannot be read, or is not ours.
    """
    leave_inherited()
    with as_store_error("read", path):
        try:
            descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW | _NONBLOCK | _BINARY)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            require_ours(path, os.fstat(descriptor))
            return file.read()


def replace_file(path: Path, content: bytes, *, aside: Path | None, durable: bool) -> None:
    """Put a file in another's place, in one step: whatever crashes, it holds the old or the new content.

    Args:
        path: The file.
        content: What it holds from now on.
        aside: A second name for what it held until now, given when the new content is safe.
        durable: Whether, from now on, not even a power cut brings the old content back.

    Raises:
        StoreError: It cannot be written; what it held it holds.
    """
    temporary = _temporary(path)
    with as_store_error("write", path):
        descriptor = _created(temporary)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                # The umask may take permissions from the owner, too.
                temporary.chmod(FILE_MODE)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            if aside is not None:
                os.link(path, aside)
            os.replace(temporary, path)  # noqa: PTH105 - beside the other calls of its kind
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            _sync_directory(path.parent)


def _created(temporary: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
    try:
        return os.open(temporary, flags, FILE_MODE)
    except FileExistsError:
        # A killed process left it.
        temporary.unlink()
        return os.open(temporary, flags, FILE_MODE)


def delete_file(path: Path, *, asides: str) -> None:
    """Delete a file, and what a killed process left of its successor.

    Args:
        path: The file.
        asides: A pattern for the names that it was kept aside under.

    Raises:
        StoreError: It cannot be deleted.
    """
    with as_store_error("delete", path):
        for aside in path.parent.glob(asides):
            aside.unlink(missing_ok=True)
        _temporary(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)


def _temporary(path: Path) -> Path:
    # One name for each file: whoever holds its lock finds, and removes, what a killed process left.
    return path.with_name(f".{path.name}.tmp")


def _sync_directory(directory: Path) -> None:
    """Make a rename or a deletion itself durable, where a directory can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
