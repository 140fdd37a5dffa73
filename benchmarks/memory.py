"""How much memory live sessions take."""

from __future__ import annotations

import gc
import tracemalloc

from benchmarks.contestants import MAKERS, token
from benchmarks.results import OURS, Row
from benchmarks.rounds import Run
from tiktok_oauth_session import MemoryStore

TITLE = "Live sessions"
SESSIONS = 10_000
#: The most that ours may take beside one of requests-oauthlib.
GOAL = 1.1
THEIRS = "requests-oauthlib"


def measure(run: Run) -> list[Row]:
    """Measure what Python allocates for sessions that live at the same time, each with a token."""
    count, store = run.of(SESSIONS, 300), MemoryStore()
    makers = {name: (lambda n, make=make: make(token(f"user-{n}"))) for name, make in MAKERS.items()}
    makers[f"{OURS}, with a store"] = lambda n: MAKERS[OURS](None, store=store, open_id=f"user-{n}")
    run.expect(len(makers))
    each_kib = {}
    for name, make in makers.items():
        make(0)
        gc.collect()
        tracemalloc.start()
        sessions = [make(n) for n in range(count)]
        each_kib[name] = tracemalloc.get_traced_memory()[0] / len(sessions) / 1024
        tracemalloc.stop()
        del sessions
        run.step()
    run.notes.append(
        "Without connections, which are urllib3's. With a store no token is loaded until a call."
    )
    return [
        Row(
            f"{count:,} sessions",
            name,
            kib,
            "KiB each",
            *(("", None) if name == THEIRS else (THEIRS, kib / each_kib[THEIRS])),
            goal=GOAL if name.startswith(OURS) else None,
        )
        for name, kib in each_kib.items()
    ]
