"""Clocks that are wrong: no storm of refreshes, and no use of a token that is known to be dead."""

from __future__ import annotations

import itertools
import math
import sys
import time

import pytest

from tiktok_oauth_session import (
    AccountKey,
    FileStore,
    MemoryStore,
    TikTokOAuth2Session,
    TikTokToken,
    TokenError,
)
from tiktok_oauth_session.testing import FakeTikTok

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
MINUTE_S, HOUR_S = 60, 3600
NOON = 1_800_000_000.0
SKEW_S = 10 * MINUTE_S
#: Seconds for what takes milliseconds.
PATIENCE_S = 20.0
TWO_HOURS_S, ONE_DAY_S = 2 * HOUR_S, 24 * HOUR_S
#: For how long, and how often.
SPANS = [(24, 5 * MINUTE_S), pytest.param(5 * 24, MINUTE_S, marks=pytest.mark.long)]


class World:
    """TikTok's clock, which is right, and that of whichever machine is at work, which may not be."""

    def __init__(self, monkeypatch, access_lifetime):
        self.now = NOON
        self.access_lifetime = access_lifetime
        self.skew_s = 0.0
        monkeypatch.setattr(time, "time", lambda: self.now + self.skew_s)
        self.fake = FakeTikTok(access_lifetime=access_lifetime, clock=lambda: self.now)

    def log_in(self, store, skew_s):
        """Store the token of a login on a machine with such a clock."""
        self.skew_s = skew_s
        token = TikTokToken.from_reply(self.fake.issue_token(), requested_at=time.time())
        store.save(AccountKey(self.fake.client_key, token.open_id), token)

    @property
    def refreshes(self):
        return len(self.fake.requests_to("refresh"))

    @property
    def refused(self):
        """How many API calls were made with a token that TikTok did not take any more."""
        return sum(record.status == 401 for record in self.fake.requests_to("user_info"))


class Machine:
    """A machine with a clock of its own, and what it knows of the tokens it sends."""

    def __init__(self, world, store, skew_s):
        self._world, self.skew_s = world, skew_s
        self._session = TikTokOAuth2Session(
            world.fake.client_key,
            client_secret=world.fake.client_secret,
            store=store,
            open_id=world.fake.users[0].open_id,
        )
        self._session.mount("https://", world.fake.adapter())
        world.fake.before("user_info", self._inspect)
        self._at_work = False
        self.sent_dead = 0

    def _inspect(self, record):
        if self._at_work and record.headers["Authorization"] == f"Bearer {self._session.token.access_token}":
            self.sent_dead += self._session.token.expires_at <= time.time()

    def call(self):
        """Call the API; return the status."""
        self._world.skew_s = self.skew_s
        self._at_work = True
        try:
            return self._session.get(USER_INFO).status_code
        finally:
            self._at_work = False


@pytest.fixture
def make_world(monkeypatch):
    """Makes a TikTok and a clock for it. No refresh begins late: these clocks stand still meanwhile."""
    monkeypatch.setattr("tiktok_oauth_session._connection.connection.ADVISORY_PATIENCE_S", PATIENCE_S)
    return lambda access_lifetime=TWO_HOURS_S: World(monkeypatch, access_lifetime)


@pytest.fixture
def stores(tmp_path):
    """Gives each machine its own handle on one directory."""
    return (FileStore(tmp_path / "tokens") for _ in itertools.count())


def run(world, machines, hours, *, every_s=5 * MINUTE_S):
    """Let the machines call in turn, for so many hours; return the answers that came."""
    answers = set()
    end = world.now + hours * HOUR_S
    for machine in itertools.cycle(machines):
        if world.now >= end:
            return answers
        answers.add(machine.call())
        world.now += every_s
    return answers


def right_moments(world, hours, every_s=5 * MINUTE_S):
    """When refreshes are due in so many hours: at the first call with ten minutes, or an eighth, left."""
    lifetime_s = world.access_lifetime
    calls_per_token = math.ceil((lifetime_s - min(10 * MINUTE_S, lifetime_s / 8)) / every_s)
    period_s = calls_per_token * every_s
    return [NOON + moment for moment in range(period_s, hours * HOUR_S, period_s)]


@pytest.mark.parametrize(("hours", "every_s"), SPANS)
@pytest.mark.parametrize("access_lifetime", [TWO_HOURS_S, ONE_DAY_S, 15 * MINUTE_S])
@pytest.mark.parametrize("skew_s", [-SKEW_S, 0, SKEW_S])
def test_skew__one_machine(make_world, skew_s, access_lifetime, hours, every_s):
    """A clock that is ten minutes off changes nothing: as many refreshes, and no dead token is sent."""
    world, store = make_world(access_lifetime), MemoryStore()
    world.log_in(store, skew_s)
    machine = Machine(world, store, skew_s)

    assert {200} == run(world, [machine], hours, every_s=every_s)
    assert right_moments(world, hours, every_s) == [r.at for r in world.fake.requests_to("refresh")]
    assert 0 == world.refused == machine.sent_dead
    world.fake.assert_no_token_reuse()


