"""The store in files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tiktok_oauth_session import FileStore, StoreError
from tiktok_oauth_session.stores import StoreConflict, TokenStore
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, TokenStoreConformance, token


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


def test_save__private_from_the_first_byte(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file is private before anything is written to it."""
    seen = []
    write, fsync = os.replace, os.fsync

    def watching(descriptor: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watching)
    store.save(KEY, token())

    assert seen[0] == 0o600
    assert write is os.replace


def test_save__flushes_file_and_directory(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save is flushed to the disk: the file before it gets its name, the directory after."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        events.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", replaced)
    store.save(KEY, token())

    assert events == ["file", "replace", "directory"]


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
    (store.directory / next(iter(store.directory.iterdir())).name / token_name(store)).symlink_to(
        tmp_path / "elsewhere"
    )

    with pytest.raises(StoreError):
        store.load(KEY)


def token_name(store: FileStore) -> str:
    """Return the file name of the test's account."""
    return store._path(KEY).name


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give a file away")
def test_load__foreign_owner(store: FileStore) -> None:
    """A file that belongs to somebody else is refused."""
    store.save(KEY, token())
    os.chown(token_file(store), 65534, 65534)

    with pytest.raises(StoreError, match="belongs to user 65534"):
        store.load(KEY)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'"x"', b'{"version": 1}', b"\xff\xfe", b"[" * 100_000, b'{"version":"1"}'],
)
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
    assert [NEIGHBOUR] == list(store.keys())

    store.save(KEY, token(4))

    assert token(4) == store.load(KEY)
    (aside,) = damaged.parent.glob("*.damaged-*")
    assert content == aside.read_bytes()


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
    stale = token_file(store).with_name(f".{token_file(store).name}.tmp")
    stale.write_bytes(b"half a tok")
    store.save(KEY, token(2))

    assert not stale.exists()
    assert token(2) == store.load(KEY)


def test_lock__file_is_never_deleted(store: FileStore) -> None:
    """The lock file outlives save, delete and everybody who held it."""
    store.save(KEY, token())
    before = {path: path.stat().st_ino for path in store.directory.glob("*/*.lock")}
    store.delete(KEY)
    store.save(KEY, token(2))

    assert len(before) == 1
    assert before == {path: path.stat().st_ino for path in store.directory.glob("*/*.lock")}


def test_save__conflict_leaves_no_temporary_file(store: FileStore) -> None:
    """A refused compare-and-swap leaves nothing behind."""
    store.save(KEY, token())
    with pytest.raises(StoreConflict):
        store.save(KEY, token(2), replacing="rft.other")

    assert sorted(path.suffix for path in store.directory.glob("*/*")) == [".json", ".lock"]


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
    assert [".json", ".lock"] == sorted(path.suffix for path in store.directory.glob("*/*"))


def test_load__pipe_in_a_files_place(store: FileStore) -> None:
    """A pipe in a file's place is refused, and nobody waits for it."""
    store.save(KEY, token())
    path = token_file(store)
    path.unlink()
    os.mkfifo(path)

    with pytest.raises(StoreError, match="neither file nor directory"):
        store.load(KEY)
