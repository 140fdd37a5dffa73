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
SIZES, SIZE = (1_000, 5_000, 20_000), 5_000
FULL_SIZES = (*SIZES, 100_000)
#: So many refreshes at a time, in all processes together.
WORKERS = 64
#: The most that an account may cost, and the memory be, where most are due, beside where fewest are.
CONSTANT_GOAL = 1.1
#: The least part of what the machine's cores could do.
SHARE_GOAL = 0.8


class Outcome(NamedTuple):
    """What a run took."""

    refreshed: int
    seconds: float
    #: Of the processor's time in seconds: keep-alive's own, and with TikTok's and the database's.
    own_s: float
    all_s: float
    mebibytes: float

    def beyond(self, idle: Outcome) -> Outcome:
        """Return what it took beyond a run that found nothing due."""
        seconds, own_s, all_s = (
            getattr(self, name) - getattr(idle, name) for name in ("seconds", "own_s", "all_s")
        )
        return self._replace(seconds=seconds, own_s=own_s, all_s=all_s)

    @property
    def cost_ms(self) -> float:
        """The milliseconds of a core that keep-alive itself needs for an account."""
        return self.own_s / self.refreshed * 1000


def measure(run: Run) -> list[Row]:
    """Refresh accounts in one process, and in two, on each store."""
    every = list(places(run))
    sizes = {place.kind: (run.of(SIZE, 60),) for place in every}
    sizes["file"] = (60, 240) if run.is_short else SIZES
    if run.is_full:
        sizes = dict.fromkeys(sizes, FULL_SIZES)
    run.expect(2 * sum(map(len, sizes.values())))
    rows: list[Row] = []
    with served() as tiktok:
        for place in every:
            for jobs in (1, 2):
                fill(place, 0, tiktok)
                idle = refreshed(place, tiktok, jobs, 0)
                rows += _of(run, place, tiktok, jobs, sizes[place.kind], idle)
    run.notes.append(
        f"`tiktok-oauth keep-alive --workers {WORKERS}` with a TikTok that takes 50 ms; without what a "
        "run takes that finds nothing due. The cost is keep-alive's own processor time. The limit is what "
        "the machine's cores could refresh if all of their time went into it: keep-alive's, TikTok's and the "
        "database's."
    )
    return rows


def _of(run: Run, place: Place, tiktok: TikTok, jobs: int, sizes: Sequence[int], idle: Outcome) -> list[Row]:
    rows, outcomes = [], []
    for count in sizes:
        fill(place, count, tiktok)
        outcome = refreshed(place, tiktok, jobs, count).beyond(idle)
        outcomes.append(outcome)
        case = f"{place.name}, {count:,} accounts, {jobs} process{'es' if jobs > 1 else ''}"
        rows += [
            Row(case, OURS, outcome.refreshed / outcome.seconds, "accounts/s"),
            Row(case, OURS, outcome.cost_ms, "ms of a core per account"),
        ]
        run.step()
    last = outcomes[-1]
    if jobs > 1:
        limit = (os.cpu_count() or 1) * last.refreshed / last.all_s
        reached = last.refreshed / last.seconds
        goal = {"goal": SHARE_GOAL, "at_least": True}
        rows.append(Row(case, OURS, reached, "accounts/s", "the limit", reached / limit, **goal))  # type: ignore[arg-type]  # the goal's
    elif len(outcomes) > 1:
        least, whole = f"{sizes[0]:,} accounts", outcomes[0]
        cost, memory = last.cost_ms / whole.cost_ms, last.mebibytes / whole.mebibytes
        rows += [
            Row(case, OURS, last.cost_ms, "ms of a core per account", least, cost, goal=CONSTANT_GOAL),
            Row(case, OURS, last.mebibytes, "MiB at most", least, memory, goal=CONSTANT_GOAL),
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
    others_before = tiktok.counts()["cpu_s"] + _server_s(place)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = psutil.Popen(command, env=environment, stdout=-1, stderr=-1)
    mebibytes = _watched(process)
    said, complaints = process.communicate()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    done = json.loads(said or b"{}").get("refreshed")
    if done != count:
        raise RuntimeError(f"{done} accounts were refreshed, not {count}: {complaints.decode()[:1000]}")
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    others = tiktok.counts()["cpu_s"] + _server_s(place) - others_before
    return Outcome(count, seconds, own, own + others, mebibytes)


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
