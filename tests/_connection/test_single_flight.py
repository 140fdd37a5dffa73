"""One refresh, whoever asks: threads, sessions, processes."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from child_processes import PATIENCE_S, ChildProcess, hear, say

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    FileStore,
    MemoryStore,
    TikTokOAuth2Session,
    TikTokToken,
)
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.testing import FakeServer, FakeTikTok, RequestRecord, User
from tiktok_oauth_session.tokens import ADVISORY_WINDOW_S, MANDATORY_WINDOW_S

THREADS = 64
PROCESSES = 8
THREADS_EACH = 8

#: Seconds between two calls of one of the 64 threads; they take turns, 2.5 ms apart.
PACE_S = 0.16
#: Seconds until the turns begin, after all 64 have called at once.
SETTLE_S = 0.25
#: Seconds that a refresh goes on after the last turn has begun.
SPARE_S = 0.85
#: Seconds that TikTok thinks about each of the timed calls, fewer than the real one does. If it answered at
#: once, a call would take 1.5 ms, and 0.3 ms to look at the lock, or a busy machine, would pass for waiting.
THINKING_S = 0.01

#: Seconds that an access token lives, and seconds from one refresh to the moment when the next is due.
LIFETIME_S = 7200
PERIOD_S = LIFETIME_S - ADVISORY_WINDOW_S
#: Seconds of flowing time that a refresh takes, and that no call exceeds but for that, however late its
#: thread is run. Together less than the mandatory window, which is what a token has left that is used.
REFRESH_S = 20.0
LONGEST_CALL_S = 20.0


def issued(fake: FakeTikTok, *, left: float, user: User | None = None) -> TikTokToken:
    """Return a token of a user that TikTok knows and that has so many seconds left."""
    reply = fake.issue_token(user=user)
    return TikTokToken({**reply, "expires_at": time.time() + left, "expires_in": 7200})


def saved(fake: FakeTikTok, store: TokenStore, *, left: float, user: User | None = None) -> AccountKey:
    """Put such a token into a store."""
    token = issued(fake, left=left, user=user)
    key = AccountKey(fake.client_key, str(token.open_id))
    store.save(key, token)
    return key


def session_on(fake: FakeTikTok, base: str, **options: Any) -> TikTokOAuth2Session:
    """Return a session that talks to a served fake."""
    return TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        platform=LOGIN_KIT.at(base),
        **options,
    )


def call_from_threads(sessions: list[TikTokOAuth2Session], url: str) -> list[int | BaseException]:
    """Let every session make a call at the same moment; return statuses or what was raised."""
    barrier = threading.Barrier(len(sessions))

    def call(session: TikTokOAuth2Session) -> int | BaseException:
        barrier.wait()
        try:
            return session.get(url, params={"fields": "open_id"}).status_code
        except Exception as error:  # noqa: BLE001 - the outcome under test
            return error

    with ThreadPoolExecutor(len(sessions)) as pool:
        return list(pool.map(call, sessions))


def test_threads__one_session(fake_tiktok: FakeTikTok, tiktok_server: FakeServer) -> None:
    """64 threads with one session and an expired token cause one token request and lose no call."""
    store = MemoryStore()
    key = saved(fake_tiktok, store, left=-1)
    session = session_on(fake_tiktok, tiktok_server.url, store=store, open_id=key.open_id)

    answers = call_from_threads([session] * THREADS, f"{tiktok_server.url}/v2/user/info/")

    assert [200] * THREADS == answers
    assert len(fake_tiktok.requests_to("refresh")) == 1
    assert len(fake_tiktok.requests_to("user_info")) == THREADS
    fake_tiktok.assert_no_token_reuse()


@pytest.mark.parametrize("kind", ["memory", "file", "updater", "nothing"])
def test_threads__a_session_each(
    fake_tiktok: FakeTikTok, tiktok_server: FakeServer, tmp_path: Path, kind: str
) -> None:
    """So do 64 threads with a session each, sharing a store, or only the token they were given."""
    kept: list[TikTokToken] = []
    if kind in ("memory", "file"):
        store = MemoryStore() if kind == "memory" else FileStore(tmp_path)
        key = saved(fake_tiktok, store, left=-1)
        options: dict[str, object] = {"store": store, "open_id": key.open_id}
    else:
        options = {"token": issued(fake_tiktok, left=-1)}
        if kind == "updater":
            options["token_updater"] = kept.append
    sessions = [session_on(fake_tiktok, tiktok_server.url, **options) for _ in range(THREADS)]

    answers = call_from_threads(sessions, f"{tiktok_server.url}/v2/user/info/")

    assert [200] * THREADS == answers
    assert len(fake_tiktok.requests_to("refresh")) == 1
    assert {session.token["refresh_token"] for session in sessions} == {
        json.loads(fake_tiktok.requests_to("refresh")[0].body)["refresh_token"]
    }
    assert len(kept) == (1 if kind == "updater" else 0)
    fake_tiktok.assert_no_token_reuse()


class Call(NamedTuple):
    """A call of the API, timed on the clock that all processes of this machine share."""

    account: int
    #: 0 for the call that all threads make at once.
    turn: int
    status: int
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


#: Lets the 64 threads call the account that is said, all at once, and then each account in turns.
Play = Callable[[int, int], list[Call]]


@contextlib.contextmanager
def processes(
    fake: FakeTikTok, server: FakeServer, directory: Path, keys: list[AccountKey]
) -> Iterator[Play]:
    """Run eight processes with eight threads each, every thread with a session for each account."""
    common = [server.url, fake.client_key, fake.client_secret, str(directory)]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(ChildProcess(__file__, *common, place, *(key.open_id for key in keys)))
            for place in range(PROCESSES)
        ]
        for process in started:
            process.hear()

        def play(account: int, turns: int) -> list[Call]:
            start = time.monotonic() + 0.05
            for process in started:
                process.say(start=start, account=account, turns=turns)
            return [Call(*call) for process in started for call in process.hear()["calls"]]

        yield play
        for process in started:
            # Nothing more: all of them end at the same time.
            process.say()


def be_a_process(
    base: str, client_key: str, client_secret: str, directory: str, place: str, *open_ids: str
) -> None:
    """In the child: call whenever the test says so."""
    store = FileStore(directory)

    def session(open_id: str) -> TikTokOAuth2Session:
        session = TikTokOAuth2Session(
            client_key,
            client_secret=client_secret,
            platform=LOGIN_KIT.at(base),
            store=store,
            open_id=open_id,
        )
        # A warm connection: only calls are timed.
        session.get(f"{base}/v2/nothing/", withhold_token=True)
        return session

    sessions = [[session(open_id) for open_id in open_ids] for _ in range(THREADS_EACH)]
    say(ready=True)
    with ThreadPoolExecutor(THREADS_EACH) as pool:
        while told := hear():
            futures = [
                pool.submit(take_turns, base, mine, thread * PROCESSES + int(place), told)
                for thread, mine in enumerate(sessions)
            ]
            say(calls=[call for future in futures for call in future.result()])


def take_turns(
    base: str, sessions: list[TikTokOAuth2Session], number: int, told: dict[str, Any]
) -> list[Call]:
    """In a thread of a child: call with everybody else, then whenever it is this thread's turn."""
    for session in sessions:
        # Whatever the round before left it with, it reads what the store holds now.
        session.token = None
        assert session.token
    calls = []
    for turn in range(told["turns"] + 1):
        moment, account = told["start"], told["account"]
        if turn:
            moment += SETTLE_S + (turn - 1 + number / THREADS) * PACE_S
            # Neighbours call different accounts, and so does everybody from turn to turn.
            account = (number + number // PROCESSES + turn) % len(sessions)
        early = moment - time.monotonic()
        if turn and early < 0:
            # The call before took longer than a turn: making up for it would crowd the others.
            continue
        time.sleep(max(early, 0))
        began = time.monotonic()
        response = sessions[account].get(f"{base}/v2/user/info/", params={"fields": "open_id"})
        calls.append(Call(account, turn, response.status_code, began, time.monotonic()))
    return calls


@pytest.mark.slow
def test_processes__expired(fake_tiktok: FakeTikTok, tiktok_server: FakeServer, tmp_path: Path) -> None:
    """8 processes with 8 threads each on one FileStore: one token request, 64 answers, no reuse."""
    key = saved(fake_tiktok, FileStore(tmp_path), left=-1)

    with processes(fake_tiktok, tiktok_server, tmp_path, [key]) as play:
        calls = play(0, 0)

    assert [200] * THREADS == [call.status for call in calls]
    assert len(fake_tiktok.requests_to("refresh")) == 1
    fake_tiktok.assert_no_token_reuse()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rounds", "turns"),
    [
        pytest.param([0, 1], 20, id="short"),
        pytest.param([0, 1, 1, 0], 38, id="full", marks=pytest.mark.long),
    ],
)
def test_processes__advisory_latency(
    fake_tiktok: FakeTikTok, tiktok_server: FakeServer, tmp_path: Path, rounds: list[int], turns: int
) -> None:
    """While one of 64 callers refreshes, the others' p99 is at most 1.5 times that of calls with none due.

    There are two accounts, and in each round one of them is to be refreshed. The threads call both in
    turns, so whatever else the machine does meets both alike.
    """
    store = FileStore(tmp_path)
    keys = [saved(fake_tiktok, store, left=7000, user=user) for user in (None, fake_tiktok.add_user())]
    refreshing_s = SETTLE_S + turns * PACE_S + SPARE_S
    begun: list[float] = []
    fake_tiktok.before("refresh", lambda _: begun.append(time.monotonic()))
    fake_tiktok.fail("user_info", "slow", seconds=THINKING_S, times=None)
    fake_tiktok.fail("refresh", "slow", seconds=refreshing_s, times=None)
    seconds: dict[bool, list[float]] = {True: [], False: []}

    with processes(fake_tiktok, tiktok_server, tmp_path, keys) as play:
        for refreshes, due in enumerate(rounds, start=1):
            for account, key in enumerate(keys):
                expires_at = time.time() + (300 if account == due else 7000)
                store.save(key, TikTokToken({**store.load(key), "expires_at": expires_at}))

            calls = play(due, turns)
            refreshing = [call for call in calls if call.seconds >= refreshing_s]
            others = [call for call in calls if call.seconds < refreshing_s]

            assert {200} == {call.status for call in calls}
            assert len(begun) == refreshes, "one more"
            assert [due] == [call.account for call in refreshing], "one caller is that slow"
            assert max(call.ended for call in others) < refreshing[0].ended, "nobody else waits for it"
            for call in others:
                if call.turn and call.began >= begun[-1]:
                    seconds[call.account == due].append(call.seconds)

    p99 = {is_due: statistics.quantiles(samples, n=100)[98] for is_due, samples in seconds.items()}
    assert min(map(len, seconds.values())) > len(rounds) * turns * THREADS / 4, "half of all turns"
    assert p99[True] <= 1.5 * p99[False]
    fake_tiktok.assert_no_token_reuse()


