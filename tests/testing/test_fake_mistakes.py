"""What the fake TikTok is told in Python and cannot do: refused where it is told, and nothing has changed."""

from __future__ import annotations

import math
import threading

import pytest

from tiktok_oauth_session.testing import FakeTikTok, User
from tiktok_oauth_session.testing.server import FakeServer

#: The end of the year 9999 (Unix time, seconds).
LATEST_S = 253_402_300_799
LIFETIMES = (
    "access_lifetime",
    "refresh_lifetime",
    "client_token_lifetime",
    "code_lifetime",
    "qr_lifetime",
    "grace_period",
)


@pytest.mark.parametrize("name", LIFETIMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -1, LATEST_S + 1, "60", None, True])
def test_lifetime__none(name, value):
    """What is no length of time is no lifetime."""
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds from 0 to {LATEST_S}, not "):
        FakeTikTok(**{name: value})


@pytest.mark.parametrize("name", LIFETIMES)
@pytest.mark.parametrize("value", [0, 0.5, LATEST_S])
def test_lifetime__shortest_and_longest(name, value):
    """A lifetime may be nothing, and until there are no dates any more."""
    fake = FakeTikTok(**{name: value})

    assert fake.issue_token()["expires_in"] == (int(value) if name == "access_lifetime" else 7200)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, 1e300, 10**400, "7", None, True])
def test_advance__nowhere(fake, clock, seconds):
    """The clock stays where it is if that is no number, or there is no such time."""
    with pytest.raises(ValueError, match="seconds must be a number that leaves the clock between the years"):
        fake.advance(seconds)

    assert clock.now == fake.now()


@pytest.mark.parametrize(
    ("moment", "is_refused"), [(-1, True), (0, False), (LATEST_S, False), (LATEST_S + 1, True)]
)
def test_advance__as_far_as_there_are_dates(fake, clock, moment, is_refused):
    """The clock goes from 1970 to 9999, and requests are answered at both ends."""
    if is_refused:
        with pytest.raises(ValueError, match="seconds must be"):
            fake.advance(moment - clock.now)
        return
    fake.advance(moment - clock.now)

    assert moment == fake.now()
    assert fake.authorize("https://www.tiktok.com/v2/auth/authorize/?" + QUERY).startswith(CALLBACK)


CALLBACK = "https://app.example/callback/"
QUERY = f"client_key=sbaw-test-key&response_type=code&scope=user.info.basic&redirect_uri={CALLBACK}&state=x"


@pytest.mark.parametrize("seconds", [0, threading.TIMEOUT_MAX, 0.5])
def test_fail__seconds(fake, seconds):
    """A reply may be as slow as a thread can wait."""
    fake.fail("token", "slow", seconds=seconds)


@pytest.mark.parametrize(
    ("kind", "details", "words"),
    [
        ("slow", {"seconds": -0.1}, "seconds must be"),
        ("slow", {"seconds": threading.TIMEOUT_MAX * 2}, "seconds must be"),
        ("slow", {"processed": "yes"}, "processed must be true or false"),
        ("status", {"status": 199}, "status must be a whole number from 200 to 599, not 199"),
        ("status", {"status": 600}, "not 600"),
        ("status", {"status": 503.0}, "not 503.0"),
        ("status", {"body": "text"}, "body must be bytes, not 'text'"),
        ("body", {"body": None}, "body must be bytes, not None"),
        ("body", {"headers": ["X"]}, "headers must be texts by name"),
        ("error", {"description": None}, "description must be text, not None"),
        ("redirect", {"location": "/a\r\nX: y"}, "location must be a URL of printable ASCII"),
    ],
)
def test_fail__a_detail_that_is_none(fake, kind, details, words):
    """A detail of the wrong kind is refused, and no accident is planned."""
    with pytest.raises(ValueError, match=words):
        fake.fail("token", kind, **details)

    assert "" == fake._handler.faults.take("token").kind


@pytest.mark.parametrize(
    ("times", "is_refused"), [(-1, True), (0, True), (1, False), (None, False), (1.0, True)]
)
def test_fail__times(fake, times, is_refused):
    """An accident happens once, or more often, or until it is healed."""
    if is_refused:
        with pytest.raises(ValueError, match="times must be a whole number from 1, or None"):
            fake.fail("token", "html", times=times)
    else:
        fake.fail("token", "html", times=times)

    assert ("html", "")[is_refused] == fake._handler.faults.take("token").kind


@pytest.mark.parametrize("videos", ["abc", -1, 20_001, True, 1.0, {}, [1], [{"view_count": None}], b"a"])
def test_add_user__no_videos(fake, videos):
    """What is neither a number of videos nor what is known of each adds nobody, and changes nobody."""
    before = fake.users
    for open_id in (None, before[0].open_id):
        with pytest.raises(ValueError, match="videos must be a number from 0 to 20000, or a list of videos"):
            fake.add_user(open_id, videos=videos)

    assert before == fake.users


@pytest.mark.parametrize(("videos", "count"), [(0, 0), (20_000, 20_000), ([{}], 1), (iter([{}, {}]), 2)])
def test_add_user__videos(fake, videos, count):
    """As many videos as there are days since 1970, or any number of descriptions."""
    assert count == len(fake.add_user(videos=videos).videos)


@pytest.mark.parametrize(("open_id", "name"), [(7, "A"), ([], "A"), ("a", 7), ("\ud800", "A")])
def test_user__no_text(open_id, name):
    """An id and a name are texts, and the id one that can travel."""
    with pytest.raises(ValueError, match="must be text"):
        User.make(open_id, name, 0)


def test_server__no_host(fake):
    """An empty host, which to a socket is every address, is none."""
    with pytest.raises(ValueError, match="at least one character"):
        FakeServer(fake._handler, 0, "")
