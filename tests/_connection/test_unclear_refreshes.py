"""A refresh whose outcome nobody learnt: when its refresh token is sent again, and when it is spared."""

from __future__ import annotations

import itertools

import pytest

from tiktok_oauth_session import (
    AccountKey,
    FileStore,
    MemoryStore,
    ReauthorizationRequired,
    TokenError,
)
from tiktok_oauth_session._connection.marks import PAUSE_CAP_S, PAUSE_S, Marks
from tiktok_oauth_session.tokens import REFRESH_ERROR, REFRESH_STARTED_AT, REFRESH_TRIES

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
HOUR_S = 3600
HOMES = ["one store", "a store each", "updater"]


@pytest.fixture(params=HOMES)
def callers(request, fake, make_session, issue, clock, tmp_path):
    """Two sessions of one connection whose access token has just died, as two workers have them."""
    token = issue()
    if request.param == "updater":
        made = [make_session(token=token, as_if_network=True) for _ in range(2)]
    else:
        shared = MemoryStore()
        stores = [shared if request.param == "one store" else FileStore(tmp_path) for _ in range(2)]
        stores[0].save(AccountKey(fake.client_key, token.open_id), token)
        made = [make_session(store=store, open_id=token.open_id, token_updater=None) for store in stores]
    clock.advance(token["expires_in"])
    return made


def call(session):
    """Call the API; return the status, or the code of the error."""
    try:
        return session.get(USER_INFO).status_code
    except TokenError as error:
        return error.error


