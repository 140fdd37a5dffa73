"""A token for another HTTP client: one that works, or another than the one that TikTok has just refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiktok_oauth_session import MemoryStore, ReauthorizationRequired, TokenError

PATIENCE_S = 30.0


def refreshes(fake):
    """How often a refresh was asked for."""
    return len(fake.requests_to("refresh"))


def test_fresh_token__refused(fake, make_session, issue):
    """In the place of a token that TikTok refuses before its time is up, a new one is asked for."""
    session = make_session(token=issue())
    dead = session.fresh_token()

    new = session.fresh_token(refused=dead["access_token"])

    assert 1 == refreshes(fake)
    assert dead["refresh_token"] == fake.requests_to("refresh")[0].form["refresh_token"]
    assert new == session.token
    assert dead["access_token"] != new["access_token"]
    assert fake.is_alive(new["access_token"])


def test_fresh_token__refused_long_ago(fake, make_session, issue):
    """A session that has another token by now returns that one, and asks nobody."""
    session = make_session(token=issue())

    assert session.token == session.fresh_token(refused="act.of-yesterday")
    assert [] == fake.requests


def test_fresh_token__another_that_is_due(fake, make_session, issue, clock):
    """If that other one is over itself, it is refreshed first."""
    session = make_session(token=issue())
    clock.advance(7200)

    new = session.fresh_token(refused="act.of-yesterday")

    assert 1 == refreshes(fake)
    assert fake.is_alive(new["access_token"])


def test_fresh_token__refused_here_and_renewed_elsewhere(fake, make_session, issue):
    """Who shares the store with somebody who has refreshed meanwhile gets their token, without a request."""
    store, token = MemoryStore(), issue()
    session, other = make_session(token=token, store=store), make_session(token=token, store=store)
    theirs = other.refresh_token()

    assert theirs == session.fresh_token(refused=token["access_token"]) == session.token
    assert 1 == refreshes(fake)


def test_fresh_token__refused_by_many_at_once(fake, make_session, issue):
    """Twenty who were refused at once with one token cause one refresh, and all get what it brought."""
    session, everybody = make_session(token=issue(), as_if_network=True), threading.Barrier(20)
    refused = session.token["access_token"]

    def ask(_):
        everybody.wait(PATIENCE_S)
        return session.fresh_token(refused=refused)["access_token"]

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(ask, range(20)))

    assert {session.token["access_token"]} == answers
    assert 1 == refreshes(fake)
    assert 0 == fake.reuse_attempts


def test_fresh_token__refused_and_no_other_to_be_had(fake, make_session, issue):
    """A refused token is never returned: where there is no other, the error says when to ask again."""
    session = make_session(token=issue())
    refused = session.token["access_token"]
    fake.fail("refresh", "status", status=503, retry_after=30)

    for _ in range(2):
        with pytest.raises(TokenError) as caught:
            session.fresh_token(refused=refused)
        assert 0 < caught.value.retry_after <= 30

    assert 1 == refreshes(fake)


def test_fresh_token__refused_without_a_refresh_token(make_session, issue):
    """Where there is nothing to refresh with, a refused token needs a login."""
    session = make_session(token={"access_token": issue()["access_token"]})

    with pytest.raises(ReauthorizationRequired, match="no refresh token"):
        session.fresh_token(refused=session.token["access_token"])


def test_fresh_token__refused_and_nobody_logged_in(fake, make_session):
    """Without any token there is no other either."""
    with pytest.raises(ReauthorizationRequired, match="log in first"):
        make_session().fresh_token(refused="act.of-yesterday")
    assert [] == fake.requests


def test_fresh_token__refused_token_of_the_app(fake, make_session):
    """A refused token of the app itself is fetched anew."""
    session = make_session()
    refused = session.fetch_client_token()["access_token"]

    new = session.fresh_token(refused=refused)
    again = session.fresh_token(refused=refused)

    assert refused != new["access_token"]
    assert new == again == session.token
    assert 2 == len(fake.requests_to("client_token"))
