"""How many accounts a second ``tiktok-oauth keep-alive`` refreshes, and what each costs."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from benchmarks.contestants import CLIENT_KEY, CLIENT_SECRET, token
from benchmarks.places import Place, places
from benchmarks.results import OURS, Row
from benchmarks.rounds import Run
from benchmarks.tiktok import TikTok, served
from tiktok_oauth_session import LOGIN_KIT, AccountKey, TikTokToken

TITLE = "Keep-alive"
#: How many accounts are due: on files, and on the others.
SIZES, SIZE = (1_000, 5_000, 20_000), 2_000
FULL_SIZES = (*SIZES, 100_000)
#: So many refreshes at a time, in all processes together.
WORKERS = 64
#: The most that an account may cost, and the memory be, where most are due, beside where fewest are.
CONSTANT_GOAL = 1.1
#: The least part of what the machine's cores could do.
SHARE_GOAL = 0.8
COST = "ms of a core per account"
DATABASE_COST = f"{COST}, for the database"


class Outcome(NamedTuple):
    """What a run took."""

    refreshed: int
    seconds: float
    #: Of the processor's time in seconds: keep-alive's own, and with TikTok's and the database's.
    own_s: float
    all_s: float
    #: The database's part of it.
    database_s: float
    mebibytes: float

    def beyond(self, idle: Outcome) -> Outcome:
        """Return what it took beyond a run that found nothing due."""
        names = ("seconds", "own_s", "all_s", "database_s")
        return self._replace(**{name: getattr(self, name) - getattr(idle, name) for name in names})

    @property
    def cost_ms(self) -> float:
        """The milliseconds of a core that keep-alive itself needs for an account."""
        return self.own_s / self.refreshed * 1000

    @property
    def database_ms(self) -> float:
        """What the database needs for it."""
        return self.database_s / self.refreshed * 1000


def measure(run: Run) -> list[Row]:
    """Refresh accounts in one process, and in two, on each store."""
    every = list(places(run))
    runs = [(place, jobs, sizes_of(run, place, jobs)) for place in every for jobs in (1, 2)]
    run.expect(sum(len(sizes) for _, _, sizes in runs))
    rows: list[Row] = []
    with served() as tiktok:
        for place, jobs, sizes in runs:
            if sizes:
                fill(place, 0, tiktok)
                idle = refreshed(place, tiktok, jobs, 0)
                rows += _of(run, place, tiktok, jobs, sizes, idle)
    run.notes.append(
        f"`tiktok-oauth keep-alive --workers {WORKERS}` with a TikTok that takes 50 ms; without what a "
        "run takes that finds nothing due. The cost is keep-alive's own processor time. The limit is what "
        "the machine's cores could refresh if all of their time went into it: keep-alive's, TikTok's and the "
        "database's."
    )
    return rows


def sizes_of(run: Run, place: Place, jobs: int) -> tuple[int, ...]:
    """Return how many accounts are to be due, run after run."""
    is_file, is_alone = place.kind == "file", jobs == 1
    if run.is_short:
        return (60,) if is_file or is_alone else ()
    if run.is_full:
        return FULL_SIZES
    return (SIZES if is_alone else SIZES[1:2]) if is_file else (SIZE,)


def _of(run: Run, place: Place, tiktok: TikTok, jobs: int, sizes: Sequence[int], idle: Outcome) -> list[Row]:
    rows, outcomes = [], []
    for count in sizes:
        fill(place, count, tiktok)
        outcome = refreshed(place, tiktok, jobs, count).beyond(idle)
        outcomes.append(outcome)
        case = f"{place.name}, {count:,} accounts, {jobs} process{'es' if jobs > 1 else ''}"
        rows += [
            Row(case, OURS, outcome.refreshed / outcome.seconds, "accounts/s"),
            Row(case, OURS, outcome.cost_ms, COST),
            *([Row(case, OURS, outcome.database_ms, DATABASE_COST)] if place.pid else []),
        ]
        run.step()
    last = outcomes[-1]
    if jobs > 1:
        limit = (os.cpu_count() or 1) * last.refreshed / last.all_s
        reached = last.refreshed / last.seconds
        goal = {"goal": SHARE_GOAL, "at_least": True}
        rows.append(Row(case, OURS, reached, "accounts/s", "the limit", reached / limit, **goal))
    elif len(outcomes) > 1:
        least, whole = f"{sizes[0]:,} accounts", outcomes[0]
        cost, memory = last.cost_ms / whole.cost_ms, last.mebibytes / whole.mebibytes
        each_kib = (last.mebibytes - whole.mebibytes) * 1024 / (sizes[-1] - sizes[0])
        rows += [
            Row(case, OURS, last.cost_ms, COST, least, cost, goal=CONSTANT_GOAL),
            Row(case, OURS, last.mebibytes, "MiB at most", least, memory, goal=CONSTANT_GOAL),
            Row(case, OURS, each_kib, "KiB for each account more"),
        ]
    return rows


def fill(place: Place, count: int, tiktok: TikTok) -> None:
    """Let so many accounts be due, and be all that there are."""
    place.clear()
    store, issuer = place.open(), LOGIN_KIT.at(tiktok.url).issuer
    for n in range(count):
        # New ones each time: TikTok knows which refresh token is each one's next.
        user = f"{time.time_ns():x}-{n}"
        due = {**token(user, left_s=-1), "refresh_expires_at": time.time() + 86_400, "issuer": issuer}
        store.save(AccountKey(CLIENT_KEY, user), TikTokToken(due))


def refreshed(place: Place, tiktok: TikTok, jobs: int, count: int) -> Outcome:
    """Run the command once.

    Raises:
        RuntimeError: It has not refreshed so many accounts.
    """
    environment = {
        **os.environ,
        "TIKTOK_OAUTH_BASE_URL": tiktok.url,
        "TIKTOK_OAUTH_STORE": place.url,
        "TIKTOK_CLIENT_KEY": CLIENT_KEY,
        "TIKTOK_CLIENT_SECRET": CLIENT_SECRET,
    }
    command = [sys.executable, "-m", "tiktok_oauth_session", "keep-alive", "--json", "--rate", "1e6"]
    command += ["--workers", str(WORKERS), "--jobs", str(jobs)]
    tiktok_before, database_before = tiktok.counts()["cpu_s"], _server_s(place)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = psutil.Popen(command, env=environment, stdout=-1, stderr=-1)
    mebibytes = _watched(process)
    said, complaints = process.communicate()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    done = json.loads(said or b"{}").get("refreshed")
    if done != count:
        raise RuntimeError(f"{done} accounts were refreshed, not {count}: {complaints.decode()[:1000]}")
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    database = _server_s(place) - database_before
    every = own + database + tiktok.counts()["cpu_s"] - tiktok_before
    return Outcome(count, seconds, own, every, database, mebibytes)


def _watched(process: psutil.Popen) -> float:
    """Wait for a command; return the most memory that one of its processes had (MiB)."""
    most = 0
    while process.poll() is None:
        for each in (process, *process.children()):
            try:
                most = max(most, each.memory_info().rss)
            except psutil.Error:
                continue
        time.sleep(0.1)
    return most / 2**20


def _server_s(place: Place) -> float:
    """Return the processor's time that a database has needed, with what has ended of it."""
    if place.pid is None:
        return 0.0
    server = psutil.Process(place.pid)
    times = [server.cpu_times(), *(child.cpu_times() for child in server.children())]
    return sum(each.user + each.system for each in times) + times[0].children_user + times[0].children_system
