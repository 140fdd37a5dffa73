"""Two machines keep the accounts of one store alive."""

from __future__ import annotations

import collections
import json
import sys
import time

import pytest
import scenarios
from child_processes import ChildProcess, hear, say
from shared_stores import SERVERS, open_new

from tiktok_oauth_session import LOGIN_KIT, AccountKey, TikTokToken
from tiktok_oauth_session.keepalive import keep_alive
from tiktok_oauth_session.testing import FakeTikTok

pytestmark = pytest.mark.slow

DAY_S = 86_400
#: Seconds that one machine alone needs at least: one that the other tests hold up misses less than that.
ALONE_S = 4.0
#: Seconds that two machines have for all of them, on a machine that is busy with other tests.
PATIENCE_S = 240.0


@pytest.fixture(params=["sqlite", *SERVERS])
def opens(request):
    """How any process opens an empty store, of each kind that machines can share."""
    return open_new(request.param, request)


def machine(opens, url, rate):
    """Be one of the machines."""
    with scenarios.opened(opens) as store:
        say(ready=True)
        hear()
        fake = FakeTikTok()
        summary = keep_alive(
            store,
            client_key=fake.client_key,
            client_secret=fake.client_secret,
            platform=LOGIN_KIT.at(url),
            rate=rate,
        )
        say(refreshed=summary.refreshed, dead=len(summary.dead), failed=list(summary.failed.values()))


@pytest.mark.parametrize("accounts", [100, pytest.param(2000, marks=pytest.mark.long)])
def test_keep_alive__two_machines(opens, accounts):
    """Two machines refresh each due account exactly once between them, and both do a share of it."""
    fake = FakeTikTok()
    ends = time.time() + 10 * DAY_S
    with scenarios.opened(opens) as store:
        for _ in range(accounts):
            user = fake.add_user(videos=0)
            token = TikTokToken({**fake.issue_token(user=user), "refresh_expires_at": ends})
            store.save(AccountKey(fake.client_key, user.open_id), token)
    with fake.serve() as server:
        order = {"opens": opens, "url": server.url, "rate": accounts / ALONE_S}
        with ChildProcess(__file__) as first, ChildProcess(__file__) as second:
            for child in (first, second):
                child.say(**order)
                child.hear()
            for child in (first, second):
                child.say(go=True)
            outcomes = [child.hear(timeout=PATIENCE_S) for child in (first, second)]
    refreshed = collections.Counter(
        json.loads(record.body)["open_id"] for record in fake.requests_to("refresh") if record.committed
    )

    assert [[], []] == [outcome["failed"] for outcome in outcomes]
    assert [0, 0] == [outcome["dead"] for outcome in outcomes]
    assert accounts == sum(outcome["refreshed"] for outcome in outcomes)
    assert all(outcome["refreshed"] >= accounts / 10 for outcome in outcomes), "the work was not shared out"
    assert accounts == len(refreshed)
    assert {1} == set(refreshed.values())
    fake.assert_no_token_reuse()


if __name__ == "__main__":
    sys.modules["test_keepalive_shared"] = sys.modules["__main__"]
    machine(**hear())
