"""What belongs to one process, and must not be used by a child that it forks.

Found out by comparing process ids before use, and not by `os.register_at_fork`: a server that forks in C,
such as uWSGI, runs no hook. A child inherits memory and open sockets, but none of its parent's threads: a
lock that one of them held is never freed, and a connection that both use mixes two conversations.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")

# What forked children inherited. It is their parents': no garbage collector may close it here.
_inherited: list[object] = []
_threads: set[threading.Thread] = set()


class PerProcess(Generic[_T]):
    """A value of which every process has its own, made when it is first asked for.

    Args:
        make: Makes it. Two threads may make one each; all get the same.
    """

    __slots__ = ("__weakref__", "_by_pid", "_make")

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._by_pid: dict[int, _T] = {}

    @property
    def value(self) -> _T:
        """This process's own."""
        by_pid, pid = self._by_pid, os.getpid()
        if pid in by_pid:
            return by_pid[pid]
        # No lock, which a thread of the parent could have held at the fork.
        value = by_pid.setdefault(pid, self._make())
        _inherited.extend(theirs for whose, theirs in by_pid.items() if whose != pid)
        self._by_pid = {pid: value}
        _leave_inherited_threads()
        return value


def start_thread(run: Callable[[], object], name: str) -> None:
    """Run something in a thread that the interpreter's exit waits for, also where the caller's is a daemon.

    Raises:
        RuntimeError: No thread can be started (any more).
    """

    def run_and_forget() -> None:
        try:
            run()
        finally:
            _threads.discard(threading.current_thread())

    thread = threading.Thread(target=run_and_forget, name=name, daemon=False)
    _threads.add(thread)
    try:
        thread.start()
    except RuntimeError:
        _threads.discard(thread)
        raise


def main_thread_has_ended() -> bool:
    """Tell whether the interpreter is about to exit: it waits for threads, and takes on nothing new."""
    return not threading.main_thread().is_alive()


def process_space() -> str:
    """Return what processes share that see each other by their ids: the machine, and the container."""
    try:
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116 - pathlib costs as much again
    except OSError:
        namespace = ""
    machine = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return hashlib.sha256(f"{machine} {namespace}".encode()).hexdigest()[:8]


def is_running(pid: int) -> bool:
    """Tell whether there may be such a process among those that this one sees."""
    if os.name == "nt":
        # There `os.kill` asks nothing, it kills.
        return True
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - pathlib costs as much again
            # After the name, which may hold anything: Z is dead, and not buried yet.
            return stat.read().rpartition(b")")[2].split()[:1] != [b"Z"]
    except ProcessLookupError:
        return False
    except OSError:
        # It belongs to somebody else, or this system has no such files.
        return True


def threads_stop_greenlets() -> bool:
    """Tell whether gevent runs here and has not been let near threads: waiting for one stops everything."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None:
        return False
    return bool(monkey.is_module_patched("socket") and not monkey.is_module_patched("threading"))


_pid = os.getpid()


def _leave_inherited_threads() -> None:
    """In a forked child: let its exit wait for none of its parent's threads."""
    global _pid  # noqa: PLW0603 - it is the one fact of this module
    if _pid == os.getpid():
        return
    _pid = os.getpid()
    for thread in list(_threads):
        # Where Python itself has noticed the fork, it has done the same. From 3.13 on it keeps its list to
        # itself: a child that was forked in C, during a refresh, ends only when it is killed.
        tstate_lock: Any = getattr(thread, "_tstate_lock", None)
        if tstate_lock is not None:
            locks: Any = threading._shutdown_locks  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way
            locks.discard(tstate_lock)
    _threads.clear()
