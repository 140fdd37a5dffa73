"""The store in files."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tiktok_oauth_session import AccountKey, FileStore, StoreError, TikTokToken
from tiktok_oauth_session.stores import StoreConflict, TokenStore, private_directories, private_files
from tiktok_oauth_session.testing.conformance import (
    GLIMPSE_S,
    HARD_OPEN_IDS,
    KEY,
    NEIGHBOUR,
    PATIENCE_S,
    TokenStoreConformance,
    token,
)


class TestFileStore(TokenStoreConformance):
    """FileStore keeps the promises of a store."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FileStore:
        """Return an empty store."""
        return FileStore(tmp_path / "tokens")

    def another(self, store: TokenStore) -> FileStore:
        """Return another handle, as another process would have it."""
        assert isinstance(store, FileStore)
        return FileStore(store.directory)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Return an empty store."""
    return FileStore(tmp_path / "tokens")


def token_file(store: FileStore) -> Path:
    """Return the one token file there is."""
    (path,) = store.directory.glob("*/*.json")
    return path


def mode(path: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def endings(store: FileStore) -> list[str]:
    """Return the endings of all files that the store keeps."""
    return sorted(path.suffix for path in store.directory.glob("*/*"))


def load_locked(store: FileStore) -> None:
    """Load as a refresh does."""
    with store.lock(KEY):
        store.load(KEY)


def load_if_free(store: FileStore) -> None:
    """Load as a refresh in the advisory window does."""
    with store.try_lock(KEY):
        store.load(KEY)


#: Everything that looks for tokens where there may be some.
LOOKS: dict[str, Callable[[FileStore], object]] = {
    "load": lambda store: store.load(KEY),
    "lock and load": load_locked,
    "try_lock and load": load_if_free,
    "save replacing": lambda store: store.save(KEY, token(2), replacing=token().refresh_token),
    "delete": lambda store: store.delete(KEY),
    "keys": lambda store: list(store.keys()),
    "keys of an app": lambda store: list(store.keys(KEY.client_key)),
    "expiring": lambda store: list(store.expiring(time.time())),
    "refresh_expiring": lambda store: list(store.refresh_expiring(time.time())),
}
each_look = pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
each_operation = pytest.mark.parametrize(
    "operation",
    [
        *LOOKS.values(),
        lambda store: store.save(KEY, token(2)),
        lambda store: store.require_writable(KEY.client_key),
    ],
    ids=[*LOOKS, "save", "require_writable"],
)
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give a file away"
)


def test_save__modes(store: FileStore) -> None:
    """Nobody but the owner can read a token, whatever the umask says."""
    old = os.umask(0)
    try:
        store.save(KEY, token())
    finally:
        os.umask(old)

    assert mode(store.directory) == 0o700
    assert {mode(path) for path in store.directory.glob("*")} == {0o700}
    assert {mode(path) for path in store.directory.glob("*/*")} == {0o600}


def test_save__tightens_a_client_directory(store: FileStore) -> None:
    """A client directory that others could enter is private again before anything is written to it."""
    store.save(KEY, token())
    token_file(store).parent.chmod(0o755)
    store.save(KEY, token(2))

    assert mode(token_file(store).parent) == 0o700


def test_save__leaves_the_mode_of_a_root_that_was_there(store: FileStore) -> None:
    """A directory that somebody else made keeps its mode; the one below it is private."""
    store.directory.mkdir()
    store.directory.chmod(0o755)
    store.save(KEY, token())
    token_file(store).parent.chmod(0o755)
    store.save(KEY, token(2))
    store.load(KEY)

    assert mode(store.directory) == 0o755
    assert mode(token_file(store).parent) == 0o700


def test_save__makes_the_directories_above(tmp_path: Path) -> None:
    """The first save makes the whole path, and all that it makes is private, whatever the umask says."""
    store = FileStore(tmp_path / "state" / "app" / "tokens")
    old = os.umask(0)
    try:
        store.save(KEY, token())
    finally:
        os.umask(old)

    assert token() == store.load(KEY)
    assert {0o700} == {mode(store.directory), *(mode(each) for each in store.directory.parents[:2])}


UNDER_A_UMASK = """
import os, sys, time
from pathlib import Path
from tiktok_oauth_session import AccountKey, FileStore, TikTokToken

