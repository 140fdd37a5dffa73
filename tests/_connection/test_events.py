"""Events: whoever watches is told of each refresh and of its end, once, and without a secret."""

from __future__ import annotations

import concurrent.futures
import json
import logging
import threading

import pytest
from child_processes import ChildProcess, let_refreshes_end, say

from tiktok_oauth_session import (
    AccountKey,
    MemoryStore,
    ReauthorizationRequired,
    RevocationError,
    StoreError,
    TikTokOAuth2Session,
    TikTokToken,
    TokenError,
    TokenNotSaved,
)
from tiktok_oauth_session.keepalive import keep_alive
from tiktok_oauth_session.testing import FakeTikTok

USER_INFO = "/v2/user/info/?fields=open_id"
PATIENCE_S = 20


# --- the child: OpenTelemetry has one provider a process --------------------------------------------


def run():
    """Refresh, be refused, and say what OpenTelemetry has measured."""
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    fake, store = FakeTikTok(), MemoryStore()
    token = TikTokToken.from_reply(fake.issue_token(), requested_at=fake.now() - 7200)
    key = AccountKey(fake.client_key, token.open_id)
    store.save(key, token)
    session = TikTokOAuth2Session(
        key.client_key, client_secret=fake.client_secret, store=store, open_id=key.open_id
    )
    session.mount("https://", fake.adapter())
    fake.fail("refresh", "error", error="rate_limit_exceeded")
    for _ in range(2):
        try:
            session.get(USER_INFO)
        except TokenError:
            store.save(key, token)
    let_refreshes_end()
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    say(
                        scope=scope.scope.name,
                        name=metric.name,
                        unit=metric.unit,
                        attributes=dict(point.attributes),
                        count=getattr(point, "count", None) or point.value,
                    )
    say(done=True)


# --- in the test ------------------------------------------------------------------------------------


@pytest.fixture
def store():
    """A store."""
    return MemoryStore()


@pytest.fixture
def old(issue, clock):
    """A token that has expired."""
    token = issue()
    clock.advance(7201)
    return token


@pytest.fixture
def key(fake, old, store):
    """The account, in the store."""
    key = AccountKey(fake.client_key, old.open_id)
    store.save(key, old)
    return key


@pytest.fixture
def events():
    """What was told."""
    return []


@pytest.fixture
def session(make_session, store, key, events):
    """A session for the account, which is watched."""
    return make_session(store=store, open_id=key.open_id, token_updater=None, on_event=events.append)


def names(events):
    """What has happened, and why."""
    return [(event.name, event.reason) for event in events]


def test_refreshed__once(fake, make_session, store, key, events):
    """Twenty threads with a session each, one refresh: one event, with account and seconds."""
    fake.after("refresh", lambda record: threading.Event().wait(0.05))
    sessions = [
        make_session(store=store, open_id=key.open_id, token_updater=None, on_event=events.append)
        for _ in range(20)
    ]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda session: session.get(USER_INFO).status_code, sessions))
    let_refreshes_end()

    assert [200] * 20 == answers
    ((name, account, reason, seconds),) = events
    assert ("refreshed", key, None) == (name, account, reason)
    assert 0.05 <= seconds < PATIENCE_S


def test_refreshed__after_it_is_saved(session, store, key, old):
    """Whoever is told finds the new token in the store, and may use the session and the lock."""
    found = []

    def look(event):
        with store.lock(key):
            found.append((store.load(key), session.get(USER_INFO).status_code))

    session.on_event = look
    session.get(USER_INFO)
    let_refreshes_end()

    assert [(session.token, 200)] == found
    assert old.refresh_token != session.token.refresh_token


def test_refreshed__fresh(session, events, store, key, issue):
    """A call with a fresh token is no event."""
    store.save(key, issue())
    session.get(USER_INFO)

    assert [] == events


