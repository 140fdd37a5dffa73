"""Several processes, each of which looks after a part of the accounts: Python uses one processor in each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import Stop, verdict
from tiktok_oauth_session.cli.keep_alive.stopping import told_to_stop
from tiktok_oauth_session.cli.settings.credentials import Credentials
from tiktok_oauth_session.cli.settings.surface import platform
from tiktok_oauth_session.cli.terminal.signals import TO_BE_HANDLED, end_by, handled

if TYPE_CHECKING:
    from tiktok_oauth_session.keepalive import Summary

#: Seconds from one word of a process on how far it is to the next.
NEWS_S = 0.5


@dataclass(frozen=True)
class Job:
    """What one process is to do."""

    store: str | None
    app: Credentials
    access_within: float | None
    refresh_within: float
    workers: int
    rate: float
    part: tuple[int, int] = (0, 1)

    def run(self, stop: threading.Event, progress: Callable[[Summary], object]) -> Summary:
        """Keep its accounts alive.

        Raises:
            StoreError: The store could not say which accounts are due.
        """
        from tiktok_oauth_session.keepalive import keep_alive

        return keep_alive(
            stores.open_store(self.store),
            client_key=self.app.client_key,
            client_secret=self.app.client_secret,
            platform=platform(),
            access_within=self.access_within,
            refresh_within=self.refresh_within,
            workers=self.workers,
            rate=self.rate,
            part=self.part,
            stop=stop,
            progress=progress,
        )

    def split(self, count: int) -> list[Job]:
        """Return jobs that together do this one, with as many workers and at the same rate."""
        count = min(count, self.workers)
        return [
            replace(
                self,
                workers=self.workers // count + (n < self.workers % count),
                rate=self.rate / count,
                part=(n, count),
            )
            for n in range(count)
        ]


def run_all(jobs: Sequence[Job], progress: Callable[[Summary], object]) -> tuple[Summary, list[int]]:
    """Run jobs, each in a process of its own.

    Args:
        jobs: The jobs.
        progress: Told how far they are together.

    Returns:
        What became of the accounts of all, and the signals that came.

    Raises:
        Stop: One of them could not do its work.
        KeyboardInterrupt: Ctrl-C was pressed so often that one of them went without its summary.
        SystemExit: The same with another signal.
    """
    processes: list[_Process] = []
    came: list[int] = []

    def pass_on(number: int) -> None:
        came.append(number)
        for process in processes:
            process.pass_on(number)

    with handled(pass_on):
        # Until the children are ready for them.
        try:
            with _signals_blocked():
                processes.extend(map(_Process, jobs))
            _listen(processes, progress)
        finally:
            for process in processes:
                process.leave()
            for process in processes:
                process.join()
    if came and not all(process.has_ended_well for process in processes):
        end_by(came[-1])
    return _together(processes), came


class _Process:
    """A process that runs a job, as its parent sees it."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        #: What it says, and from whose end it knows that it is to end.
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_be, args=(job, theirs))
        self._process.start()
        theirs.close()
        self.summary: Summary | None = None
        self.has_ended_well = False

    def hear(self) -> bool:
        """Take one message; tell whether there may be another.

        Raises:
            Stop: It could not do its work.
        """
        try:
            message: _Message = self.pipe.recv()
        except (EOFError, OSError):
            return False
        if message.error:
            raise Stop(message.error, message.code)
        self.summary, self.has_ended_well = message.summary, message.is_last
        return True

    def pass_on(self, number: int) -> None:
        """Let it have a signal that came to its parent."""
        # On Windows, Ctrl-C reaches all processes by itself.
        if os.name == "posix" and self._process.is_alive() and self._process.pid:
            os.kill(self._process.pid, number)

    def leave(self) -> None:
        """Hear nothing more from it; if it still works, it ends after the refreshes in flight."""
        self.pipe.close()

    def join(self) -> None:
        """Wait until it is gone."""
        self._process.join()


@dataclass(frozen=True)
class _Message:
    summary: Summary | None = None
    is_last: bool = False
    #: Why it could not do its work, and the exit code for that.
    error: str = ""
    code: int = 0


def _listen(processes: list[_Process], progress: Callable[[Summary], object]) -> None:
    """Hear what each process has to say, until all have ended."""
    by_pipe: dict[object, _Process] = {process.pipe: process for process in processes}
    told = None
    while by_pipe:
        for pipe in wait([process.pipe for process in by_pipe.values()]):
            if not by_pipe[pipe].hear():
                del by_pipe[pipe]
        if any(process.summary is None for process in processes):
            continue
        summary = _together(processes)
        if told != (summary.done, summary.due):
            told = summary.done, summary.due
            progress(summary)


def _together(processes: list[_Process]) -> Summary:
    from tiktok_oauth_session.keepalive import Summary

    whole = Summary()
    for process in processes:
        part = process.summary or Summary()
        for name in ("due", "refreshed", "left_to_others"):
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
        for name in ("not_prolonged", "dead", "failed", "unsaved"):
            getattr(whole, name).update(getattr(part, name))
        ended = part.stopped or ("" if process.has_ended_well else "a process ended early")
        whole.stopped = whole.stopped or ended
    return whole


# --- as the process that runs it -------------------------------------------------------------------


def _be(job: Job, pipe: Connection) -> None:
    """Be the process of a job."""
    if os.name == "posix":
        # A terminal sends its Ctrl-C to all processes that it knows, and the parent passes it on.
        os.setsid()
    stop = threading.Event()
    with contextlib.suppress(KeyboardInterrupt), told_to_stop(stop):
        _unblock_signals()
        threading.Thread(target=_end_with_parent, args=(pipe, stop), daemon=True).start()
        try:
            last = _Message(job.run(stop, _Reporter(pipe)), is_last=True)
        except Exception as error:
            known = verdict(error)
            if known is None:
                raise
            last = _Message(error=known[1], code=known[0])
        # The parent may have been killed.
        with contextlib.suppress(OSError):
            pipe.send(last)


def _end_with_parent(pipe: Connection, stop: threading.Event) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    stop.set()


class _Reporter:
    """Tells the parent now and then how far its job is."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._next_at = pipe, 0.0

    def __call__(self, summary: Summary) -> None:
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + NEWS_S
            self._pipe.send(_Message(summary))


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    if os.name != "posix":
        yield
        return
    # It unblocks signals when it begins.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TO_BE_HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unblock_signals() -> None:
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TO_BE_HANDLED)
