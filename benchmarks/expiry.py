"""What happens when a token expires while many use it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from benchmarks.contestants import CLIENT_KEY, MAKERS, PATH, token
from benchmarks.places import Place, places
from benchmarks.results import OURS, Row
from benchmarks.rounds import Run
from benchmarks.tiktok import TikTok, served
from tiktok_oauth_session import AccountKey, TikTokToken
from tiktok_oauth_session.cli.stores.urls import store_at

TITLE = "A token that expires under load"
THREADS = 64
#: So many processes, and threads in each, share a store.
PROCESSES, THREADS_EACH = 8, 8
#: Calls of each thread beside a refresh, and seconds that the API takes for one.
CALLS, API_S = 5, 0.05
#: Seconds that a token lives on that ends soon: one caller refreshes it, and the others go on.
SOON_S = 300.0
#: The most that the slowest of a hundred calls may take beside a refresh.
P99_GOAL = 1.5

#: What a thread did: the seconds of each of its calls, None for one that failed; and whether it refreshed.
Lane = tuple[list[float | None], bool]


def measure(run: Run) -> list[Row]:
    """Let threads, then processes that share a store, meet a token that has expired, or ends soon."""
    expiries = run.of(20, 2)
    with served() as tiktok:
        rows = _threads(run, tiktok, expiries)
        for place in places(run):
            rows += _processes(run, tiktok, place, expiries)
    run.notes.append(
        "TikTok takes 50 ms for a refresh, and for a call. A call that fails is one whose user would be "
        "told to log in. The p99 is of the calls of those who do not refresh, while somebody else does, "
        "beside the p99 of the same calls with a fresh token."
    )
    return rows


# --- one process -----------------------------------------------------------------------------------


def _threads(run: Run, tiktok: TikTok, expiries: int) -> list[Row]:
    case = f"{THREADS} threads, a token that has expired, {expiries} times"
    rows = []
    names = [name for name in MAKERS if name != "requests"]
    run.expect(expiries * len(names))
    failed = dict.fromkeys(names, 0)
    for number in range(expiries):
        for name in names:
            # Hyphens are all that a user's id may have.
            lanes = burst(_shared(name, tiktok, f"{name}-expired-{number}", left_s=-1), calls=1)
            failed[name] += len(failures(lanes))
            run.step()
    for name in names:
        rows += _counted(case, name, tiktok.counts(f"{name}-expired"), failed[name], expiries)

    def p99(left_s: float, kind: str) -> Callable[[int], list[Lane]]:
        return lambda number: burst(_shared(OURS, tiktok, f"{kind}-{number}", left_s=left_s), calls=CALLS)

    soon, fresh = p99(SOON_S, "soon"), p99(7200, "fresh")
    return [*rows, _beside_a_refresh(run, f"{THREADS} threads, a token that ends soon", soon, fresh)]


def _shared(name: str, tiktok: TikTok, user: str, *, left_s: float) -> list[Callable[[], object]]:
    session = MAKERS[name](token(user, left_s=left_s), tiktok.url)
    if name == OURS:
        session.token_updater = _note_refresh
    session.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
    return [_call(session, tiktok.url)] * THREADS


def _counted(case: str, name: str, counts: dict[str, float], failed: int, expiries: int) -> list[Row]:
    is_ours = name == OURS
    return [
        Row(case, name, counts["requests"], "token requests", goal=expiries if is_ours else None),
        Row(case, name, failed, "failed calls", goal=0 if is_ours else None),
    ]


def _beside_a_refresh(
    run: Run, case: str, soon: Callable[[int], list[Lane]], fresh: Callable[[int], list[Lane]]
) -> Row:
    """Return the row of the slowest calls of those who do not refresh."""
    rounds = run.of(20, 2)
    run.expect(rounds)
    ratios, p99s = [], []
    # What is imported at the first refresh is there from then on.
    soon(-1)
    for number in range(rounds):
        others = [seconds for seconds, led in fresh(number) if not led]
        waited = [seconds for seconds, led in soon(number) if not led]
        p99s.append(_p99(waited))
        ratios.append(_p99(waited) / _p99(others))
        run.step()
    low, middle, high = statistics.quantiles(ratios, n=4)
    figure = statistics.median(p99s) * 1000
    return Row(case, OURS, figure, "ms (p99)", "a fresh token", middle, (low, high), P99_GOAL)


def _p99(lanes: Sequence[Sequence[float | None]]) -> float:
    every = sorted(each for seconds in lanes for each in seconds if each is not None)
    return every[int(len(every) * 0.99)]


# --- a burst of calls ------------------------------------------------------------------------------

_in_thread = threading.local()


def _note_refresh(_token: object) -> None:
    # An updater is called in the thread of the call that refreshed.
    _in_thread.led = True


def _call(session: requests.Session, url: str) -> Callable[[], object]:
    return lambda: session.get(f"{url}{PATH}&seconds={API_S}", timeout=60).raise_for_status()


def burst(calls_of: Sequence[Callable[[], object]], *, calls: int) -> list[Lane]:
    """Let threads begin at once and call, each by itself and one call after the other."""
    begin = threading.Barrier(len(calls_of))

    def work(call: Callable[[], object]) -> Lane:
        _in_thread.led = False
        begin.wait()
        seconds = [_seconds(call) for _ in range(calls)]
        return seconds, _in_thread.led

    with ThreadPoolExecutor(len(calls_of)) as pool:
        return list(pool.map(work, calls_of))


def _seconds(call: Callable[[], object]) -> float | None:
    began = time.perf_counter()
    try:
        call()
    except Exception:  # noqa: BLE001 - each package raises its own
        return None
    return time.perf_counter() - began


def failures(lanes: Sequence[Lane]) -> list[None]:
    """Return the calls that failed."""
    return [each for seconds, _ in lanes for each in seconds if each is None]


# --- processes that share a store ------------------------------------------------------------------


def _processes(run: Run, tiktok: TikTok, place: Place, expiries: int) -> list[Row]:
    processes = run.of(PROCESSES, 2)
    case = f"{processes} processes of {THREADS_EACH} threads, {place.name}"
    store = place.open()
    with _workers(place.url, tiktok.url, processes) as workers:

        def together(kind: str, number: int, left_s: float, calls: int) -> list[Lane]:
            user = f"{place.kind}-{kind}-{number}"
            store.save(AccountKey(CLIENT_KEY, user), TikTokToken(token(user, left_s=left_s)))
            for worker in workers:
                _say(worker, user=user, calls=calls)
            return [tuple(lane) for worker in workers for lane in json.loads(worker.stdout.readline())]

        run.expect(expiries)
        failed = 0
        for number in range(expiries):
            failed += len(failures(together("expired", number, -1, 1)))
            run.step()
        rows = _counted(f"{case}, expired", OURS, tiktok.counts(f"{place.kind}-expired"), failed, expiries)
        soon = _beside_a_refresh(
            run,
            f"{case}, ends soon",
            lambda number: together("soon", number, SOON_S, CALLS),
            lambda number: together("fresh", number, 7200, CALLS),
        )
    return [*rows, soon]


@contextmanager
def _workers(store_url: str, url: str, processes: int) -> Iterator[list[Any]]:
    command = [sys.executable, "-m", "benchmarks.expiry"]
    with ExitStack() as stack:
        workers: list[Any] = []
        for _ in range(processes):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            workers.append(stack.enter_context(process))
        try:
            for worker in workers:
                _say(worker, store=store_url, url=url)
            for worker in workers:
                worker.stdout.readline()
            yield workers
        finally:
            for worker in workers:
                worker.stdin.close()


def _say(worker: Any, **facts: object) -> None:
    worker.stdin.write(json.dumps(facts) + "\n")
    worker.stdin.flush()


def be_worker() -> None:
    """Be one of the processes: call, when told to, for a user whose token is in the store."""
    setting = json.loads(sys.stdin.readline())
    store, adapter = store_at(setting["store"]), HTTPAdapter(pool_maxsize=THREADS_EACH)
    print("ready", flush=True)
    for line in sys.stdin:
        told, calls = json.loads(line), []
        for _ in range(THREADS_EACH):
            options = {"store": store, "open_id": told["user"], "token_updater": _note_refresh}
            session = MAKERS[OURS](None, setting["url"], **options)
            session.mount("http://", adapter)
            calls.append(_call(session, setting["url"]))
        print(json.dumps(burst(calls, calls=told["calls"])), flush=True)


if __name__ == "__main__":
    be_worker()
