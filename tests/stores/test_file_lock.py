"""The lock on a file: what others see of it, and what a forked child inherits, by Python or in C."""

from __future__ import annotations

import os
import stat
import sys
import time
import warnings

import pytest
from child_processes import PATIENCE_S, ChildProcess, fork, hear, say
from locks import is_free

from tiktok_oauth_session import FileStore, MemoryStore, StoreError
from tiktok_oauth_session.stores import file_lock
from tiktok_oauth_session.stores.file_lock import FileLock
from tiktok_oauth_session.stores.private_files import lock_file
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, token

#: Seconds in which whoever waits has to go on when the lock's holder was killed.
GOES_ON_WITHIN_S = 1.0


# --- in the other process ---------------------------------------------------------------------------


def leave_the_block(store, how):
    """Fork inside of the block that holds the lock; the child leaves the block, and waits for its turn."""
    with store.lock(KEY):
        child = fork(how)
        if child:
            hear()
        else:
            say(inside=[store.is_locked_here(KEY), is_free(store)])
    if child:
        say(parent=os.waitpid(child, 0)[1])
        return
    say(outside=[store.is_locked_here(KEY), is_free(store)])
    with store.lock(KEY):
        say(child=[store.is_locked_here(KEY), is_free(store)])
    os._exit(0)


def outlive_the_parent(store, how):
    """Hold the lock and fork a child that lives on; forked in C, it reads a token once."""
    with store.lock(KEY):
        if fork(how):
            hear()
        if how == "in C":
            store.load(KEY)
        say(child=os.getpid())
        time.sleep(10 * PATIENCE_S)


def find_the_number_reused(store, how):
    """Fork a child that closes what it inherited, as daemons do, and has another file by that number."""
    with store.lock(KEY):
        if child := fork(how):
            os.waitpid(child, 0)
            return
        if how == "in C":
            (number,) = [lock()._file.fileno() for lock in file_lock._open_locks.values()]
            os.close(number)
            assert number == os.open(os.devnull, os.O_RDONLY)
        else:
            number = os.open(os.devnull, os.O_RDONLY)
        is_free(store)
    is_free(store)
    say(is_null_device=stat.S_ISCHR(os.fstat(number).st_mode))
    os._exit(0)


def look_in_a_late_thread(store, how):
    """Fork a child with a lock of its own, one of whose threads still has to find out whose child it is."""
    with store.lock(KEY):
        if fork(how):
            hear()
            return
        with store.lock(NEIGHBOUR):
            file_lock._pid = os.getppid()
            store.load(KEY)
            say(held=True)
            time.sleep(10 * PATIENCE_S)


SCENES = {
    each.__name__: each
    for each in (leave_the_block, outlive_the_parent, find_the_number_reused, look_in_a_late_thread)
}


def play(scene, how, directory):
    """Play a scene on a store that has one token."""
    store = FileStore(directory) if directory else MemoryStore()
    store.save(KEY, token())
    SCENES[scene](store, how)


# --- in the test ------------------------------------------------------------------------------------

each_fork = pytest.mark.parametrize("how", ["by Python", "in C"])


@pytest.fixture
def directory(tmp_path):
    """Where the tokens are."""
    return tmp_path / "tokens"


def begin(scene, how, directory):
    """Start a process that plays a scene; the context ends it."""
    return ChildProcess(__file__, scene.__name__, how, directory)


@each_fork
def test_fork__child_leaves_the_block(how, directory):
    """A child forked under a lock does not believe to hold it, does not free it, and gets it in its turn."""
    with begin(leave_the_block, how, directory) as app:
        assert {"inside": [False, False]} == app.hear()
        assert {"outside": [False, False]} == app.hear()
        assert not is_free(FileStore(directory))

        app.say(end=True)

        assert {"child": [True, True]} == app.hear()
        assert {"parent": 0} == app.hear()
    assert is_free(FileStore(directory))


@each_fork
def test_fork__child_leaves_the_block_in_memory(how):
    """In memory a child has locks of its own: its parent's neither bind it nor count as its own."""
    with begin(leave_the_block, how, "") as app:
        assert {"inside": [False, True]} == app.hear()
        assert {"outside": [False, True]} == app.hear()
        assert {"child": [True, True]} == app.hear()

        app.say(end=True)

        assert {"parent": 0} == app.hear()


