"""Files and directories that nobody but their owner can use, for the stores that need some."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from tiktok_oauth_session.plain_errors import StoreError

log = logging.getLogger(__name__)

#: Only the owner, from the first byte on.
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
#: Seconds between two looks at a lock that another process holds.
POLL_INTERVAL_S = 0.01
#: Characters of a client key or open_id that stay readable in a file name.
READABLE_LENGTH = 40

# Where there are none (Windows), who may read the files is what the directory's access control list says.
_HAS_OWNERS = hasattr(os, "geteuid")


def file_name(text: str) -> str:
    """Return a file name for any text, different for different texts on every file system.

    The digest tells apart what case folding, length limits and forbidden characters would not.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", text)[:READABLE_LENGTH]
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}.{digest[:32]}"


@contextlib.contextmanager
def lock_file(path: Path, timeout: float, *, root: Path) -> Iterator[bool]:
    """Hold a lock of the operating system on a file; yield whether it could be had.

    It is free as soon as its holder dies. The file is never deleted: two processes could then hold
    locks on two files of one name.

    Args:
        path: The file; created, with its directory, if need be.
        timeout: Seconds to wait.
        root: The topmost directory that is ours: `path`'s own, or the one above it.

    Raises:
        StoreError: The file cannot be made, or is not ours.
    """
    # Imported here: reading a token needs no lock.
    import filelock

    with as_store_error("lock", path):
        make_directories(path.parent, root)
        lock = filelock.FileLock(path, mode=FILE_MODE, thread_local=False)
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=timeout, poll_interval=POLL_INTERVAL_S)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def make_directories(below: Path, root: Path) -> None:
    """Make two directories, one of them in the other, or one if they are the same.

    Raises:
        StoreError: One of them is there already and is not ours.
    """
    root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    below.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    for directory in (root, below):
        status = directory.lstat()
        if stat.S_ISLNK(status.st_mode):
            fail(f"{directory} is a symlink")
        require_ours(directory, status)
    if _HAS_OWNERS and below.stat().st_mode & 0o077:
        below.chmod(DIRECTORY_MODE)


def require_ours(path: Path, status: os.stat_result) -> None:
    """Refuse what is not ours, and take a file's permissions from everybody else.

    Raises:
        StoreError: It belongs to somebody else, or is neither file nor directory.
    """
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        fail(f"{path} is neither file nor directory")
    if not _HAS_OWNERS:
        return
    if status.st_uid != os.geteuid():
        fail(f"{path} belongs to user {status.st_uid}, not to the one this process runs as")
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        log.warning("%s was readable by others; it is not any more", path)
        path.chmod(FILE_MODE)


@contextlib.contextmanager
def as_store_error(what: str, path: Path) -> Iterator[None]:
    """Turn what the operating system says into an error of ours.

    Raises:
        StoreError: It said no.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Cannot {what} {path}: {error.strerror or error}. Check that the directory exists, belongs to "
            "the user this process runs as, and has room."
        ) from error


def fail(what: str) -> NoReturn:
    """Raise an error of ours."""
    raise StoreError(f"{what}.")