@pytest.mark.parametrize(
    ("fault", "options", "reason"),
    [
        ("status", {"status": 503}, "temporarily_unavailable"),
        ("error", {"error": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        ("reset_after", {}, "no_reply"),
        ("refuse", {}, "no_reply"),
    ],
)
def test_refresh_failed__once_a_try(fake, session, events, fault, options, reason):
    """TikTok gives none: one event, also if others call while nobody asks again."""
    fake.fail("refresh", fault, times=None, **options)
    for _ in range(5):
        with pytest.raises(TokenError):
            session.get(USER_INFO)
    let_refreshes_end()

    assert [("refresh_failed", reason)] == names(events)


def test_refresh_failed__advisory(fake, session, events, store, key, issue, clock):
    """The old token still works, and the call is answered: whoever watches is told all the same."""
    store.save(key, issue())
    assert session.authorized
    clock.advance(7200 - 300)
    fake.fail("refresh", "status", status=503)

    assert 200 == session.get(USER_INFO).status_code
    let_refreshes_end()
    assert [("refresh_failed", "temporarily_unavailable")] == names(events)


def test_refresh_failed__store(fake, session, events, store, monkeypatch):
    """The store cannot be written before TikTok is asked: nothing is spent, and the reason is the store."""

    def down(*_, **__):
        raise StoreError("The store is down.")

    monkeypatch.setattr(store, "save", down)
    with pytest.raises(StoreError):
        session.get(USER_INFO)
    let_refreshes_end()

    assert [("refresh_failed", "store")] == names(events)
    assert [] == fake.requests


def test_refreshed__saved_late(fake, session, events, store, key, old, monkeypatch):
    """A new token that the store takes at the third try is refreshed: once, when that is done."""
    save, failures = store.save, iter(range(2))

    def fail_at_first(key, token, *, replacing=None):
        if token.refresh_token != old.refresh_token and next(failures, None) is not None:
            assert [] == events
            raise StoreError("The store is down.")
        save(key, token, replacing=replacing)

    monkeypatch.setattr(store, "save", fail_at_first)
    with pytest.raises(TokenNotSaved):
        session.get(USER_INFO)
    let_refreshes_end()

    assert [("refreshed", None)] == names(events)
    assert old.refresh_token != store.load(key).refresh_token


def test_needs_login__once(fake, session, events, key):
    """TikTok refuses the refresh token: one event, however often the account is called for afterwards."""
    fake.remove_connection(key.open_id)
    for _ in range(3):
        with pytest.raises(ReauthorizationRequired):
            session.get(USER_INFO)
    let_refreshes_end()

    assert [("needs_login", "invalid_grant")] == names(events)
    assert key == events[0].account


def test_needs_login__another_was_faster(fake, session, events, store, key, issue):
    """Refused since somebody else has refreshed meanwhile: theirs is used, and that is for them to tell."""
    newer = issue()
    fake.fail("refresh", "error", error="invalid_grant")
    fake.before("refresh", lambda record: store.save(key, newer))

    assert 200 == session.get(USER_INFO).status_code
    let_refreshes_end()
    assert [] == events
    assert newer == session.token


def test_needs_login__another_users_token(fake, session, events, key):
    """TikTok answers with another user's token: that is no fault of the store's."""
    other = fake.issue_token(user=fake.add_user())
    fake.fail("refresh", "body", body=json.dumps(other).encode())
    with pytest.raises(TokenNotSaved, match="another one"):
        session.get(USER_INFO)
    let_refreshes_end()

    assert [("needs_login", "another_open_id")] == names(events)


def test_refreshed__login_meanwhile(fake, session, events, store, key, issue):
    """A login that comes while TikTok answers is what counts: the refresh has brought nothing to tell."""
    newer = issue()
    fake.after("refresh", lambda record: store.save(key, newer))

    assert 200 == session.get(USER_INFO).status_code
    let_refreshes_end()
    assert [] == events
    assert newer == session.token


def test_revoked(fake, session, events, key, store):
    """The end of a connection: an expired token is refreshed first, and both are told."""
    session.revoke_token()
    let_refreshes_end()

    assert {("refreshed", None), ("revoked", None)} == set(names(events))
    assert [key, key] == [event.account for event in events]
    assert store.load(key) is None


def test_revoked__is_over(session, store, key):
    """Whoever is told finds the session without a token, and the account's lock free for others."""
    found = []

    def look(event):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            found.append((event.name, bool(session.token), pool.submit(is_free).result(PATIENCE_S)))

    def is_free():
        with store.try_lock(key) as held:
            return held

    session.get(USER_INFO)
    let_refreshes_end()
    session.on_event = look
    session.revoke_token()

    assert [("revoked", False, True)] == found


def test_revoked__refused(fake, session, events):
    """TikTok did not revoke: the connection lives on, and nobody is told otherwise."""
    fake.fail("revoke", "status", status=500)
    with pytest.raises(RevocationError):
        session.revoke_token()
    let_refreshes_end()

    assert [("refreshed", None)] == names(events)


def test_without_a_store(make_session, old, events, fake):
    """A connection that only a session holds is watched, too."""
    make_session(token=old, on_event=events.append).get(USER_INFO)
    let_refreshes_end()

    assert [("refreshed", None)] == names(events)
    assert AccountKey(fake.client_key, old.open_id) == events[0].account


def test_on_event__raises(session, caplog, old):
    """What a watcher raises is a log line without its words; the call is answered."""

    def fail(event):
        raise ValueError(old.refresh_token)

    session.on_event = fail
    with caplog.at_level(logging.DEBUG):
        assert 200 == session.get(USER_INFO).status_code
        let_refreshes_end()

    assert "on_event failed: ValueError" in caplog.messages
    assert old.refresh_token not in caplog.text


def test_on_event__hangs(session, make_session, store, key):
    """A watcher that hangs holds up no call."""
    release = threading.Event()
    session.on_event = lambda event: release.wait(PATIENCE_S)
    try:
        assert 200 == session.get(USER_INFO).status_code
        with store.try_lock(key, timeout=PATIENCE_S) as held:
            assert held
        assert 200 == make_session(store=store, open_id=key.open_id).get(USER_INFO).status_code
        assert not release.is_set()
    finally:
        release.set()
        let_refreshes_end()


def test_log__structured(session, caplog, key, old):
    """The log has the same in fields of its own, and no secret in any."""
    with caplog.at_level(logging.INFO, "tiktok_oauth_session"):
        session.get(USER_INFO)
        let_refreshes_end()
    (record,) = [record for record in caplog.records if hasattr(record, "tiktok_event")]

    assert logging.INFO == record.levelno
    assert ("refreshed", key.client_key, key.open_id, None) == (
        record.tiktok_event,
        record.tiktok_client_key,
        record.tiktok_open_id,
        record.tiktok_reason,
    )
    assert 0 <= record.tiktok_seconds < PATIENCE_S
    written = json.dumps(vars(record), default=repr)
    new = session.token
    for secret in (old.access_token, old.refresh_token, new.access_token, new.refresh_token):
        assert secret not in written
    assert session.client_secret not in written


def test_log__name_of_a_strangers(make_session, issue, clock, store, caplog, fake):
    """An open_id in the log is what a terminal does not obey."""
    old, key = issue(), AccountKey(fake.client_key, "\x1b[2Juser")
    store.save(key, old)
    clock.advance(7201)
    with caplog.at_level(logging.INFO, "tiktok_oauth_session"):
        make_session(store=store, open_id=key.open_id, token_updater=None).get(USER_INFO)
        let_refreshes_end()

    assert r"the connection of \x1b[2Juser was refreshed" in caplog.text
    assert "\x1b" not in caplog.text


def test_keep_alive(fake, store, key, events):
    """keep-alive tells of each account."""
    summary = keep_alive(
        store,
        client_key=fake.client_key,
        client_secret=fake.client_secret,
        access_within=600,
        adapter=fake.adapter(),
        on_event=events.append,
    )

    assert 1 == summary.refreshed
    assert [("refreshed", key, None)] == [event[:3] for event in events]


def test_opentelemetry():
    """Where OpenTelemetry is, it counts events and measures their seconds; accounts are no attributes."""
    measured = []
    with ChildProcess(__file__) as child:
        while "done" not in (heard := child.hear()):
            measured.append(heard)

    refused = {"tiktok_oauth.event": "refresh_failed", "error.type": "rate_limit_exceeded"}
    common = {"scope": "tiktok_oauth_session", "count": 1}
    assert [
        {"name": "tiktok_oauth.connection.duration", "unit": "s", "attributes": refused, **common},
        {
            "name": "tiktok_oauth.connection.duration",
            "unit": "s",
            "attributes": {"tiktok_oauth.event": "refreshed"},
            **common,
        },
        {"name": "tiktok_oauth.connection.events", "unit": "{event}", "attributes": refused, **common},
        {
            "name": "tiktok_oauth.connection.events",
            "unit": "{event}",
            "attributes": {"tiktok_oauth.event": "refreshed"},
            **common,
        },
    ] == sorted(measured, key=lambda each: (each["name"], each["attributes"]["tiktok_oauth.event"]))


if __name__ == "__main__":
    run()