@each_fork
def test_fork__parent_killed(how, directory):
    """The lock of a killed process is free within a second, also if a child forked under it lives on."""
    with begin(outlive_the_parent, how, directory) as app:
        child = app.hear()["child"]

        assert not is_free(FileStore(directory))

        killed = time.monotonic()
        app.kill()
        while not is_free(FileStore(directory)) and time.monotonic() < killed + 2 * GOES_ON_WITHIN_S:
            time.sleep(0.01)

        assert time.monotonic() - killed < GOES_ON_WITHIN_S
        os.kill(child, 0)


@each_fork
def test_fork__number_of_the_file_reused(how, directory):
    """A child closes its parent's lock file, and no other one that has its number by now."""
    with begin(find_the_number_reused, how, directory) as app:
        assert {"is_null_device": True} == app.hear()


@each_fork
def test_fork__threads_of_the_child(how, directory):
    """A thread that leaves the parent's locks alone does not touch what another one has locked before it."""
    with begin(look_in_a_late_thread, how, directory) as app:
        assert {"held": True} == app.hear()
        assert [False, False] == [is_free(FileStore(directory), key) for key in (KEY, NEIGHBOUR)]


def test_lock_file__exchanged_while_it_is_taken(directory, monkeypatch):
    """A lock on a file that is no longer in its place is none; the next look takes the one that is."""
    directory.mkdir(mode=0o700)
    path = directory / "x.lock"
    real, exchanged = file_lock._lock, []

    def exchange(descriptor):
        if not exchanged:
            path.rename(directory / "away")
            path.touch(mode=0o600)
            exchanged.append(path)
        return real(descriptor)

    monkeypatch.setattr(file_lock, "_lock", exchange)
    with lock_file(path, 0.0, root=directory) as held:
        assert not held
    with lock_file(path, 0.0, root=directory) as held, lock_file(path, 0.0, root=directory) as again:
        assert held
        assert not again


@pytest.mark.parametrize("plant", ["symlink", "pipe", "directory"])
def test_lock_file__something_else_in_its_place(directory, plant):
    """What is no file of ours is not locked, not followed and not waited for."""
    directory.mkdir(mode=0o700)
    path, target = directory / "x.lock", directory.with_name("target")
    if plant == "symlink":
        path.symlink_to(target)
    elif plant == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()

    with pytest.raises(StoreError), lock_file(path, 0.0, root=directory):
        pass
    assert not target.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give a file away")
def test_lock_file__foreign_owner(directory):
    """A lock file that belongs to somebody else, who could hold it for ever, is refused."""
    with lock_file(directory / "x.lock", 0.0, root=directory):
        pass
    os.chown(directory / "x.lock", 65534, 65534)

    with (
        pytest.raises(StoreError, match="belongs to user 65534"),
        lock_file(directory / "x.lock", 0.0, root=directory),
    ):
        pass


def test_lock_file__system_that_has_no_locks(directory, monkeypatch):
    """Where the system cannot lock, that is an error and not a lock of another, weaker kind."""

    def refuse(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(file_lock.fcntl, "flock", refuse)

    with (
        pytest.raises(StoreError, match=r"Cannot lock .*Function not implemented"),
        lock_file(directory / "x.lock", 0.0, root=directory),
    ):
        pass


class Interrupted(BaseException):
    """What a signal handler raises."""


@pytest.mark.parametrize("step", range(12))
def test_file_lock__interrupted_while_it_is_freed(directory, step):
    """Wherever letting go is interrupted, the lock is free as soon as nobody refers to it any more."""
    directory.mkdir(mode=0o700)
    lock, steps = FileLock(directory / "x.lock"), iter(range(step))

    def interrupt(frame, event, argument):
        if event == "line" and frame.f_code is FileLock.free.__code__ and next(steps, None) is None:
            raise Interrupted
        return interrupt

    assert lock.take()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        sys.settrace(interrupt)
        try:
            lock.free()
        except Interrupted:
            pass
        finally:
            sys.settrace(None)
        del lock
    with lock_file(directory / "x.lock", 0.0, root=directory) as held:
        assert held


if __name__ == "__main__":
    play(*sys.argv[1:])