MANY_EXPIRIES = pytest.mark.parametrize(
    ("threads", "calls", "expiries"),
    [
        pytest.param(8, 400, 3, id="short"),
        pytest.param(50, 2000, 20, id="full", marks=pytest.mark.long),
    ],
)


class FlowingTime:
    """Time that flows with each call that TikTok handles, while others are under way.

    It stands still for a call that the machine leaves behind: no call takes minutes.
    """

    def __init__(self, clock: Any, step_s: float) -> None:
        self._clock, self._step_s = clock, step_s
        lock = threading.Lock()
        self._flowed, self._ended = threading.Condition(lock), threading.Condition(lock)
        # The oldest first.
        self._under_way: dict[str, float] = {}
        self._refreshing_until = 0.0

    @contextlib.contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Have a call under way."""
        with self._ended:
            self._under_way[name] = self._clock()
        try:
            yield
        finally:
            with self._ended:
                del self._under_way[name]
                self._ended.notify_all()

    def flow(self, record: RequestRecord) -> None:
        """Let time pass while TikTok handles a request."""
        with self._ended:
            self._ended.wait_for(lambda: self._may_flow(record.headers["X-Call"]))
            self._clock.advance(self._step_s)
            self._flowed.notify_all()

    def _may_flow(self, name: str) -> bool:
        oldest, began = next(iter(self._under_way.items()))
        now = self._clock()
        return name == oldest or now + self._step_s - began <= LONGEST_CALL_S or now < self._refreshing_until

    def linger(self, record: RequestRecord) -> None:
        """Take time over a refresh, which passes as others call."""
        with self._flowed:
            # However long it took to get here: whoever waits for it may be the oldest.
            self._refreshing_until = record.at + REFRESH_S
            self._ended.notify_all()
            assert self._flowed.wait_for(lambda: self._clock() >= self._refreshing_until, PATIENCE_S)


def call_again_and_again(
    sessions: list[TikTokOAuth2Session],
    calls: int,
    under_way: Callable[[str], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> list[int]:
    """Let every session make its calls in a thread of its own, each under a name; return all statuses."""

    def work(thread: int) -> list[int]:
        statuses = []
        for call in range(calls):
            name = f"{thread}.{call}"
            with under_way(name):
                response = sessions[thread].get(
                    "https://open.tiktokapis.com/v2/user/info/",
                    params={"fields": "open_id"},
                    headers={"X-Call": name},
                )
            statuses.append(response.status_code)
        return statuses

    with ThreadPoolExecutor(len(sessions)) as pool:
        return list(itertools.chain.from_iterable(pool.map(work, range(len(sessions)))))


def sessions_within(
    fake: FakeTikTok, store: TokenStore, key: AccountKey, threads: int, **options: Any
) -> list[TikTokOAuth2Session]:
    """Return sessions that share a store and reach the fake without a socket."""
    sessions = []
    for _ in range(threads):
        session = TikTokOAuth2Session(
            fake.client_key, client_secret=fake.client_secret, store=store, open_id=key.open_id, **options
        )
        session.mount("https://", fake.adapter())
        sessions.append(session)
    return sessions


def answers(fake: FakeTikTok) -> dict[str, list[int | None]]:
    """Return what TikTok answered to each call: to its request, and to those that repeated it."""
    statuses = collections.defaultdict(list)
    for record in fake.requests_to("user_info"):
        statuses[record.headers["X-Call"]].append(record.status)
    return statuses


@pytest.mark.slow
@MANY_EXPIRIES
def test_threads__over_many_expiries(
    clock: Any,
    fake_tiktok: FakeTikTok,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    calls: int,
    expiries: int,
) -> None:
    """Time flows over many expiries: no request carries a token that is dead, and each costs one refresh."""
    # The machine's time is not the one that flows.
    monkeypatch.setattr("tiktok_oauth_session._connection.connection.ADVISORY_PATIENCE_S", PATIENCE_S)
    store = MemoryStore()
    key = saved(fake_tiktok, store, left=LIFETIME_S)
    tokens = [TikTokToken(store.load(key))]
    # Up to the middle between the last expiry and one more.
    flowing = FlowingTime(clock, (expiries + 0.5) * PERIOD_S / (threads * calls))
    fake_tiktok.before("user_info", flowing.flow)
    fake_tiktok.before("refresh", flowing.linger)
    sessions = sessions_within(fake_tiktok, store, key, threads, token_updater=tokens.append)

    statuses = call_again_and_again(sessions, calls, flowing.call)
    refreshes = fake_tiktok.requests_to("refresh")

    assert [200] * threads * calls == statuses
    assert len(answers(fake_tiktok)) == threads * calls
    assert {(200,)} == set(map(tuple, answers(fake_tiktok).values())), "no request was refused"
    assert len(refreshes) == expiries
    for spent, refresh in zip(tokens[:-1], refreshes, strict=True):
        assert MANDATORY_WINDOW_S < spent["expires_at"] - refresh.at <= ADVISORY_WINDOW_S
    fake_tiktok.assert_no_token_reuse()


@pytest.mark.slow
@MANY_EXPIRIES
def test_threads__expired_under_way(
    clock: Any, fake_tiktok: FakeTikTok, threads: int, calls: int, expiries: int
) -> None:
    """A token that dies while many requests carry it costs each of them one repetition, and one refresh."""
    store = MemoryStore()
    key = saved(fake_tiktok, store, left=LIFETIME_S)
    every = threads * calls // expiries
    arrived, one_at_a_time = itertools.count(), threading.Lock()
    jumps = {every * number + every // 2 for number in range(expiries)}

    def maybe_jump(_: RequestRecord) -> None:
        with one_at_a_time:
            if next(arrived) in jumps:
                clock.advance(LIFETIME_S + 1)

    fake_tiktok.before("user_info", maybe_jump)

    statuses = call_again_and_again(sessions_within(fake_tiktok, store, key, threads), calls)
    refused = collections.Counter(
        record.headers["Authorization"]
        for record in fake_tiktok.requests_to("user_info")
        if record.status != 200
    )

    assert [200] * threads * calls == statuses
    assert len(answers(fake_tiktok)) == threads * calls
    assert {(200,), (401, 200)} == set(map(tuple, answers(fake_tiktok).values()))
    assert len(refused) == expiries, "every token died under way"
    assert max(refused.values()) <= threads
    assert refused.total() > expiries, "not only for the request that time jumped at"
    assert len(fake_tiktok.requests_to("refresh")) == expiries
    fake_tiktok.assert_no_token_reuse()


if __name__ == "__main__":
    be_a_process(*sys.argv[1:])
