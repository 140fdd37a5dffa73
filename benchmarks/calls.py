"""What a call costs while the token is fresh."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests
from pytiktok import KitApi
from requests.adapters import HTTPAdapter

from benchmarks.contestants import API, MAKERS, PATH, Instant, token
from benchmarks.results import OURS, Row, compared
from benchmarks.rounds import Run, cpu_us
from benchmarks.tiktok import served
from tiktok_oauth_session import AccountKey, MemoryStore, TikTokToken

TITLE = "A call with a fresh token"
#: The most that a call may cost beside a bare one: with `trust_env`, and without.
GOALS = {True: 1.03, False: 1.05}
THREADS = 16

PYTHON_TIKTOK = "python-tiktok"


def measure(run: Run) -> list[Row]:
    """Measure the client's own processor time: without a network, and over HTTP on this machine."""
    rows = []
    for trust_env, goal in GOALS.items():
        case = f"no network, trust_env {'on' if trust_env else 'off'}"
        figures = run.in_turns(without_network(trust_env=trust_env), run.of(151, 2))
        rows += _rows(case, figures, goal)
    with served() as tiktok:
        for threads, goal in ((1, GOALS[True]), (THREADS, GOALS[True])):
            case = f"HTTP on this machine, {threads} thread{'s' if threads > 1 else ''}"
            made = {name: connected(name, tiktok.url, threads) for name in MAKERS}
            figures = run.in_turns(
                {name: in_threads(each, threads, 16 * threads) for name, each in made.items()},
                run.of(101 if threads == 1 else 41, 2),
            )
            rows += _rows(case, figures, goal)
    run.notes.append(
        "The processor's time that the client itself needs for a call, its threads together. What "
        "python-tiktok calls is v1, by POST, and it reads the reply; it has no address but TikTok's."
    )
    return rows


def _rows(case: str, figures: dict[str, list[float]], goal: float) -> list[Row]:
    others = [name for name in figures if name != OURS]
    rows = [compared(case, "µs", figures, name, "requests") for name in others]
    goals = {"requests": goal, "requests-oauthlib": 1.0, "Authlib": 1.02}
    return rows + [compared(case, "µs", figures, OURS, *each) for each in goals.items()]


def without_network(*, trust_env: bool) -> dict[str, Callable[[], float]]:
    """Return what measures each session's call, with an adapter that answers at once."""
    store = MemoryStore()
    store.save(AccountKey("benchmark-key", "user"), TikTokToken(token()))
    sessions = {name: make(token()) for name, make in MAKERS.items()}
    sessions[f"{OURS}, with a store"] = MAKERS[OURS](None, store=store, open_id="user")
    works: dict[str, Callable[[], object]] = {
        name: (lambda get=session.get: get(API + PATH)) for name, session in sessions.items()
    }
    api = KitApi(access_token=token()["access_token"])
    works[PYTHON_TIKTOK] = lambda: api.get_user_info("user", return_json=True)
    for session in (*sessions.values(), api.session):
        session.mount("https://", Instant())
        session.trust_env = trust_env
    return {name: cpu_us(work, 40) for name, work in works.items()}


def connected(name: str, url: str, threads: int) -> Callable[[], requests.Response]:
    """Return a contestant's call of a TikTok at another address."""
    session = MAKERS[name](token(), url)
    session.mount("http://", HTTPAdapter(pool_maxsize=threads))
    return lambda: session.get(url + PATH)


def in_threads(call: Callable[[], object], threads: int, calls: int) -> Callable[[], float]:
    """Return what measures a call's processor time where threads make so many calls together."""
    if threads == 1:
        return cpu_us(call, calls)

    def figure() -> float:
        begin = threading.Barrier(threads)

        def work(_: int) -> None:
            begin.wait()
            for _ in range(calls // threads):
                call()

        began = time.process_time()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        return (time.process_time() - began) / (calls // threads * threads) * 1e6

    return figure