def sent_at(fake):
    """When refresh requests were sent."""
    return [record.at for record in fake.requests_to("refresh")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reset_before", "slow", "html", "truncated"])
def test_outage__replays_keep_a_distance(fake, callers, clock, kind):
    """While no reply comes, however many calls are made, replays grow rarer, up to the cap."""
    fake.fail("refresh", kind, times=None, **({} if kind == "reset_before" else {"processed": False}))
    began, answers = clock.now, set()
    for number in range(HOUR_S // 5):
        answers.add(call(callers[number % 2]))
        clock.advance(5)
    at = [moment - began for moment in sent_at(fake)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]

    assert pauses[0] in ({5.0} if kind == "html" else {0.0}), "the one replay: within the call if none came"
    assert [min(PAUSE_S * 2**n, PAUSE_CAP_S) for n in range(len(pauses) - 1)] == pauses[1:]
    assert pauses[-1] == PAUSE_CAP_S
    assert fake.reuse_attempts == 0
    assert 200 not in answers


def test_outage__is_survived(fake, callers, clock):
    """An outage that nobody's refresh token was spent in costs no login, however long it lasted."""
    fake.fail("refresh", "reset_before", times=None)
    for _ in range(24 * HOUR_S // 300):
        call(callers[0])
        clock.advance(300)
    fake.heal()
    clock.advance(PAUSE_CAP_S)

    assert [200, 200] == [call(session) for session in callers]
    assert fake.reuse_attempts == 0


def test_outage__that_spent_the_token(fake, callers, clock):
    """A spent refresh token is answered once, and then left alone."""
    fake.fail("refresh", "reset_after")
    fake.fail("refresh", "reset_before", times=3)
    for _ in range(200):
        call(callers[0])
        call(callers[1])
        clock.advance(5)
    answered = [record for record in fake.requests_to("refresh") if record.delivered]

    assert ["invalid_grant"] == [record.error for record in answered]
    assert len(sent_at(fake)) == 5
    with pytest.raises(ReauthorizationRequired):
        callers[1].get(USER_INFO)


def test_replay__spared_until_it_is_due(fake, callers, clock):
    """To the second: before its time nothing is sent, by no worker, and the error says when it will be."""
    fake.fail("refresh", "reset_before", times=2)

    assert "no_reply" == call(callers[0])

    for seconds in (0, PAUSE_S - 1):
        clock.advance(seconds)
        for session in callers:
            with pytest.raises(TokenError, match=f"in {PAUSE_S - seconds:.0f} s") as caught:
                session.get(USER_INFO)
            assert "no_reply" == caught.value.error
            with pytest.raises(TokenError):
                session.refresh_token()
    assert len(sent_at(fake)) == 2

    clock.advance(1)

    assert 200 == call(callers[1])
    assert len(sent_at(fake)) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_replay__refused_for_now(fake, callers, clock, status):
    """A server that is too busy for the replay has said nothing of the request before it."""
    fake.fail("refresh", "reset_before")
    fake.fail("refresh", "status", status=status)

    assert "no_reply" != call(callers[0])

    fake.fail("refresh", "reset_before", times=None)
    clock.advance(PAUSE_S)
    call(callers[1])
    call(callers[0])

    assert len(sent_at(fake)) == 3, "the replay that was not carried out, and no other within the next call"


def test_replay__of_another_process(fake, make_session, issue, clock, tmp_path):
    """The replay of a refresh that a dead process began is not replayed within the call again."""
    token = issue()
    store = FileStore(tmp_path)
    store.save(AccountKey(fake.client_key, token.open_id), Marks().begun("another", 25).on(token))
    clock.advance(token["expires_in"])
    fake.fail("refresh", "reset_before", times=None)

    assert "no_reply" == call(make_session(store=store, open_id=token.open_id))
    assert len(sent_at(fake)) == 1


def test_replay__mark_from_the_future(fake, callers, clock):
    """A clock that was set back holds nothing up for longer than the pause."""
    fake.fail("refresh", "reset_before", times=2)
    call(callers[0])
    clock.advance(-HOUR_S)
    # By the clock, the access token lives again.
    fake.fail("user_info", "error", error="access_token_invalid", status=401)

    assert 200 == call(callers[0])
    assert len(sent_at(fake)) == 3


def test_replay__lost_with_the_store_gone_on(fake, make_session, issue, clock):
    """What another machine has put into the store meanwhile is used, and the old token not sent again."""
    token = issue()
    store = MemoryStore()
    key = AccountKey(fake.client_key, token.open_id)
    session = make_session(token=token, store=store)
    clock.advance(token["expires_in"])
    newer = issue()
    fake.before("refresh", lambda record: store.save(key, newer))
    fake.fail("refresh", "reset_before")

    session.get(USER_INFO)

    assert len(sent_at(fake)) == 1
    assert newer == session.token == store.load(key)


def test_mark__of_a_holder_that_is_not_seen(fake, make_session, issue, clock, tmp_path):
    """Of a holder in another container it is waited for what its request may take, and no longer."""
    token = issue()
    store = FileStore(tmp_path)
    clock.advance(token["expires_in"])
    store.save(AccountKey(fake.client_key, token.open_id), Marks().begun("1.elsewhere.x", 25).on(token))
    session = make_session(store=store, open_id=token.open_id)

    clock.advance(54)
    assert "no_reply" == call(session)
    clock.advance(2)
    assert 200 == call(session)
    assert len(sent_at(fake)) == 1


def test_mark__a_new_process_spares_the_refresh_token(fake, make_session, issue, clock, tmp_path):
    """Who finds the mark of an unfinished refresh, and a token that works, sends nothing."""
    token = issue()
    first = make_session(store=FileStore(tmp_path), token=token)
    clock.advance(token["expires_in"] - 300)
    fake.fail("refresh", "reset_after")

    assert 200 == call(first)
    # A store of its own knows nothing but what the file says.
    assert 200 == call(make_session(store=FileStore(tmp_path), open_id=token.open_id))
    assert len(sent_at(fake)) == 1


@pytest.mark.parametrize("status", [500, 504])
def test_mark__server_error_with_a_body(fake, make_session, issue, clock, tmp_path, status):
    """An HTTP 5xx leaves open whether the refresh was carried out, whatever JSON comes with it."""
    token = issue()
    store = FileStore(tmp_path)
    session = make_session(store=store, token=token)
    clock.advance(token["expires_in"] - 300)
    fake.fail("refresh", "error", error="gateway_timeout", status=status)

    assert 200 == call(session)
    assert store.load(AccountKey(fake.client_key, token.open_id))[REFRESH_TRIES] == 1


def test_mark__gone_with_the_outcome(fake, make_session, issue, clock):
    """A new token bears no mark of the old one's; a refused one bears the refusal only."""
    token = issue()
    store = MemoryStore()
    key = AccountKey(fake.client_key, token.open_id)
    session = make_session(store=store, token=token)
    clock.advance(token["expires_in"])
    fake.fail("refresh", "html")
    call(session)

    assert store.load(key)[REFRESH_TRIES] == 1
    assert 200 == call(session)
    assert not {REFRESH_STARTED_AT, REFRESH_TRIES, REFRESH_ERROR} & set(store.load(key))

    clock.advance(7200)
    fake.remove_connection(token.open_id)
    call(session)

    assert {REFRESH_ERROR} == {REFRESH_STARTED_AT, REFRESH_TRIES, REFRESH_ERROR} & set(store.load(key))
