"""When a run may ask TikTok."""

from __future__ import annotations

import threading

import pytest

from tiktok_oauth_session._keepalive import pace as pace_module
from tiktok_oauth_session._keepalive.pace import IN_A_ROW, PATIENCE_S, Pace

RATE = 10.0


class Clock:
    """A monotonic clock that waiting moves on."""

    def __init__(self):
        self.now = 1000.0

    def wait(self, seconds):
        self.now += seconds
        return False


@pytest.fixture
def clock(monkeypatch):
    """The clock of everything."""
    clock = Clock()
    monkeypatch.setattr(pace_module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def pace(clock, monkeypatch):
    """A pace of ten requests a second, waiting by that clock."""
    stop = threading.Event()
    monkeypatch.setattr(stop, "wait", clock.wait)
    pace = Pace(RATE, stop)
    monkeypatch.setattr(pace._news, "wait", clock.wait)
    return pace


def asked(pace, *, answered=True, requests=1, wait_s=0.0):
    """Refresh one account."""
    turn = pace.turn()
    for _ in range(requests):
        turn.count()
    pace.end(turn, answered=answered, wait_s=wait_s)


def fall(pace):
    """Let TikTok go down, and be found down."""
    for _ in range(IN_A_ROW):
        asked(pace, answered=False)


def test_pace__rate(pace, clock):
    """Turns follow one another at the rate."""
    for _ in range(11):
        asked(pace)

    assert 1.0 == pytest.approx(clock.now - 1000.0)


def test_pace__retries(pace, clock):
    """A request that is sent again counts like any other."""
    for _ in range(5):
        asked(pace, requests=2)
    asked(pace)

    assert 1.0 == pytest.approx(clock.now - 1000.0)


def test_pace__nothing_sent(pace, clock):
    """A turn that nothing was sent for leaves its place to the next."""
    for _ in range(100):
        asked(pace, requests=0)
    asked(pace)

    assert clock.now - 1000.0 <= 1 / RATE


def test_pace__late(pace, clock):
    """Whoever comes late gets no more than a moment's worth of requests at once."""
    clock.now += 60.0
    began = clock.now
    for _ in range(11):
        asked(pace)

    assert clock.now - began >= 1.0 - 2 * pace_module.CATCH_UP_S


def test_pace__down(pace, clock):
    """While TikTok is down, one is let through at growing distances, until the run has no more patience."""
    fall(pace)
    fell_at, moments = clock.now, []
    while turn := pace.turn():
        moments.append(clock.now - fell_at)
        turn.count()
        pace.end(turn, answered=False)

    assert [1, 3, 7, 15, 31, 63, 127, 255] == pytest.approx(moments)
    assert "down or busy" in pace.trouble
    assert clock.now - fell_at < PATIENCE_S


def test_pace__up_again(pace, clock):
    """When the one that is let through gets an answer, all go on at the rate."""
    fall(pace)
    asked(pace, answered=False)
    asked(pace)
    began = clock.now
    for _ in range(10):
        asked(pace)

    assert 1.0 == pytest.approx(clock.now - began, abs=2 * pace_module.CATCH_UP_S)
    assert "" == pace.trouble


def test_pace__one_after_the_other(pace, monkeypatch):
    """From the first account without an answer on, one waits for the other, until any gets an answer."""
    first, second = pace.turn(), pace.turn()
    for turn in (first, second):
        turn.count()
    pace.end(first, answered=False)
    pace.turn().count()
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            pace.end(second, answered=True)

    monkeypatch.setattr(pace._news, "wait", wait)
    pace.turn()

    assert 3 == len(waits)


@pytest.mark.parametrize("answered", [True, False])
def test_pace__sent_before_it_fell(pace, clock, answered):
    """Replies that come late, to what was sent before TikTok went down, make it neither better nor worse."""
    late = [pace.turn() for _ in range(5)]
    for turn in late:
        turn.count()
    fall(pace)
    fell_at = clock.now
    for turn in late:
        pace.end(turn, answered=answered)
    pace.turn()

    assert 1.0 == pytest.approx(clock.now - fell_at)


def test_pace__nothing_sent_while_down(pace, clock):
    """An account that TikTok is not asked for tells nothing, and the next one may ask at once."""
    fall(pace)
    asked(pace, requests=0)
    let_through_at = clock.now
    asked(pace)

    assert let_through_at == clock.now


def test_pace__retry_after(pace, clock):
    """TikTok is not asked before the time that it names."""
    for _ in range(IN_A_ROW):
        asked(pace, answered=False, wait_s=30.0)
    fell_at = clock.now
    pace.turn()

    assert 30.0 == pytest.approx(clock.now - fell_at)


def test_pace__retry_after_too_long(pace):
    """If that is not worth waiting for, the run ends."""
    for _ in range(IN_A_ROW):
        asked(pace, answered=False, wait_s=900.0)

    assert None is pace.turn()
    assert "900 s" in pace.trouble


def test_pace__stop(pace):
    """Nobody gets a turn in a run that ends."""
    pace._stop.set()

    assert None is pace.turn()
