"""What stores cost: each operation, and a whole refresh without its request, beside the same done bare."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import requests

from benchmarks.bare import Bare, bare, files
from benchmarks.contestants import API, CLIENT_KEY, CLIENT_SECRET, MAKERS, Instant, token
from benchmarks.places import places
from benchmarks.results import OURS, Row, compared
from benchmarks.rounds import Run, wall_us
from tiktok_oauth_session import AccountKey, TikTokToken, TokenStore

TITLE = "Stores"
#: The most that an operation may take beside the same done bare.
GOAL = 1.5
KEY = AccountKey(CLIENT_KEY, "user")
CALLS = 10

BARE, UNFLUSHED = "bare", "bare, nothing flushed"
#: A user's tokens before and after a refresh.
BEFORE, AFTER = token(), {**token(), "refresh_token": "rft.user.next"}


def measure(run: Run) -> list[Row]:
    """Measure how long each operation takes, that of the server included."""
    rows = []
    for place in places(run):
        store, floor = place.open(), bare(place, run.folder)
        ours = operations_of(store)
        theirs = {BARE: operations(floor)}
        if place.kind == "file":
            theirs[UNFLUSHED] = operations(files(run.folder, flushed=False))
        for name, work in ours.items():
            contestants = {OURS: work, **{who: each[name] for who, each in theirs.items()}}
            timed = {who: wall_us(each, CALLS) for who, each in contestants.items()}
            figures = run.in_turns(timed, run.of(101, 2))
            rows += _rows(f"{place.name}: {name}", figures)
    run.notes.append(
        "How long each takes, that of the server included; the servers flush as they do in the tests: "
        "PostgreSQL and MariaDB not at all, Redis at every write. Bare is the same statements by the same "
        "library, or files with the same flushes, and redis-py's own lock. What FileStore promises costs two "
        "flushes to disk at a save, of the file and of its folder: without them a power cut could bring a "
        "spent token back, or leave an empty file. A refresh is that of a session, with TikTok answering at "
        "once: lock, load, mark, request, save, unlock."
    )
    return rows


def _rows(case: str, figures: dict[str, list[float]]) -> list[Row]:
    others = [compared(case, "µs", figures, name, BARE) for name in figures if name != OURS]
    ours = [compared(case, "µs", figures, OURS, BARE, GOAL)]
    if UNFLUSHED in figures and case.endswith(("save", "refresh")):
        ours.append(compared(case, "µs", figures, OURS, UNFLUSHED))
    return [each for each in others if each.contestant == BARE] + ours


def operations_of(store: TokenStore) -> dict[str, Callable[[], object]]:
    """Return the operations of a store of ours."""
    store.save(KEY, TikTokToken(BEFORE))
    turns = itertools.cycle([(AFTER, BEFORE), (BEFORE, AFTER)])

    def save() -> None:
        new, old = next(turns)
        store.save(KEY, TikTokToken(new), replacing=old["refresh_token"])

    def lock() -> None:
        with store.lock(KEY):
            store.load(KEY)

    session: Any = MAKERS[OURS](None, store=store, open_id="user")
    session.mount("https://", Instant())

    def refresh() -> None:
        session.refresh_token()

    return {"load": lambda: store.load(KEY), "save": save, "lock, load, unlock": lock, "refresh": refresh}


def operations(floor: Bare) -> dict[str, Callable[[], object]]:
    """Return the same, done bare."""
    floor.save(BEFORE, BEFORE["refresh_token"])
    turns = itertools.cycle([(AFTER, BEFORE), (BEFORE, AFTER)])

    def save() -> None:
        new, old = next(turns)
        floor.save(new, old["refresh_token"])

    def lock() -> None:
        with floor.lock():
            floor.load()

    session = requests.Session()
    session.mount("https://", Instant())

    def refresh() -> None:
        with floor.lock():
            held = floor.load()
            floor.save(held, held["refresh_token"])
            form = {
                "client_key": CLIENT_KEY,
                "client_secret": CLIENT_SECRET,
                "grant_type": "refresh_token",
                "refresh_token": held["refresh_token"],
            }
            reply = session.post(f"{API}/v2/oauth/token/", data=form, timeout=20).json()
            floor.save({**BEFORE, **reply}, held["refresh_token"])

    return {"load": floor.load, "save": save, "lock, load, unlock": lock, "refresh": refresh}
