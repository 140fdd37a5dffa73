"""A lock of the operating system on a file."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import weakref
from pathlib import Path

from tiktok_oauth_session.stores.private_directories import FILE_MODE, require_ours

# Without it (Windows), symlinks are not refused.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# Opening a pipe in a file's place must not wait for somebody to write to it.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        """Do nothing: where nobody forks, closing does it."""

else:
    import fcntl

    # Not `fcntl.lockf`, whose locks end when anything in the process (a backup) closes the file.
    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """A lock of the operating system on a file, free as soon as its holder dies.

    The file is never deleted: two processes could then hold locks on two files of one name.

    A forked child inherits the open file, and with it a copy of the lock that would outlive its parent. It
    closes that at once; if it was forked in C, where Python does not notice, with the first token that it
    reads or lock that it asks for.

    Args:
        path: The file, in a directory that is there. Created if need be.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._pid = path, os.getpid()
        # A file object and no bare descriptor: whatever line is interrupted, it is closed in the end.
        self._file: io.FileIO | None = None
        self._status: os.stat_result | None = None

    def take(self) -> bool:
        """Take the lock if it is free; tell whether it was.

        Raises:
            OSError: The file cannot be made or locked.
            StoreError: It is not ours.
        """
        leave_inherited()
        self._file = file = io.FileIO(self._path, "r+", opener=_open)
        self._status = status = os.fstat(file.fileno())
        require_ours(self._path, status)
        _open_locks[id(self)] = weakref.ref(self)
        # A lock on a file that was taken from its place excludes nobody.
        if _lock(file.fileno()) and os.path.samestat(status, os.lstat(self._path)):
            return True
        self.free()
        return False

    def free(self) -> None:
        """Let go of the lock, if this process has it."""
        leave_inherited()
        if self._file is None or self._pid != os.getpid():
            return
        # Closing alone would leave it to the copies that children have not closed yet. An error is of systems
        # that have no locks.
        with contextlib.suppress(OSError):
            _unlock(self._file.fileno())
        self._file.close()
        self._file = None
        _open_locks.pop(id(self), None)

    def leave_if_inherited(self) -> None:
        """In a child: close the copy of what its parent locked, without unlocking it."""
        if self._pid == os.getpid():
            return
        with contextlib.suppress(OSError, ValueError):
            # What the child inherited it may have closed, and have another file under that number.
            if self._file and self._status and os.path.samestat(self._status, os.fstat(self._file.fileno())):
                self._file.close()
        _left.append(self)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | _NOFOLLOW | _NONBLOCK, FILE_MODE)


# What this process locks, or has just opened in order to; in a new child, what its parent did.
_open_locks: dict[int, weakref.ref[FileLock]] = {}
# Where the child could not close one: the garbage collector must not close what has its number now.
_left: list[FileLock] = []
_pid = os.getpid()


def leave_inherited() -> None:
    """Close what a forked child has inherited of its parent's locks."""
    global _pid  # noqa: PLW0603 - whose locks they are
    if _pid == os.getpid():
        return
    # Several threads of a child may be here at once: each leaves the parent's alone, and only them.
    for lock in [reference() for reference in list(_open_locks.values())]:
        if lock is not None:
            lock.leave_if_inherited()
    _pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=leave_inherited)
