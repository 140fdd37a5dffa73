"""Directories that nobody but their owner can use, and that are missed when they are gone."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from tiktok_oauth_session._plain_errors import StoreError

log: logging.Logger = logging.getLogger(__name__)

#: Only the owner, from the first byte on.
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
#: Characters of a client key or open_id that stay readable in a file name.
READABLE_LENGTH = 64
#: How many directories a process remembers.
REMEMBERED_DIRECTORIES = 10_000

_FILE_NAME = re.compile(rf"[A-Za-z0-9_-]{{0,{READABLE_LENGTH}}}\.[0-9a-f]{{32}}")
# Where there are none (Windows), who may read the files is what the directory's access control list says.
_HAS_OWNERS = hasattr(os, "geteuid")

# The directories that this process has seen, with device and inode. For the whole process, since web
# applications make a store for every request.
_seen: dict[Path, tuple[int, int]] = {}
# What it has said of directories that others may change.
_told: set[str] = set()


def file_name(text: str) -> str:
    """Return a file name for any text, different for different texts on every file system.

    The digest tells apart what case folding, length limits and forbidden characters would not.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", text)[:READABLE_LENGTH]
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}.{digest[:32]}"


def named_by(name: str) -> str | None:
    """Return the text that a file name was made of; None if that is not to be seen of it."""
    text = name.partition(".")[0]
    return text if file_name(text) == name else None


def make_directories(below: Path, root: Path, *, anew: bool) -> None:
    """Make two directories, one of them in the other, or one if they are the same.

    Args:
        below: The one.
        root: The one that it is in.
        anew: Whether to make again what this process has seen before, and is gone.

    Raises:
        StoreError: One of them is there already and is not ours; or is gone.
    """
    # Asked before the disk is: what another thread makes meanwhile is not gone.
    was_seen = below in _seen
    for directory in dict.fromkeys((root, below)):
        try:
            status = our_directory(directory)
        except FileNotFoundError:
            if not anew and was_seen:
                _fail_gone(below)
            if directory is root:
                make_missing(root)
            _make(directory)
            status = our_directory(directory)
    if _HAS_OWNERS and status.st_mode & 0o077:
        below.chmod(DIRECTORY_MODE)
    if below not in _seen:
        _remember(below, _identity(status))


def make_missing(directory: Path) -> None:
    """Make a directory, and those above it that are missing, for their owner alone.

    Raises:
        OSError: One of them cannot be made.
    """
    missing = itertools.takewhile(lambda each: not each.exists(), (directory, *directory.parents))
    for each in reversed(list(missing)):
        _make(each)


def _make(directory: Path) -> None:
    # Another process may be faster.
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=DIRECTORY_MODE)
        # The umask may take permissions from the owner, too.
        directory.chmod(DIRECTORY_MODE)


def complaints_about(directory: Path) -> list[str]:
    """Return who else could put another directory in this one's place, or in that of one above it."""
    ways = (directory, *directory.parents, *(place := directory.resolve()).parents, place)
    return [words for each in dict.fromkeys(ways) if (words := _complaint_about(each))]


def _complaint_about(directory: Path) -> str:
    try:
        status = directory.lstat()
    except OSError:
        return ""
    if not _HAS_OWNERS:
        return ""
    if status.st_uid not in (0, os.geteuid()):
        return f"{directory} belongs to user {status.st_uid}, who could put other files in the tokens' place"
    # Where the sticky bit is set, as in /tmp, nobody can rename what is somebody else's.
    writable = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH
    if writable and not status.st_mode & stat.S_ISVTX:
        return f"{directory} can be written by everybody, who could put other files in the tokens' place"
    return ""


def is_there(below: Path, root: Path) -> bool:
    """Tell whether there is a directory, and the one that it is in.

    Raises:
        StoreError: One of them is not ours; or this process has seen it before, and it is gone or another
            one that holds nothing.
    """
    # Asked before the disk is: what another thread makes meanwhile is not gone.
    known = _seen.get(below)
    with as_store_error("read", below):
        identity: tuple[int, int] | None = None
        with contextlib.suppress(FileNotFoundError):
            our_directory(root)
            identity = _identity(our_directory(below))
        replaced = known is not None and known != identity
        # With tokens in it, it was restored, or somebody has begun anew.
        if replaced and (identity is None or not any(below.glob("*.json"))):
            _fail_gone(below)
    if identity is not None:
        _remember(below, identity)
    return identity is not None


def require_not_gone(directory: Path) -> None:
    """Miss a directory that this process has seen before.

    Raises:
        StoreError: It is gone.
    """
    if directory in _seen and not os.path.lexists(directory):
        _fail_gone(directory)


def _fail_gone(directory: Path) -> NoReturn:
    fail(
        f"{directory} is gone, and the tokens in it: this process has used it before. Put it back (is "
        "its disk mounted?); if it was removed on purpose, log in again"
    )


def directories_in(root: Path) -> list[Path]:
    """Return the directories whose names come from `file_name`, and those that were there before.

    Raises:
        StoreError: They cannot be listed, or `root` is not ours.
    """
    found = {directory for directory in list(_seen) if directory.parent == root}
    with as_store_error("read", root), contextlib.suppress(FileNotFoundError):
        our_directory(root)
        found.update(path for path in root.iterdir() if _FILE_NAME.fullmatch(path.name))
    return sorted(found)


def _remember(directory: Path, identity: tuple[int, int]) -> None:
    if directory not in _seen:
        for complaint in set(complaints_about(directory)) - _told:
            _told.add(complaint)
            log.warning("%s", complaint)
    _seen[directory] = identity
    if len(_seen) > REMEMBERED_DIRECTORIES:
        # A copy: other threads are here, too.
        _seen.pop(next(iter(list(_seen))), None)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def our_directory(directory: Path) -> os.stat_result:
    """Return the status of a directory of ours.

    Raises:
        OSError: It cannot be looked at, or there is none (`FileNotFoundError`).
        StoreError: It is not ours.
    """
    status = directory.lstat()
    if stat.S_ISLNK(status.st_mode):
        fail(f"{directory} is a symlink")
    if not stat.S_ISDIR(status.st_mode):
        fail(f"{directory} is no directory")
    _require_owner(directory, status)
    return status


def require_ours(path: Path, status: os.stat_result) -> None:
    """Refuse what is no file of ours, and let its owner use it, and nobody else.

    Raises:
        StoreError: It belongs to somebody else, or is no file.
    """
    if not stat.S_ISREG(status.st_mode):
        fail(f"{path} is no file")
    _require_owner(path, status)
    if _HAS_OWNERS and status.st_mode & 0o077:
        log.warning("%s was readable by others; it is not any more", path)
    if _HAS_OWNERS and (status.st_mode & 0o077 or status.st_mode & FILE_MODE != FILE_MODE):
        path.chmod(FILE_MODE)


def _require_owner(path: Path, status: os.stat_result) -> None:
    if _HAS_OWNERS and status.st_uid != os.geteuid():
        fail(f"{path} belongs to user {status.st_uid}, not to the one this process runs as")


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
