"""What a session for each web request costs: make it, load the token, call, and let it go."""

from __future__ import annotations

import json
from collections.abc import Callable

import requests

from benchmarks.contestants import API, CLIENT_KEY, MAKERS, PATH, Instant, token
from benchmarks.results import OURS, Row, compared
from benchmarks.rounds import Run, cpu_us
from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, TikTokToken

TITLE = "A session for each web request"
#: The most that ours may cost beside one of requests-oauthlib that is made with a token.
GOAL = 1.15
CALLS = 40

THEIRS = "requests-oauthlib"


def measure(run: Run) -> list[Row]:
    """Measure the processor's time of a session's whole life."""
    rounds = run.of(151, 3)
    held = token()
    in_hand = {name: life(lambda make=make: make(held)) for name, make in MAKERS.items()}
    store = MemoryStore()
    in_hand[f"{OURS}, MemoryStore"] = life(lambda: MAKERS[OURS](None, store=store, open_id="user"))
    files = FileStore(run.folder / "sessions")
    path = run.folder / "token.json"
    path.write_text(json.dumps(held), "utf-8")
    in_file = {
        THEIRS: life(lambda: MAKERS[THEIRS](json.loads(path.read_text("utf-8")))),
        OURS: life(lambda: MAKERS[OURS](None, store=files, open_id="user")),
    }
    for each in (store, files):
        each.save(AccountKey(CLIENT_KEY, "user"), TikTokToken(held))
    rows = []
    cases = {"the token is in memory": in_hand, "the token is in a file": in_file}
    for case, contestants in cases.items():
        figures = run.in_turns({name: cpu_us(work, CALLS) for name, work in contestants.items()}, rounds)
        for name in contestants:
            goal = GOAL if name.startswith(OURS) else None
            rows.append(compared(case, "µs", figures, name, THEIRS, goal))
    run.notes.append(
        "The processor's time, with an adapter that answers at once. In the second case requests-oauthlib's "
        "token is read from a JSON file, which nobody locks and nothing checks."
    )
    return rows


def life(make: Callable[[], requests.Session]) -> Callable[[], object]:
    """Return what makes a session, calls, and closes it."""
    adapter = Instant()

    def work() -> None:
        with make() as session:
            session.mount("https://", adapter)
            session.get(API + PATH)

    return work