@pytest.mark.parametrize(("hours", "every_s"), SPANS)
@pytest.mark.parametrize("access_lifetime", [TWO_HOURS_S, ONE_DAY_S])
@pytest.mark.parametrize("pattern", ["in turn", "the fast one seldom", "the slow one seldom"])
def test_skew__two_machines(make_world, stores, pattern, access_lifetime, hours, every_s):
    """Two machines whose clocks differ by twenty minutes refresh no more often; every call is answered."""
    world = make_world(access_lifetime)
    fast, slow = (Machine(world, next(stores), skew_s) for skew_s in (SKEW_S, -SKEW_S))
    world.log_in(next(stores), SKEW_S)
    turns = {
        "in turn": [fast, slow],
        "the fast one seldom": [fast, *[slow] * 47],
        "the slow one seldom": [slow, *[fast] * 47],
    }[pattern]

    assert {200} == run(world, turns, hours, every_s=every_s)

    # The longest that the slow one believes in a token of the fast one's.
    longest_s = access_lifetime + 2 * SKEW_S
    needed = len(right_moments(world, hours, every_s))
    sys.stdout.write(
        f"{hours} h: {world.refreshes} of {needed} refreshes, {world.refused} calls answered twice\n"
    )

    assert hours * HOUR_S / longest_s - 1 <= world.refreshes <= needed + 1
    # Once for each token at most it takes TikTok to say that it is dead: no clock here does.
    assert world.refused <= world.refreshes + 1
    assert 0 == fast.sent_dead == slow.sent_dead
    world.fake.assert_no_token_reuse()


@pytest.mark.slow
def test_skew__two_machines_and_tokens_shorter_than_it(make_world, stores):
    """With tokens that live shorter than the clocks differ, each machine refreshes as if it were alone."""
    world = make_world(15 * MINUTE_S)
    fast, slow = (Machine(world, next(stores), skew_s) for skew_s in (SKEW_S, -SKEW_S))
    world.log_in(next(stores), -SKEW_S)

    assert {200} == run(world, [fast, slow], 24)
    assert world.refreshes <= 2 * len(right_moments(world, 24))
    assert 0 == fast.sent_dead == slow.sent_dead
    world.fake.assert_no_token_reuse()


@pytest.mark.parametrize("access_lifetime", [TWO_HOURS_S, ONE_DAY_S])
@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S, -365 * 24 * HOUR_S, 365 * 24 * HOUR_S])
def test_jump__between_calls(make_world, stores, jump_s, access_lifetime):
    """A clock that jumps costs one refresh at most and no failed call."""
    world, store = make_world(access_lifetime), next(stores)
    world.log_in(store, 0)
    machine = Machine(world, store, 0)

    assert {200} == run(world, [machine], 3)

    machine.skew_s = jump_s

    assert {200} == run(world, [machine], 24)
    assert world.refreshes <= len(right_moments(world, 27)) + 1
    # Backwards, the token seems to live on; TikTok says once that it does not.
    assert (jump_s < 0) == world.refused
    assert 0 == machine.sent_dead
    world.fake.assert_no_token_reuse()


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_jump__during_a_refresh(make_world, stores, jump_s):
    """A clock that jumps while TikTok is asked costs one refresh at most and no failed call."""
    world, store = make_world(), next(stores)
    world.log_in(store, 0)
    machine = Machine(world, store, 0)
    jumps = iter([jump_s])

    def jump(record):
        machine.skew_s = world.skew_s = machine.skew_s + next(jumps, 0)

    world.fake.before("refresh", jump)

    assert {200} == run(world, [machine], 24)
    assert jump_s == machine.skew_s
    assert world.refreshes <= len(right_moments(world, 24)) + 1
    assert world.refused <= 1
    assert 0 == machine.sent_dead
    world.fake.assert_no_token_reuse()


def test_jump__back_and_forth(make_world, stores):
    """A clock that swings by an hour every hour costs a refresh for each swing at most."""
    world, store = make_world(), next(stores)
    world.log_in(store, 0)
    machine = Machine(world, store, 0)
    swings = 24
    for number in range(swings):
        machine.skew_s = -HOUR_S * (number % 2)

        assert {200} == run(world, [machine], 1)

    assert 24 * HOUR_S / TWO_HOURS_S - 1 <= world.refreshes <= len(right_moments(world, 24)) + swings
    assert world.refused <= swings / 2
    assert 0 == machine.sent_dead
    world.fake.assert_no_token_reuse()


@pytest.mark.parametrize("off_s", [-1, 0, 1])
@pytest.mark.parametrize("skew_s", [-SKEW_S, 0, SKEW_S])
def test_expiry__to_the_second(make_world, stores, skew_s, off_s):
    """A token is never sent from the second on in which it dies, by a clock that is off but steady."""
    world, store = make_world(), next(stores)
    world.log_in(store, skew_s)
    machine = Machine(world, store, skew_s)
    # A failed refresh shows whether the old token is still used.
    world.fake.fail("refresh", "status", status=500, times=None)
    (key,) = store.keys()
    token = store.load(key)
    world.now += token["expires_in"] + off_s
    world.skew_s = skew_s

    if off_s < 0:
        assert 200 == machine.call()
    else:
        with pytest.raises(TokenError):
            machine.call()
    assert (off_s < 0) == len(world.fake.requests_to("user_info"))
    assert 1 == world.refreshes
    assert 0 == machine.sent_dead == world.refused
