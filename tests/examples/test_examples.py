"""The examples of the documentation, each used by two people at once in a real browser."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest
from people import Person
from running_examples import KNOWN, WORKERS, Running
from servers import lack, require_module

pytestmark = pytest.mark.slow

#: Seconds that an access token lives which is to expire in a test.
SHORT_LIFE_S = 2
#: Calls of one person at once, of which a browser keeps six under way.
CALLS = 18
#: How often calls are made again until each worker has answered one.
ROUNDS = 20


@pytest.fixture(scope="module", params=list(KNOWN))
def example(request, tmp_path_factory):
    """An example, under three workers."""
    known = KNOWN[request.param]
    require_module(known.needs)
    if not known.folder.exists():
        lack(f"{known.folder} is not there")
    with Running(known, tmp_path_factory.mktemp(request.param)).served() as running:
        yield running


@pytest.fixture
def people(chromium, example):
    """Two people, each with a browser of their own. At the end nobody has seen a 500, and no log a secret."""
    numbers = range(len(example.fake.users), len(example.fake.users) + 2)
    two = [Person(chromium, example, f"Person {number}") for number in numbers]
    yield two
    for person in two:
        person.close()
    example.fake.heal()
    assert [] == [status for person in two for status in person.statuses if status == 500]
    assert 0 == example.fake.reuse_attempts
    sent = example.fake.requests
    secrets = {
        record.form.get(name) for record in sent for name in ("code", "refresh_token", "client_secret")
    }
    secrets |= {record.headers["Authorization"][7:] for record in sent if record.endpoint == "user_info"}
    assert [] == [secret for secret in secrets - {None} if secret in example.log]


def is_a_way_on(text):
    """Tell whether a page says what to do next."""
    return bool(re.search(r"\b(again|log in)\b", text, re.IGNORECASE))


# --- two people at once --------------------------------------------------------------------------------


def test_example__two_people(example, people):
    """Two people whose logins cross are themselves, with PKCE."""
    first, second = people
    pages = len(example.fake.requests_to("authorize"))
    assert [(401, None)] * 2 == [person.me() for person in people]
    for person in people:
        person.begin()
    assert [200, 200] == [second.answer(), first.answer()]

    assert [(200, person.open_id) for person in people] == [person.me() for person in people]
    assert all(person.name in person.text for person in people)
    begun = [each.query for each in example.fake.requests_to("authorize")[pages:] if each.method == "GET"]
    assert all(re.fullmatch("[0-9a-f]{64}", each["code_challenge"]) for each in begun)
    assert 2 == len({each["code_challenge"] for each in begun}) == len(begun)


def test_example__expired(example, people):
    """Both tokens expire; of many calls at once, over all workers, each is answered, and one refreshes."""
    example.lifetime(SHORT_LIFE_S)
    for person in people:
        person.log_in()
    example.lifetime(7200)
    issued = [*example.fake.requests_to("token"), *example.fake.requests_to("refresh")]
    # Nothing tells that time has passed, but the clock.
    threading.Event().wait(max(each.at for each in issued) + SHORT_LIFE_S - time.time())
    before = len(example.fake.requests_to("refresh"))
    example.fake.fail("refresh", "slow", seconds=0.5, times=2)
    workers, rounds = set(), 0
    while len(workers) < WORKERS and rounds < ROUNDS:
        for person in people:
            if rounds:
                # Its connections are kept alive by the workers that have accepted them.
                person.open_new_window()
        for person in people:
            person.begin_calls(CALLS)
        answers = [person.end_calls() for person in people]
        for person, calls in zip(people, answers, strict=True):
            assert [(200, person.open_id, person.name)] * CALLS == [
                (status, told.get("open_id"), told.get("display_name")) for status, told in calls
            ]
        workers |= {told["worker"] for calls in answers for _, told in calls}
        rounds += 1

    assert WORKERS == len(workers)
    refreshed = [
        json.loads(record.body)["open_id"] for record in example.fake.requests_to("refresh")[before:]
    ]
    assert sorted(person.open_id for person in people) == sorted(refreshed)


def test_example__logged_out(example, people):
    """Who logs out is forgotten here, and only they; the connection at TikTok stays."""
    first, second = people
    for person in people:
        person.log_in()
    revocations = len(example.fake.requests_to("revoke"))
    first.press("Log out")

    assert [(401, None), (200, second.open_id)] == [person.me() for person in people]
    assert revocations == len(example.fake.requests_to("revoke"))
    first.log_in()
    assert (200, first.open_id) == first.me()


def test_example__another_account(example, people):
    """A browser changes to another account, which TikTok lets its user choose; other browsers do not."""
    first, second = people
    for person in people:
        person.log_in()
    first.begin("Another account")
    page = example.fake.requests_to("authorize")[-1]
    first.answer(who=second)

    assert "1" == page.query["disable_auto_auth"]
    assert (200, second.open_id) == first.me()
    assert second.name in first.text
    first.begin("Another account")
    first.answer()
    assert [(200, person.open_id) for person in people] == [person.me() for person in people]


def test_example__disconnected(example, people):
    """Who disconnects is revoked at TikTok, and only they."""
    first, second = people
    for person in people:
        person.log_in()
    revocations = len(example.fake.requests_to("revoke"))
    first.press("Disconnect")

    assert [(401, None), (200, second.open_id)] == [person.me() for person in people]
    (revoked,) = example.fake.requests_to("revoke")[revocations:]
    assert revoked.committed


def test_example__disconnected_elsewhere(example, people):
    """Who presses the button when their other browser has pressed it already is logged out, as they wish."""
    first, second = people
    first.log_in()
    second.begin()
    second.answer(who=first)
    revocations = len(example.fake.requests_to("revoke"))
    for person in (second, first):
        person.open("/")
    first.click("Disconnect")
    again = second.click("Disconnect")

    assert 200 == again
    assert [(401, None)] * 2 == [person.me() for person in people]
    assert 1 == len(example.fake.requests_to("revoke")[revocations:])


def test_example__disconnected_at_tiktok(example, people):
    """Who has removed the app at TikTok, and presses the button then, is forgotten, and only they."""
    first, second = people
    for person in people:
        person.log_in()
    first.open("/")
    example.fake.remove_connection(first.open_id)

    assert 200 == first.click("Disconnect")
    assert [(401, None), (200, second.open_id)] == [person.me() for person in people]
    assert [0, 1] == [example.stored(person.open_id) for person in people]


# --- what fails ----------------------------------------------------------------------------------------


@pytest.fixture
def refused(example):
    """Sees that a page says what to do next, and the log why."""
    logged = [len(example.log)]

    def see(person, status, expected, reason):
        assert expected == status
        assert is_a_way_on(person.text)
        logged.append(len(example.log))
        assert re.search(reason, example.log[logged[-2] :], re.IGNORECASE)
        return True

    return see


def test_example__denied(example, people, refused):
    """Who says no at TikTok can begin again."""
    person, _ = people
    person.begin()

    assert refused(person, person.answer("Cancel"), 400, "access_denied")
    person.log_in()
    assert (200, person.open_id) == person.me()


def test_example__without_state(example, people, refused):
    """A callback without the state of a login logs nobody in, and sends nothing to TikTok."""
    person, _ = people
    exchanges = len(example.fake.requests_to("token"))
    for query in ("", "?code=stolen", "?code=stolen&state=wrong"):
        assert refused(person, person.page.goto(example.redirect_uri + query).status, 400, "state")

    assert exchanges == len(example.fake.requests_to("token"))
    assert (401, None) == person.me()


def test_example__reloaded(example, people, refused):
    """A callback that is opened a second time is over, and its login is not."""
    person, _ = people
    callback = person.log_in()
    exchanges = len(example.fake.requests_to("token"))
    status = person.page.goto(callback).status

    assert refused(person, status, 400, "state")
    assert exchanges == len(example.fake.requests_to("token"))
    assert (200, person.open_id) == person.me()


def test_example__of_another_browser(example, people, refused):
    """One browser's callback logs nobody in in another one."""
    first, second = people
    callback = first.log_in()
    second.begin()
    status = second.page.goto(callback).status

    assert refused(second, status, 400, "state")
    assert [(200, first.open_id), (401, None)] == [person.me() for person in people]


def test_example__tiktok_is_down(example, people, refused):
    """While TikTok answers nothing, whoever logs in is asked for patience; so is whoever is logged in."""
    first, second = people
    first.log_in()
    second.begin()
    example.fake.fail("token", "status", status=503, retry_after=7)
    assert refused(second, second.answer(), 503, "temporarily_unavailable")
    example.fake.fail("user_info", "reset_before", times=None)
    assert refused(first, first.open("/"), 503, "connection")

    example.fake.heal()
    second.log_in()
    assert [(200, person.open_id) for person in people] == [first.open("/") and first.me(), second.me()]


def test_example__store_is_down(example, people, refused):
    """While the database is none, whoever logs in is asked for patience; so is whoever is logged in."""
    first, second = people
    first.log_in()
    second.begin()
    exchanges = len(example.fake.requests_to("token"))
    with example.store_down():
        assert refused(second, second.answer(), 503, "database")
        assert refused(first, first.open("/"), 503, "database")
        assert exchanges == len(example.fake.requests_to("token"))

    second.log_in()
    assert [(200, person.open_id) for person in people] == [first.open("/") and first.me(), second.me()]
