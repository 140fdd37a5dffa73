"""What is sent a second time, how often, and after which pause."""

from __future__ import annotations

import email.utils

import pytest
import requests

from tiktok_oauth_session.exchange import (
    CODE,
    HARMLESS,
    REFRESH_IN_TIME,
    REFRESH_WAITED_FOR,
    REVOCATION,
    NoReply,
    Retry,
    Transport,
    post,
)

#: A refresh with nothing left to lose.
REFRESH_AT_LAST = REFRESH_WAITED_FOR._replace(lost=True)
URL = "https://open.tiktokapis.com/v2/oauth/token/"
NO_RETRY = Retry(unsent=False, busy=False)


@pytest.fixture
def http(fake):
    """A plain requests session that reaches the fake."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        yield session


def ask(http, retry=NO_RETRY, transport=None, **body):
    """Ask for a token of the app itself."""
    body = body or {"data": {"grant_type": "client_credentials", "client_secret": "fake-secret"}}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return post(http, "POST", URL, headers, body, transport or Transport(), retry)


@pytest.mark.parametrize(
    ("policy", "kind", "tries"),
    [
        (CODE, "refuse", 3),
        (CODE, "reset_before", 1),
        (CODE, "reset_after", 1),
        (CODE, "truncated", 1),
        (CODE, "status", 1),
        (REFRESH_IN_TIME, "refuse", 1),
        (REFRESH_IN_TIME, "reset_after", 1),
        (REFRESH_IN_TIME, "status", 1),
        (REFRESH_WAITED_FOR, "refuse", 3),
        (REFRESH_WAITED_FOR, "reset_after", 1),
        (REFRESH_WAITED_FOR, "truncated", 1),
        (REFRESH_WAITED_FOR, "status", 3),
        (REFRESH_AT_LAST, "refuse", 3),
        (REFRESH_AT_LAST, "reset_before", 2),
        (REFRESH_AT_LAST, "reset_after", 2),
        (REFRESH_AT_LAST, "truncated", 2),
        (REFRESH_AT_LAST, "status", 3),
        (HARMLESS, "reset_after", 2),
        (HARMLESS, "status", 3),
        (REVOCATION, "refuse", 3),
        (REVOCATION, "reset_after", 1),
        (REVOCATION, "status", 3),
        *[(policy, "html", 1) for policy in (CODE, REFRESH_AT_LAST, HARMLESS, REVOCATION)],
        *[(policy, "error", 1) for policy in (CODE, REFRESH_AT_LAST, HARMLESS, REVOCATION)],
    ],
)
def test_retry__how_often(fake, http, pauses, policy, kind, tries):
    """Each policy sends again after the failures that it names, after a pause each time, and no more."""
    fake.fail("client_token", kind, times=None)

    try:
        ask(http, policy)
    except NoReply:
        assert kind in ("refuse", "reset_before", "reset_after", "truncated")
    else:
        assert kind in ("status", "html", "error")

    assert (tries, tries - 1) == (len(fake.requests), len(pauses))


@pytest.mark.parametrize("status", [429, 503])
def test_retry__busy_and_then_not(fake, http, pauses, status):
    """What comes after TikTok was busy is the answer."""
    fake.fail("client_token", "status", status=status, times=2)

    ask(http, HARMLESS)

    assert [status, status, 200] == [record.status for record in fake.requests]


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_retry__not_for_other_statuses(fake, http, pauses, status):
    """Other statuses leave open what TikTok did, so nothing is sent again."""
    fake.fail("client_token", "status", status=status, times=None)

    assert status == ask(http, HARMLESS).status_code
    assert ([status], []) == ([record.status for record in fake.requests], pauses)


def test_retry__backs_off(fake, http, pauses):
    """Without a Retry-After the pauses grow, and are spread."""
    fake.fail("client_token", "refuse", times=None)

    for _ in range(20):
        with pytest.raises(NoReply):
            ask(http, HARMLESS)

    assert all(0.5 <= pause <= 0.75 for pause in pauses[::2])
    assert all(1.0 <= pause <= 1.5 for pause in pauses[1::2])
    assert len(set(pauses)) > 20


@pytest.mark.parametrize(
    ("said", "pause"),
    [("2", 2), ("2.5", 2.5), ("29", 29), ("30", 30), ("31", 30), ("86400", 30), ("inf", 30), ("1e999", 30)],
)
def test_retry_after__seconds(fake, http, pauses, said, pause):
    """What Retry-After says is obeyed, up to half a minute."""
    fake.fail("client_token", "status", status=429, retry_after=said)

    ask(http, HARMLESS)

    assert [pause] == pauses


@pytest.mark.parametrize(("ahead", "pause"), [(10, 10), (30, 30), (31, 30), (86400, 30)])
def test_retry_after__date(fake, http, pauses, clock, ahead, pause):
    """An HTTP date is obeyed like a number of seconds."""
    fake.fail("client_token", "status", retry_after=email.utils.formatdate(clock.now + ahead, usegmt=True))

    ask(http, HARMLESS)

    assert [pause] == pauses


@pytest.mark.parametrize(
    "said",
    [
        "",
        "0",
        "-1",
        "nan",
        "-inf",
        "soon",
        "Wed, 99 Foo 99999 99:99:99 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "\xff",
    ],
)
def test_retry_after__of_no_use(fake, http, pauses, said):
    """A Retry-After that says nothing of use leaves the usual pause."""
    fake.fail("client_token", "status", retry_after=said)

    ask(http, HARMLESS)

    (pause,) = pauses
    assert 0.5 <= pause <= 0.75