directory, umask = Path(sys.argv[1]), int(sys.argv[2], 8)
if os.geteuid() == 0:
    # Root may do everything, whatever the mode.
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.umask(umask)
store, key = FileStore(directory / "state" / "tokens"), AccountKey("app", "user")
for number in range(2):
    with store.lock(key):
        store.save(key, TikTokToken(access_token=str(number)))
print(store.load(key).access_token)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask that counts")
@pytest.mark.parametrize("umask", ["0177", "0277", "0777"])
def test_save__umask_that_takes_from_the_owner(umask: str) -> None:
    """Where the umask takes permissions from the owner as well, what is made can still be used by them."""
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() == 0:
            os.chown(directory, 65534, 65534)
        child = subprocess.run(
            [sys.executable, "-c", UNDER_A_UMASK, directory, umask],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        made = {path.suffix or "directory": mode(path) for path in Path(directory, "state").rglob("*")}

    assert ("1\n", "") == (child.stdout, child.stderr)
    assert {0o700, 0o600} == set(made.values())
    assert 0o600 == made[".json"]


def test_save__private_from_the_first_byte(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file is private before anything is written to it."""
    seen = []
    fsync = os.fsync

    def watching(descriptor: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watching)
    store.save(KEY, token())

    assert seen[0] == 0o600


@pytest.mark.parametrize(
    ("new", "replacing", "flushed"),
    [
        (token(2), None, ["file", "replace", "directory"]),
        (TikTokToken(access_token="act.only"), None, ["file", "replace", "directory"]),
        (token(2), token().refresh_token, ["file", "replace", "directory"]),
        (TikTokToken(token(), refresh_tries=1), token().refresh_token, ["file", "replace"]),
    ],
    ids=["login", "login without a refresh token", "refresh", "mark"],
)
def test_save__flushes(
    store: FileStore,
    monkeypatch: pytest.MonkeyPatch,
    new: TikTokToken,
    replacing: str | None,
    flushed: list[str],
) -> None:
    """A file is on the disk before it gets its name; the name of a new token is before the save returns."""
    store.save(KEY, token())
    events: list[str] = []
    sizes = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        status = os.fstat(descriptor)
        events.append("directory" if stat.S_ISDIR(status.st_mode) else "file")
        sizes.append(status.st_size)
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", replaced)
    store.save(KEY, new, replacing=replacing)

    assert flushed == events
    assert token_file(store).stat().st_size == sizes[0]


def test_load__tightens_a_readable_file(store: FileStore, caplog: pytest.LogCaptureFixture) -> None:
    """A file that others could read is made private, with a warning."""
    store.save(KEY, token())
    token_file(store).chmod(0o644)

    assert token() == store.load(KEY)
    assert mode(token_file(store)) == 0o600
    assert "readable by others" in caplog.text


@pytest.mark.parametrize("target", ["file", "directory", "root"])
def test_symlink__refused(store: FileStore, tmp_path: Path, target: str) -> None:
    """Neither file nor directory may be a symlink, and what it points to stays as it is."""
    store.save(KEY, token())
    path = {"file": token_file(store), "directory": token_file(store).parent, "root": store.directory}[target]
    moved = tmp_path / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved)
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}

    with pytest.raises(StoreError):
        store.save(KEY, token(2))
    assert before == {each: each.read_bytes() for each in before}


def test_load__symlinked_file(store: FileStore, tmp_path: Path) -> None:
    """A symlink in a token file's place is an error, not somebody else's token."""
    store.save(KEY, token())
    token_file(store).rename(tmp_path / "elsewhere")
    store._path(KEY).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError):
        store.load(KEY)


def token_name(store: FileStore) -> str:
    """Return the file name of the test's account."""
    return store._path(KEY).name


def directory_of(store: FileStore, which: str) -> Path:
    """Return the store's own directory, or the one below it."""
    return store.directory if which == "root" else store._path(KEY).parent


@each_operation
@pytest.mark.parametrize("which", ["root", "client directory"])
def test_symlinked_directory__refused(
    store: FileStore, tmp_path: Path, which: str, operation: Callable[[FileStore], object]
) -> None:
    """No operation follows a symlink in a directory's place, and none touches what is behind it."""
    store.save(KEY, token())
    path = directory_of(store, which)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    before = {each: each.lstat().st_mtime_ns for each in (tmp_path / "elsewhere").rglob("*")}

    with pytest.raises(StoreError, match=f"{path} is a symlink"):
        operation(store)
    assert before == {each: each.lstat().st_mtime_ns for each in (tmp_path / "elsewhere").rglob("*")}


@each_operation
def test_symlinked_directory__empty(
    store: FileStore, tmp_path: Path, operation: Callable[[FileStore], object]
) -> None:
    """A symlink to an empty directory is refused too, and nothing is made behind it."""
    (tmp_path / "elsewhere").mkdir()
    store.directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a symlink"):
        operation(store)

    assert [] == list((tmp_path / "elsewhere").iterdir())


@needs_root
@each_operation
@pytest.mark.parametrize("which", ["root", "client directory"])
def test_foreign_directory__refused(
    store: FileStore, which: str, operation: Callable[[FileStore], object]
) -> None:
    """No operation uses a directory that belongs to somebody else."""
    store.save(KEY, token())
    os.chown(directory_of(store, which), 65534, 65534)

    with pytest.raises(StoreError, match="belongs to user 65534"):
        operation(store)


@each_operation
@pytest.mark.parametrize("which", ["root", "client directory"])
def test_file_in_a_directorys_place__refused(
    store: FileStore, which: str, operation: Callable[[FileStore], object]
) -> None:
    """A file in a directory's place is an error, and stays as it is."""
    path = directory_of(store, which)
    path.parent.mkdir(exist_ok=True)
    path.write_text("a note")
    path.chmod(0o644)

    with pytest.raises(StoreError):
        operation(store)
    assert mode(path) == 0o644
    assert path.read_text() == "a note"


def test_keys__of_a_directory_shared_with_others(store: FileStore, caplog: pytest.LogCaptureFixture) -> None:
    """What else is in the store's directory is no account, and none of its business."""
    store.save(KEY, token())
    (store.directory / "project").mkdir()
    (store.directory / "project" / "package.json").write_text("{}")
    (store.directory / "link").symlink_to("project")
    (store.directory / "notes.json").write_text("{}")

    assert [KEY] == list(store.keys())
    assert caplog.text == ""


def unsafe(tmp_path: Path, where: str, how: str) -> tuple[FileStore, Path]:
    """Return a store, and the directory, its own or one above it, that others may change."""
    store = FileStore(tmp_path / "state" / "app" / "tokens")
    store.directory.mkdir(parents=True, mode=0o700)
    directory = {"root": store.directory, "parent": store.directory.parent, "further up": tmp_path / "state"}[
        where
    ]
    if how == "writable":
        directory.chmod(0o777)
    else:
        os.chown(directory, 65534, 65534)
    return store, directory


@pytest.mark.parametrize(
    ("where", "how", "words"),
    [
        ("root", "writable", "can be written by everybody"),
        ("parent", "writable", "can be written by everybody"),
        ("further up", "writable", "can be written by everybody"),
        pytest.param("parent", "foreign", "belongs to user 65534", marks=needs_root),
        pytest.param("further up", "foreign", "belongs to user 65534", marks=needs_root),
    ],
)
def test_unsafe_directory__reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str, how: str, words: str
) -> None:
    """Where others may put another directory in the tokens' place, one warning says so, and all works."""
    store, directory = unsafe(tmp_path, where, how)
    store.save(KEY, token())
    store.save(AccountKey("another-app", "u"), token())
    FileStore(store.directory).load(KEY)

    (record,) = caplog.records
    assert f"{directory} {words}" in record.getMessage()
    assert token() == store.load(KEY)


def test_unsafe_directory__sticky_is_safe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a directory like /tmp nobody can rename what is somebody else's."""
    store, directory = unsafe(tmp_path, "parent", "writable")
    directory.chmod(0o1777)
    store.save(KEY, token())

    assert caplog.text == ""


def test_unsafe_directory__behind_a_symlink(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A symlink above the store is followed, and what it leads through is looked at."""
    _, directory = unsafe(tmp_path, "parent", "writable")
    (tmp_path / "link").symlink_to(directory)
    FileStore(tmp_path / "link" / "tokens").save(KEY, token())

    (record,) = caplog.records
    assert f"{directory} can be written by everybody" in record.getMessage()


@needs_root
def test_load__foreign_owner(store: FileStore) -> None:
    """A file that belongs to somebody else is refused."""
    store.save(KEY, token())
    os.chown(token_file(store), 65534, 65534)

    with pytest.raises(StoreError, match="belongs to user 65534"):
        store.load(KEY)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 1}'])
def test_load__damaged(store: FileStore, content: bytes) -> None:
    """A damaged file is an error at every look, kept aside by the next login, and its neighbour goes on."""
    store.save(KEY, token())
    damaged = token_file(store)
    store.save(NEIGHBOUR, token(2))
    damaged.write_bytes(content)

    for _ in range(2):
        with pytest.raises(StoreError):
            store.load(KEY)
    with pytest.raises(StoreError):
        store.save(KEY, token(3), replacing=token().refresh_token)
    assert token(2) == store.load(NEIGHBOUR)
    assert sorted([KEY, NEIGHBOUR]) == sorted(store.keys()), "whoever chooses among accounts knows of both"
    assert [KEY] == list(store.expiring(1)), "whoever keeps accounts alive is told"

    store.save(KEY, token(4))

    assert token(4) == store.load(KEY)
    (aside,) = damaged.parent.glob("*.damaged-*")
    assert content == aside.read_bytes()


@pytest.mark.parametrize("open_id", HARD_OPEN_IDS)
def test_keys__damaged(store: FileStore, open_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is its account's; if its name does not say whose, nobody's, and a log line says so."""
    key = AccountKey(KEY.client_key, open_id)
    store.save(key, token())
    token_file(store).write_bytes(b"{")
    found = list(store.keys())

    assert found in ([key], [])
    assert bool(found) == bool(re.fullmatch("[A-Za-z0-9_-]{0,64}", open_id))
    assert (0 if found else 1) == len(caplog.records)


def test_keys__file_of_another_account(store: FileStore) -> None:
    """A file in another one's place is not taken for its account."""
    store.save(KEY, token())
    content = token_file(store).read_bytes()
    store.save(NEIGHBOUR, token(2))
    store._path(NEIGHBOUR).write_bytes(content)

    assert sorted([KEY, NEIGHBOUR]) == sorted(store.keys())
    with pytest.raises(StoreError, match="another account"):
        store.load(NEIGHBOUR)


def test_load__later_envelope(store: FileStore) -> None:
    """A file of a later version is an error that says so."""
    store.save(KEY, token())
    envelope = json.loads(token_file(store).read_text())
    token_file(store).write_text(json.dumps({**envelope, "version": 2}))

    with pytest.raises(StoreError, match="later version"):
        store.load(KEY)


def test_load__file_of_another_account(store: FileStore) -> None:
    """A token copied under another account's name is not handed out."""
    store.save(KEY, token())
    source = token_file(store)
    store.save(NEIGHBOUR, token(2))
    store._path(NEIGHBOUR).write_bytes(source.read_bytes())

    with pytest.raises(StoreError, match="another account"):
        store.load(NEIGHBOUR)


def test_save__removes_what_a_killed_process_left(store: FileStore) -> None:
    """A stale temporary file is gone after the next save."""
    store.save(KEY, token())
    stale(store).write_bytes(b"half a tok")
    store.save(KEY, token(2))

    assert not stale(store).exists()
    assert token(2) == store.load(KEY)


def test_lock__file_is_never_deleted(store: FileStore) -> None:
    """The lock files outlive save, delete and everybody who held them."""
    store.save(KEY, token())
    load_locked(store)
    before = {path: path.stat().st_ino for path in store.directory.glob("*/*.lock")}
    store.delete(KEY)
    store.save(KEY, token(2))

    assert len(before) == 2
    assert before == {path: path.stat().st_ino for path in store.directory.glob("*/*.lock")}


def test_save__conflict_leaves_no_temporary_file(store: FileStore) -> None:
    """A refused compare-and-swap leaves nothing behind."""
    store.save(KEY, token())
    with pytest.raises(StoreConflict):
        store.save(KEY, token(2), replacing="rft.other")

    assert [".json", ".lock"] == endings(store)


def test_repr__shows_where(tmp_path: Path) -> None:
    """The repr says where the tokens are and shows none."""
    assert repr(FileStore(tmp_path)) == f"FileStore('{tmp_path}')"


def test_save__damaged_and_disk_full(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage stays an error if the save that would replace it fails: it never turns into a logout."""
    store.save(KEY, token())
    token_file(store).write_bytes(b"{")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError):
        store.save(KEY, token(2))
    monkeypatch.undo()

    with pytest.raises(StoreError, match="damaged"):
        store.load(KEY)
    assert [".json", ".lock"] == endings(store)


def test_load__pipe_in_a_files_place(store: FileStore) -> None:
    """A pipe in a file's place is refused, and nobody waits for it."""
    store.save(KEY, token())
    path = token_file(store)
    path.unlink()
    os.mkfifo(path)

    with pytest.raises(StoreError, match="is no file"):
        store.load(KEY)


# --- saving while others save, or hold the lock -----------------------------------------------------


def test_save__login_while_somebody_refreshes(store: FileStore) -> None:
    """A new login does not wait for whoever holds the account's lock, who then finds it and keeps it."""
    store.save(KEY, token())
    with ThreadPoolExecutor(1) as pool, store.lock(KEY):
        pool.submit(FileStore(store.directory).save, KEY, token(2)).result(PATIENCE_S)

        assert token(2) == store.load(KEY)
        with pytest.raises(StoreConflict):
            store.save(KEY, token(3), replacing=token().refresh_token)
    assert token(2) == store.load(KEY)


def test_try_lock__waits_once(store: FileStore) -> None:
    """The time that goes by while another thread has the lock is not waited for again for the file's."""
    waits_s, got = 4 * GLIMPSE_S, []

    def wait_in_line() -> None:
        began = time.monotonic()
        with store.try_lock(KEY, timeout=waits_s) as held:
            got.append((held, time.monotonic() - began))

    with ThreadPoolExecutor(2) as pool, FileStore(store.directory).lock(KEY):
        with store._locks.of(KEY).held():
            waiting = pool.submit(wait_in_line)
            # That time passes is what is tested.
            time.sleep(waits_s * 0.75)
        waiting.result(PATIENCE_S)

    ((held, waited_s),) = got

    assert not held
    assert waits_s <= waited_s < waits_s * 1.5


@pytest.mark.parametrize("second", ["login", "refresh", "logout"])
def test_save__waits_for_another_save(store: FileStore, monkeypatch: pytest.MonkeyPatch, second: str) -> None:
    """Between the look and the rename of one save nobody else saves or deletes."""
    store.save(KEY, token(1))
    begun, go_on, real_fsync = threading.Event(), threading.Event(), os.fsync
    other = FileStore(store.directory)
    act: Callable[[], None] = {
        "login": lambda: other.save(KEY, token(3)),
        "refresh": lambda: other.save(KEY, token(3), replacing=token(2).refresh_token),
        "logout": lambda: other.delete(KEY),
    }[second]

    def fsync(descriptor: int) -> None:
        if not begun.is_set():
            begun.set()
            go_on.wait(PATIENCE_S)
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.save, KEY, token(2), replacing=token(1).refresh_token)
        assert begun.wait(PATIENCE_S)
        later = pool.submit(act)
        time.sleep(GLIMPSE_S)
        waited = not later.done() and token(1) == store.load(KEY)
        go_on.set()
        first.result(PATIENCE_S)
        later.result(PATIENCE_S)

    assert waited
    assert (None if second == "logout" else token(3)) == store.load(KEY)


# --- temporary files --------------------------------------------------------------------------------


@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_save__link_planted_at_the_temporary_name(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path, Path], None]
) -> None:
    """A link that appears at the temporary name in the last moment is not written through."""
    store.save(KEY, token())
    victim = tmp_path / "victim"
    victim.write_text("precious")
    real_open = os.open

    def planting(path: Path, flags: int, *args: int) -> int:
        if str(path).endswith(".tmp"):
            plant(victim, path)
        return real_open(path, flags, *args)

    monkeypatch.setattr(os, "open", planting)
    with pytest.raises(StoreError):
        store.save(KEY, token(2))
    monkeypatch.undo()

    assert victim.read_text() == "precious"
    assert token() == store.load(KEY)


