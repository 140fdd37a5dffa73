"""What many accounts need, computed from what keep-alive was measured to take; and an outage, simulated."""

from __future__ import annotations

import math

import sqlalchemy

from benchmarks.contestants import CLIENT_KEY, CLIENT_SECRET, LIFETIME_S, Instant, token
from benchmarks.keep_alive import COST, DATABASE_COST
from benchmarks.places import Place, places
from benchmarks.results import OURS, Row
from benchmarks.rounds import Run
from benchmarks.simulated import Fleet, simulated
from benchmarks.tiktok import LATENCY_S
from tiktok_oauth_session import AccountKey, TikTokToken
from tiktok_oauth_session.keepalive import keep_alive
from tiktok_oauth_session.stores.sql import SQLStore

TITLE = "Planning"
MILLION = 1_000_000
#: Seconds before its end from which an access token is refreshed.
WITHIN_S = 900.0
#: What is planned for, beside what refreshes need as long as all is well: it says how soon an outage is over.
HEADROOM = 1.5
#: The cores of each machine, and what part of them is planned with.
CORES, BUSY = 2, 0.6
#: The processes that share ten million accounts in the simulation, and the workers of each.
PROCESSES, WORKERS = 20, 32
OUTAGE_S, BEFORE_S = 3600.0, 600.0
#: Seconds after which a request gets no answer.
SILENCE_S = 25.0


def measure(run: Run) -> list[Row]:
    """Compute what a million accounts need, and what an hour without TikTok does to ten million."""
    rows = []
    databases = {place.name: place for place in places(run) if place.kind in ("postgresql", "mariadb")}
    for name, place in databases.items():
        cost, database_cost = (_measured(run, name, unit) for unit in (COST, DATABASE_COST))
        for accounts in (MILLION, 10 * MILLION):
            rows += needs(f"{accounts:,} accounts, {name}", accounts, cost, database_cost, writes(place))
    run.expect(2)
    for kind, silence_s in (("answers 503", 0.0), ("is silent", SILENCE_S)):
        rows += outage(run, f"10,000,000 accounts, TikTok {kind} for an hour", silence_s)
        run.step()
    run.notes.append(
        f"Access tokens of {LIFETIME_S / 3600:g} hours, refreshed {WITHIN_S / 60:g} minutes before they end; "
        f"{HEADROOM:g} times what that needs; machines of {CORES} cores that are busy for {BUSY:.0%}. The "
        f"outage is a simulation of keep-alive's own pacing and circuit breaker by another clock: "
        f"{PROCESSES} processes, a run every minute. The figures of one, multiplied."
    )
    return rows


def _measured(run: Run, name: str, unit: str) -> float:
    """Return what an account was measured to cost on a database (milliseconds of a core)."""
    found = [
        row.figure
        for row in run.measured["keep_alive"].rows
        if row.case.startswith(name) and row.unit == unit and row.ratio is None
    ]
    return max(found)


def needs(case: str, accounts: int, cost_ms: float, database_ms: float, written: int) -> list[Row]:
    """Return the rows of what so many accounts need."""
    refreshes = accounts / (LIFETIME_S - WITHIN_S)
    planned = refreshes * HEADROOM
    cores, database_cores = planned * cost_ms / 1000, planned * database_ms / 1000
    return [
        Row(case, OURS, refreshes, "refreshes/s"),
        Row(case, OURS, refreshes * written, "database writes/s"),
        Row(case, OURS, cores, "cores for keep-alive"),
        Row(case, OURS, math.ceil(cores / CORES / BUSY), "machines for keep-alive"),
        Row(case, OURS, database_cores, "cores for the database"),
    ]


def writes(place: Place) -> int:
    """Count the statements of one account's refresh by keep-alive that write."""
    engine = sqlalchemy.create_engine(place.url)
    store, count = SQLStore(engine), 0
    place.clear()
    store.create_tables()

    def refresh() -> None:
        store.save(AccountKey(CLIENT_KEY, "user"), TikTokToken(token(left_s=-1)))
        keep_alive(
            store, client_key=CLIENT_KEY, client_secret=CLIENT_SECRET, access_within=60, adapter=Instant()
        )

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal count
        count += any(word in statement for word in ("UPDATE", "INSERT", "DELETE"))

    # The first one adds the row of the account's lock, and the account.
    refresh()
    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    refresh()
    # But for the statement that lets the account be due.
    return count - 1


def outage(run: Run, case: str, silence_s: float) -> list[Row]:
    """Simulate one process of them all; return the rows of all."""
    accounts = 10 * MILLION // PROCESSES // run.of(1, 50)
    scale = 10 * MILLION / accounts
    rate = accounts / (LIFETIME_S - WITHIN_S) * HEADROOM
    fleet = Fleet(
        accounts,
        rate=rate,
        workers=WORKERS,
        lifetime_s=LIFETIME_S,
        within_s=WITHIN_S,
        latency_s=LATENCY_S,
        is_down=lambda now: BEFORE_S <= now < BEFORE_S + OUTAGE_S,
        silence_s=silence_s,
    )
    with simulated(fleet.clock):
        fleet.live(BEFORE_S + OUTAGE_S + 2.5 * OUTAGE_S)
    first, last = int(BEFORE_S // 60), int((BEFORE_S + OUTAGE_S) // 60)
    during, after = fleet.requests[first + 1 : last], fleet.requests[last + 1 : len(fleet.ended)]
    is_over = next((n for n, ended in enumerate(fleet.ended[last + 1 :]) if not ended), math.nan)
    if silence_s:
        run.series["requests/s"] = _points(fleet.requests[: len(fleet.ended)], scale / 60)
        run.series["tokens that have ended (millions)"] = _points(fleet.ended, scale / MILLION)
    return [
        Row(case, OURS, sum(during) * PROCESSES / (len(during) * 60), "requests/s while it is down"),
        Row(case, OURS, max(after) * scale / 60, "requests/s at most afterwards"),
        Row(case, OURS, max(fleet.ended) * scale, "access tokens that have ended, at most"),
        Row(case, OURS, is_over, "minutes until all are fresh again"),
    ]


def _points(values: list[int], scale: float) -> list[tuple[float, float]]:
    return [(float(minute), value * scale) for minute, value in enumerate(values)]