def test_save__symlink_left_at_the_temporary_name(store: FileStore, tmp_path: Path) -> None:
    """A symlink that lay at the temporary name before is replaced, and not what it points to."""
    store.save(KEY, token())
    (tmp_path / "victim").write_text("precious")
    stale(store).symlink_to(tmp_path / "victim")
    store.save(KEY, token(2))

    assert not os.path.lexists(stale(store))
    assert (tmp_path / "victim").read_text() == "precious"
    assert token(2) == store.load(KEY)


def stale(store: FileStore) -> Path:
    """Return where a killed process leaves half a file."""
    return store._path(KEY).with_name(f".{token_name(store)}.tmp")


def test_delete__removes_what_a_killed_process_left(store: FileStore) -> None:
    """After a logout no part of the token is left."""
    store.save(KEY, token())
    stale(store).write_bytes(b"half a tok")
    store.delete(KEY)

    assert [".lock", ".lock"] == endings(store)


@pytest.mark.parametrize("is_there", [True, False], ids=["logged in again", "deleted by hand"])
def test_delete__what_was_kept_aside(store: FileStore, is_there: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """After a logout no part of a token is left in damaged copies either; a neighbour's stay."""
    for key in (KEY, NEIGHBOUR):
        store.save(key, token())
        for _ in range(2):
            store._path(key).write_bytes(b"half a tok")
            store.save(key, token(2))
    if not is_there:
        store._path(KEY).unlink()
    store.delete(KEY)

    assert 2 == len(list(store.directory.rglob("*.damaged-*")))
    assert [] == list(store.directory.rglob(f"{store._path(KEY).stem}.damaged-*"))
    assert token(2) == store.load(NEIGHBOUR)


def test_delete__flushes_the_directory(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A logout is flushed to the disk after the file is gone: no crash brings the token back."""
    store.save(KEY, token())
    path, flushed, fsync = token_file(store), [], os.fsync

    def watching(descriptor: int) -> None:
        flushed.append((os.path.samestat(os.fstat(descriptor), path.parent.stat()), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watching)
    store.delete(KEY)

    assert [(True, False)] == flushed


# --- a directory that goes away ---------------------------------------------------------------------


def take_away(store: FileStore, which: str = "client directory") -> Path:
    """Move a directory away, as an unmounted disk takes its own; return where it is."""
    away = store.directory.with_name("away")
    directory_of(store, which).rename(away)
    return away


@each_look
def test_directory_never_there(store: FileStore, look: Callable[[FileStore], object]) -> None:
    """Where nothing was ever kept there is no token, and no error but that of a compare-and-swap."""
    try:
        look(store)
    except StoreConflict:
        assert look is LOOKS["save replacing"]
    assert store.load(KEY) is None
    assert [] == list(store.keys()) == list(store.expiring(time.time()))


def test_load__makes_nothing(store: FileStore) -> None:
    """Looking for a token makes no directory."""
    store.load(KEY)
    list(store.keys())
    list(store.expiring(time.time()))
    store.delete(KEY)

    assert not store.directory.exists()


@each_look
@pytest.mark.parametrize("which", ["root", "client directory"])
@pytest.mark.parametrize("handle", ["the same", "another"])
def test_directory_gone(
    store: FileStore, handle: str, which: str, look: Callable[[FileStore], object]
) -> None:
    """A directory that was there is missed, made anew by nobody who looks, and welcome back at once."""
    store.save(KEY, token())
    path = directory_of(store, which)
    away = take_away(store, which)
    looking = store if handle == "the same" else FileStore(store.directory)
    for _ in range(2):
        with pytest.raises(StoreError, match="gone") as caught:
            look(looking)
        assert not isinstance(caught.value, StoreConflict)
        assert not path.exists()
    away.rename(path)

    assert token() == looking.load(KEY)
    assert [KEY] == list(looking.keys())
    look(looking)


@each_look
def test_directory_replaced(store: FileStore, look: Callable[[FileStore], object]) -> None:
    """An empty directory in its place is not the one that was there; one with tokens in it is."""
    store.save(KEY, token())
    away = take_away(store)
    directory_of(store, "client directory").mkdir()
    for _ in range(2):
        with pytest.raises(StoreError, match="gone") as caught:
            look(store)
        assert not isinstance(caught.value, StoreConflict)
    shutil.copy(away / token_name(store), store._path(KEY))

    assert token() == store.load(KEY)
    assert [KEY] == list(store.keys())


def begin_anew_elsewhere(store: FileStore) -> None:
    """Let another process save the neighbour's token in place of all that there was."""
    # Not removed: the new one could get its inode.
    take_away(store, "root")
    code = (
        "import sys; from tiktok_oauth_session import FileStore, TikTokToken; "
        "FileStore(sys.argv[1]).save(sys.argv[2:], TikTokToken(access_token='new'))"
    )
    subprocess.run([sys.executable, "-c", code, store.directory, *NEIGHBOUR], check=True)


def test_directory_replaced__another_process_begins_anew(store: FileStore) -> None:
    """Where somebody else has logged in again after a removal, the others are logged out for good."""
    store.save(KEY, token())
    begin_anew_elsewhere(store)

    assert store.load(KEY) is None
    assert [NEIGHBOUR] == list(store.keys())

    store.delete(NEIGHBOUR)

    assert store.load(KEY) is None


def test_save__replacing_after_another_process_began_anew(store: FileStore) -> None:
    """A lock that vanished with its directory protects nobody: that is no logout, and nothing is written."""
    store.save(KEY, token())
    with store.lock(KEY):
        begin_anew_elsewhere(store)
        with pytest.raises(StoreError, match="removed or replaced") as caught:
            store.save(KEY, token(2), replacing=token().refresh_token)

    assert not isinstance(caught.value, StoreConflict)
    assert store.load(KEY) is None


@pytest.mark.parametrize("client_key", [None, KEY.client_key])
def test_keys__directory_gone_meanwhile(store: FileStore, client_key: str | None) -> None:
    """A list of accounts that ends because the directory has vanished ends with an error."""
    store.save(KEY, token())
    store.save(NEIGHBOUR, token(2))
    keys = store.keys(client_key)
    next(keys)
    take_away(store)

    with pytest.raises(StoreError, match="gone"):
        list(keys)


def test_keys__directory_of_another_app_gone(store: FileStore) -> None:
    """One app's directory is missed by whoever asks for its accounts or for all, not for another's."""
    other = AccountKey("another-app", KEY.open_id)
    store.save(KEY, token())
    store.save(other, token())
    take_away(store)

    assert [other] == list(store.keys(other.client_key))
    assert token() == store.load(other)
    with pytest.raises(StoreError, match="gone"):
        list(store.keys())


@pytest.mark.parametrize("which", ["root", "client directory"])
def test_keys__unreadable(store: FileStore, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """A directory that cannot be read is an error, not a store without accounts."""
    store.save(KEY, token())
    iterdir = Path.iterdir

    def refusing(path: Path) -> Iterator[Path]:
        if path == directory_of(store, which):
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refusing)

    with pytest.raises(StoreError, match="Permission denied"):
        list(store.keys())


@pytest.mark.parametrize("use", ["load", "lock"])
def test_directory__made_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str) -> None:
    """A directory that another thread makes while this one looks for it was never gone."""
    store, look = FileStore(tmp_path / "new"), private_directories.our_directory
    other, saved = [True], token()

    def look_while_it_is_made(directory: Path) -> os.stat_result:
        try:
            return look(directory)
        except FileNotFoundError:
            if other:
                other.clear()
                FileStore(tmp_path / "new").save(KEY, saved)
            raise

    monkeypatch.setattr(private_directories, "our_directory", look_while_it_is_made)
    if use == "load":
        assert store.load(KEY) in (None, saved)
    else:
        with store.lock(KEY):
            pass
    assert saved == store.load(KEY)


def test_load__directory_gone_in_the_last_moment(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that vanishes while the file is being opened is missed, too."""
    store.save(KEY, token())
    real_open = os.open

    def vanishing(path: Path, *args: int) -> int:
        take_away(store)
        return real_open(path, *args)

    monkeypatch.setattr(os, "open", vanishing)

    with pytest.raises(StoreError, match="gone"):
        store.load(KEY)


def test_load__directory_back_in_the_last_moment(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that comes back right after it was missed is an error once, and no logout."""
    store.save(KEY, token())
    away, lstat = take_away(store), Path.lstat

    def returning(path: Path) -> os.stat_result:
        try:
            return lstat(path)
        except FileNotFoundError:
            away.rename(path)
            raise

    monkeypatch.setattr(Path, "lstat", returning)
    with pytest.raises(StoreError, match="gone"):
        store.load(KEY)

    assert token() == store.load(KEY)


def test_load__deleted_by_another_process(store: FileStore) -> None:
    """An account that another process has deleted is no longer there, and that is no error."""
    store.save(KEY, token())
    code = (
        "import sys; from tiktok_oauth_session import FileStore; FileStore(sys.argv[1]).delete(sys.argv[2:])"
    )
    subprocess.run([sys.executable, "-c", code, store.directory, *KEY], check=True)

    assert store.load(KEY) is None
    assert [] == list(store.keys())
    store.delete(KEY)


@pytest.mark.parametrize("which", ["root", "client directory"])
def test_save__begins_anew(store: FileStore, which: str) -> None:
    """A new login makes a directory that was removed, and the other accounts are logged out from then on."""
    store.save(KEY, token())
    store.save(NEIGHBOUR, token())
    shutil.rmtree(directory_of(store, which))
    store.save(KEY, token(2))

    assert token(2) == store.load(KEY)
    assert [KEY] == list(store.keys())
    assert store.load(NEIGHBOUR) is None
    assert mode(directory_of(store, "client directory")) == 0o700
    with FileStore(store.directory).try_lock(KEY) as free:
        assert free


def test_lock__directory_gone_while_waiting(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a lock in a directory that vanishes does not get one in a new directory."""
    store.save(KEY, token())
    sleep = time.sleep

    def vanishing(seconds: float) -> None:
        if directory_of(store, "client directory").exists():
            take_away(store)
        sleep(seconds)

    monkeypatch.setattr(private_files.time, "sleep", vanishing)
    with store.lock(KEY), pytest.raises(StoreError, match="gone"), FileStore(store.directory).lock(KEY):
        pass

    assert not directory_of(store, "client directory").exists()


def test_directory__relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store stays where it was when the process changes its directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = FileStore("tokens")
    store.save(KEY, token())
    monkeypatch.chdir("elsewhere")

    assert token() == store.load(KEY)
    assert tmp_path / "tokens" == store.directory


def test_memory__bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers so many directories, the ones in use among them."""
    monkeypatch.setattr(private_directories, "REMEMBERED_DIRECTORIES", 3)
    monkeypatch.setattr(private_directories, "_seen", {})
    stores = [FileStore(tmp_path / str(n)) for n in range(5)]
    for store in stores:
        store.save(KEY, token())
        assert token() == stores[0].load(KEY)

    assert 3 == len(private_directories._seen)
    for store in (stores[0], stores[4]):
        shutil.rmtree(store.directory)
        with pytest.raises(StoreError, match="gone"):
            store.load(KEY)
