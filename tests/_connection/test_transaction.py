"""The refresh transaction, step by step: what is done in which order, and what each step is for."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import math
import threading
import time

import pytest
from child_processes import let_refreshes_end
from requests.adapters import HTTPAdapter

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    MemoryStore,
    ReauthorizationRequired,
    StoreError,
    TikTokToken,
    TokenError,
    TokenNotSaved,
)
from tiktok_oauth_session._connection import single_flight
from tiktok_oauth_session._connection.process_memory import memory, pending
from tiktok_oauth_session.stores import StoreConflict, check_replacing
from tiktok_oauth_session.tokens import REFRESH_STARTED_AT

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
PATIENCE_S = 20


class Witness(MemoryStore):
    """A store that writes down what is asked of it."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def load(self, key):
        self.steps.append("load")
        return super().load(key)

    def save(self, key, token, *, replacing=None):
        kind = "mark" if REFRESH_STARTED_AT in token else "save"
        self.steps.append(f"{kind} {token.refresh_token} replacing {replacing}")
        super().save(key, token, replacing=replacing)

    @contextlib.contextmanager
    def try_lock(self, key, *, timeout=0.0):
        self.steps.append("lock")
        with super().try_lock(key, timeout=timeout) as held:
            yield held
        self.steps.append("unlock")


class Unlocked(MemoryStore):
    """A store whose saves need no lock, as those of databases."""

    def save(self, key, token, *, replacing=None):
        check_replacing(key, self.load(key), replacing)
        self._tokens[key] = TikTokToken(token)


@pytest.fixture
def steps(fake):
    """What happened, in order."""
    taken = []
    fake.before("refresh", lambda record: taken.append(f"send {record.form['refresh_token']}"))
    fake.after("refresh", lambda record: taken.append("commit"))
    fake.before("user_info", lambda record: taken.append("call"))
    return taken


@pytest.fixture
def old(issue, clock):
    """A token."""
    return issue()


@pytest.fixture
def key(fake, old):
    """Whose it is."""
    return AccountKey(fake.client_key, old.open_id)


def make_due(session, clock, left):
    """Let the session see its token, and time pass until it has so many seconds left."""
    assert session.token
    clock.advance(session.token["expires_in"] - left)


@pytest.mark.parametrize("left", [30, 0], ids=["mandatory", "expired"])
def test_refresh__order_of_steps(make_session, old, key, clock, steps, left):
    """Lock, re-read, mark, request, save in the spent one's place, unlock, tell the updater; then use it."""
    store = Witness(steps)
    MemoryStore.save(store, key, old)
    session = make_session(
        store=store,
        open_id=key.open_id,
        token_updater=lambda token: steps.append(f"tell {token['refresh_token']}"),
    )
    make_due(session, clock, left)
    steps.clear()
    session.get(USER_INFO)
    spent, new = old.refresh_token, session.token.refresh_token

    assert [
        "lock",
        "load",
        f"mark {spent} replacing {spent}",
        f"send {spent}",
        "commit",
        f"save {new} replacing {spent}",
        "unlock",
        f"tell {new}",
        "call",
    ] == steps


@pytest.mark.parametrize("left", [300, 30, 0], ids=["advisory", "mandatory", "expired"])
def test_refresh__somebody_else_has_done_it(fake, make_session, issue, old, key, clock, left):
    """Whoever finds a newer token in the store uses it, and sends nothing but the call."""
    store = MemoryStore()
    session = make_session(token=old, store=store)
    make_due(session, clock, left)
    newer = issue()
    store.save(key, newer)

    assert 200 == session.get(USER_INFO).status_code
    assert newer == session.token
    assert ["user_info"] == [record.endpoint for record in fake.requests]


def test_refresh__somebody_else_at_the_mark(fake, make_session, issue, old, key, clock):
    """A lease that lapsed before the mark: the newer token is used, the older one not spent."""
    newer = []

    class Overtaken(MemoryStore):
        def save(self, key, token, *, replacing=None):
            if replacing:
                super().save(key, newer[0])
            super().save(key, token, replacing=replacing)

    store = Overtaken()
    session = make_session(token=old, store=store)
    make_due(session, clock, 0)
    newer.append(issue())

    assert 200 == session.get(USER_INFO).status_code
    assert newer[0] == session.token == store.load(key)
    assert [] == fake.requests_to("refresh")


def test_refresh__logged_out_at_the_mark(fake, make_session, old, key, clock):
    """An account that is deleted between the look and the mark is not refreshed, nor brought back."""

    class Deleting(MemoryStore):
        def save(self, key, token, *, replacing=None):
            if replacing:
                self.delete(key)
            super().save(key, token, replacing=replacing)

    store = Deleting()
    session = make_session(token=old, store=store)
    make_due(session, clock, 0)

    with pytest.raises(ReauthorizationRequired):
        session.get(USER_INFO)

    assert [] == fake.requests
    assert store.load(key) is None


def test_refresh__reply_without_a_token(fake, make_session, old, key, clock):
    """A reply of HTTP 200 that holds no token leaves open what came of the refresh: it stays marked."""
    store = MemoryStore()
    session = make_session(token=old, store=store)
    make_due(session, clock, 0)
    fake.fail("refresh", "body", body=b'{"scope": "user.info.basic"}', status=200)

    with pytest.raises(TokenError) as caught:
        session.get(USER_INFO)

    assert "missing_token" == caught.value.error
    assert clock.now == store.load(key)[REFRESH_STARTED_AT]
    assert TikTokToken(old, issuer=LOGIN_KIT.issuer) == session.token


def test_refresh__nothing_is_remembered_as_unsaved(make_session, old, key, clock, monkeypatch):
    """A token that is safe is held nowhere else: neither after a save nor after one that was made good."""
    store = MemoryStore()
    session = make_session(token=old, store=store)
    make_due(session, clock, 0)
    before = len(pending)
    session.get(USER_INFO)
    saved_at_once = len(pending) - before
    save = store.save

    def failing(key, token, *, replacing=None):
        if token.refresh_token != replacing:
            raise StoreError("The store is down.")
        save(key, token, replacing=replacing)

    make_due(session, clock, 0)
    with monkeypatch.context() as patch:
        patch.setattr(store, "save", failing)
        with pytest.raises(TokenNotSaved):
            session.get(USER_INFO)
    not_saved = len(pending) - before
    session.get(USER_INFO)

    assert (0, 1, 0) == (saved_at_once, not_saved, len(pending) - before)


def test_refresh__storeless_connections_are_found_by_every_token(fake, make_session, old, clock):
    """Without a store, sessions that still hold the first token get the third: it is known by all of them."""
    first, late = (make_session(token=old, as_if_network=True) for _ in range(2))
    for _ in range(2):
        make_due(first, clock, 0)
        first.get(USER_INFO)
    middle = make_session(token=old, as_if_network=True)

    assert [200, 200] == [session.get(USER_INFO).status_code for session in (late, middle)]
    assert first.token == late.token == middle.token
    assert len(fake.requests_to("refresh")) == 2


def test_login__during_a_refresh(fake, make_session, old, key, clock, log_in):
    """The token of a login that comes in the middle of a refresh is the one that stays, and is used."""
    store = Unlocked()
    session, visitor = (make_session(token=old, store=store) for _ in range(2))
    make_due(session, clock, 0)
    fake.after("refresh", lambda record: log_in(visitor))

    assert 200 == session.get(USER_INFO).status_code
    assert visitor.token == store.load(key) == session.token
    assert len(fake.requests_to("refresh")) == 1


def test_login__does_not_wait_for_a_lock(make_session, old, key, log_in):
    """Where a lock is a lease, that of a machine which died holds up refreshes, and no user who logs in."""
    store = Unlocked()
    visitor = make_session(store=store)
    with store.lock(key), concurrent.futures.ThreadPoolExecutor(1) as another:
        token = another.submit(log_in, visitor).result(PATIENCE_S)

    assert token == store.load(key)


class Down(MemoryStore):
    """A store that takes no new token, or does not load, until it is mended."""

    broken = ""

    def load(self, key):
        if self.broken == "load":
            raise StoreError("The store is down.")
        return super().load(key)

    def save(self, key, token, *, replacing=None):
        if self.broken == "save" and token.refresh_token != replacing:
            raise StoreError("The store is down.")
        super().save(key, token, replacing=replacing)


def test_unsaved__saved_by_the_next_call(fake, make_session, old, key):
    """A new token that was not saved is saved by the next call, although the old one works for hours."""
    store = Down()
    session = make_session(token=old, store=store)
    other = make_session(store=store, open_id=key.open_id)
    assert other.token
    store.broken = "save"
    with pytest.raises(TokenNotSaved) as caught:
        session.refresh_token()
    with pytest.raises(TokenNotSaved):
        other.get(USER_INFO)
    store.broken = ""

    assert 200 == other.get(USER_INFO).status_code
    assert caught.value.token == store.load(key) == other.token
    assert len(fake.requests_to("refresh")) == 1


class DownForAWhile(Down):
    """One that notes when it failed, and is mended when it has failed so often."""

    def __init__(self, failures=math.inf):
        super().__init__()
        self.failures, self.failed_at = failures, []

    def save(self, key, token, *, replacing=None):
        try:
            super().save(key, token, replacing=replacing)
        except StoreError:
            self.failed_at.append(time.monotonic())
            if len(self.failed_at) >= self.failures:
                self.broken = ""
            raise


def test_unsaved__told_when_it_has_lasted(fake, make_session, old, monkeypatch):
    """Callers are told of a token that cannot be saved after `SAVE_PATIENCE_S`, and not at the first try."""
    monkeypatch.setattr(single_flight, "SAVE_PATIENCE_S", 0.5)
    store = DownForAWhile()
    session = make_session(token=old, store=store)
    store.broken = "save"
    with pytest.raises(TokenNotSaved) as caught:
        session.refresh_token()
    waited = time.monotonic() - store.failed_at[0]

    assert 0.5 <= waited < 4.0
    assert len(store.failed_at) > 2
    assert fake.is_alive(caught.value.token.refresh_token)
    assert len(fake.requests_to("refresh")) == 1


def test_unsaved__not_told_when_it_is_over_sooner(fake, make_session, old, key, monkeypatch):
    """Of a store that is down for less long they hear nothing."""
    monkeypatch.setattr(single_flight, "SAVE_PATIENCE_S", PATIENCE_S)
    store = DownForAWhile(failures=2)
    session = make_session(token=old, store=store)
    store.broken = "save"
    token = session.refresh_token()

    assert 2 == len(store.failed_at)
    assert token == store.load(key)
    assert fake.is_alive(token.refresh_token)
    assert len(fake.requests_to("refresh")) == 1


def test_unsaved__forgotten_after_a_logout(make_session, old, key):
    """Nothing of a token that was not saved is held once its account is gone."""
    before, store = len(pending), Down()
    session = make_session(token=old, store=store)
    store.broken = "save"
    with pytest.raises(TokenNotSaved):
        session.refresh_token()
    store.delete(key)
    with pytest.raises(ReauthorizationRequired):
        session.refresh_token()

    assert before == len(pending)
    assert store.load(key) is None


def test_updater__interrupted_beside_a_store(make_session, old, key, clock):
    """An updater in whose middle Ctrl-C falls is told again."""
    told, interruptions = [], [KeyboardInterrupt()]

    def updater(token):
        if interruptions:
            raise interruptions.pop()
        told.append(token)

    store = MemoryStore()
    session = make_session(token=old, store=store, token_updater=updater)
    make_due(session, clock, 0)
    with pytest.raises(KeyboardInterrupt):
        session.get(USER_INFO)

    assert 200 == session.get(USER_INFO).status_code
    assert [store.load(key)] == told


@pytest.mark.parametrize("with_store", [True, False])
def test_updater__that_uses_the_session(fake, make_session, old, clock, with_store):
    """An updater may call the API with the session whose token has just changed."""
    answers = []

    def updater(token):
        answers.append(session.get(USER_INFO).status_code)

    store = MemoryStore() if with_store else None
    session = make_session(token=old, store=store, token_updater=updater)
    make_due(session, clock, 0)

    assert 200 == session.get(USER_INFO).status_code
    assert [200] == answers
    assert len(fake.requests_to("refresh")) == 1


def test_updater__of_a_caller_that_went_on(fake, make_session, old, key, clock):
    """An advisory refresh that gets its lock late keeps nobody, and its updater is told all the same."""
    free, told, by = threading.Event(), [], []

    class Starved(MemoryStore):
        def try_lock(self, key, *, timeout=0.0):
            assert free.wait(PATIENCE_S)
            return super().try_lock(key, timeout=timeout)

    def updater(token):
        by.append(threading.current_thread())
        told.append(token)

    store = Starved()
    MemoryStore.save(store, key, old)
    session = make_session(store=store, open_id=key.open_id, token_updater=updater)
    make_due(session, clock, 300)
    answer = session.get(USER_INFO)
    flight = memory().in_store(store, key).flight

    assert 200 == answer.status_code
    assert old == session.token
    assert [] == fake.requests_to("refresh")

    free.set()

    assert flight.wait(time.monotonic() + PATIENCE_S, lambda: bool(told))
    assert [store.load(key)] == told != [old]
    assert threading.main_thread() not in by


def test_unsaved__and_the_lock_fails_as_well(fake, make_session, old, key):
    """A store that goes away with the lock held loses no token: it is saved when the store is back."""
    failing = threading.Event()

    class Leaving(Down):
        @contextlib.contextmanager
        def try_lock(self, key, *, timeout=0.0):
            with super().try_lock(key, timeout=timeout) as held:
                yield held
            if failing.is_set():
                raise StoreError("The store is down.")

    store = Leaving()
    session = make_session(token=old, store=store)
    store.broken = "save"
    failing.set()
    with pytest.raises(TokenNotSaved) as caught:
        session.refresh_token()
    store.broken = ""
    failing.clear()

    assert 200 == session.get(USER_INFO).status_code
    assert caught.value.token == store.load(key)
    assert len(fake.requests_to("refresh")) == 1


def test_unsaved__although_it_was_written(make_session, old, key):
    """A save that was carried out and reported as failed is no reason to keep the updater waiting."""
    told = []

    class Misreporting(MemoryStore):
        failures = 1

        def save(self, key, token, *, replacing=None):
            super().save(key, token, replacing=replacing)
            if token.refresh_token != replacing and replacing and self.failures:
                self.failures -= 1
                raise StoreError("The answer was lost.")

    store = Misreporting()
    session = make_session(token=old, store=store, token_updater=told.append)
    with contextlib.suppress(TokenNotSaved):
        session.refresh_token()
    session.refresh_token(refresh_token=store.load(key).refresh_token)

    assert store.load(key).refresh_token == told[-1].refresh_token
    assert 0 == len(pending)


def test_unsaved__is_tried_again_at_a_distance(make_session, old, monkeypatch):
    """However many callers need it, a store that is down is not asked more than 20 times a second."""
    tries = []

    class Failing(Down):
        def save(self, key, token, *, replacing=None):
            tries.append(time.monotonic())
            super().save(key, token, replacing=replacing)

    store = Failing()
    session = make_session(token=old, store=store)
    store.broken = "save"
    until = time.monotonic() + 1.0
    calls = 0
    while time.monotonic() < until:
        calls += 1
        with contextlib.suppress(TokenNotSaved):
            session.refresh_token()

    assert calls > 5
    # The first two are the login's and the mark.
    assert min(later - earlier for earlier, later in itertools.pairwise(tries[2:])) > 0.04


def test_hook__refreshes_in_the_middle(fake, make_session, old):
    """A hook that needs a token itself, while one is being refreshed, gets one, and nothing is lost."""
    inside = []

    def hook(url, headers, body):
        if not inside:
            inside.append(None)
            inside.append(session.refresh_token())
        return url, headers, body

    session = make_session(token=old)
    session.register_compliance_hook("refresh_token_request", hook)
    token = session.refresh_token()

    assert inside[1] == token
    assert fake.is_alive(token.refresh_token)
    assert 0 == fake.reuse_attempts


def test_updater__two_tokens_in_a_row(fake, make_session, old):
    """A slow updater that fails over one token does not get that one again once there is a newer one."""
    told, busy, free = [], threading.Event(), threading.Event()

    def slow(token):
        told.append(token)
        if len(told) == 1:
            busy.set()
            free.wait(PATIENCE_S)
            raise OSError("down")

    store = MemoryStore()
    session = make_session(token=old, store=store, token_updater=slow)
    other = make_session(store=store, open_id=old.open_id, token_updater=slow)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(session.refresh_token)
        assert busy.wait(PATIENCE_S)
        second = pool.submit(other.refresh_token)
        while len(fake.requests_to("refresh")) < 2:
            threading.Event().wait(0.01)
        free.set()
        concurrent.futures.wait([first, second])
    session.get(USER_INFO)

    assert store.load(AccountKey(fake.client_key, old.open_id)).refresh_token == told[-1].refresh_token
    assert 0 == len(pending)


def test_given_refresh_token__is_the_sessions(make_session, issue, old, key):
    """A refresh with another refresh token than the session's leaves the session with what it brought."""
    store = MemoryStore()
    session = make_session(token=old, store=store)
    store.delete(key)
    given = issue()
    token = session.refresh_token(refresh_token=given.refresh_token)

    assert token == session.token == store.load(key)


def test_adapter__that_raises_its_own(fake, make_session, old, clock):
    """An adapter that fails in a way of its own leaves the outcome open, and is not asked at every call."""

    class Failing(HTTPAdapter):
        sent = 0

        def send(self, request, **options):
            Failing.sent += 1
            raise LookupError("a mistake")

    session = make_session(token=old, store=MemoryStore())
    session.mount("https://", Failing())
    make_due(session, clock, 0)
    for _ in range(20):
        with pytest.raises(TokenError):
            session.get(USER_INFO)

    assert 2 == Failing.sent, "it and its replay"


def test_updater__failed_with_a_store(make_session, old):
    """An updater that failed is told again at the next call, and once: the store has the token."""
    told = []

    def fail(token):
        told.append(token.refresh_token)
        raise OSError("down")

    session = make_session(store=MemoryStore(), token=old, token_updater=fail)
    with pytest.raises(TokenNotSaved):
        session.refresh_token()
    let_refreshes_end()
    told_at_first = list(told)
    for _ in range(3):
        assert 200 == session.get(USER_INFO).status_code

    assert 1 == len(told_at_first)
    assert told_at_first * 2 == told


def test_pending__ends_with_a_login(make_session, old, key, log_in):
    """What an updater did not take of the token before is no longer owed once somebody has logged in."""
    session = make_session(store=MemoryStore(), token=old, token_updater=refuse)
    with pytest.raises(TokenNotSaved):
        session.refresh_token()
    owed = len(pending)
    session.token_updater = None
    log_in(session)

    assert (1, 0) == (owed, len(pending))


def refuse(token):
    """Be an updater that is down."""
    raise OSError("down")


def test_refresh__fails_before_anything_is_sent(fake, make_session, old, key):
    """A hook of the user's that fails while the request is made leaves no doubt about the refresh token."""
    store = MemoryStore()
    session = make_session(token=old, store=store)
    before = store.load(key)

    def broken(url, headers, body):
        raise LookupError("a mistake")

    session.register_compliance_hook("refresh_token_request", broken)
    with pytest.raises(LookupError):
        session.refresh_token()

    assert [] == fake.requests
    assert before == store.load(key)
    assert 200 == make_session(store=store, open_id=key.open_id).get(USER_INFO).status_code


def test_refusal__is_remembered_though_the_store_fails(fake, make_session, old, key, clock):
    """A refused refresh token is not sent again, even if the store fails right after the refusal."""
    store = Down()
    session = make_session(token=old, store=store)
    make_due(session, clock, 0)
    fake.remove_connection(key.open_id)
    fake.after("refresh", lambda record: setattr(store, "broken", "load"))
    with pytest.raises(StoreError):
        session.get(USER_INFO)
    store.broken = ""
    for _ in range(3):
        with pytest.raises(ReauthorizationRequired):
            session.get(USER_INFO)

    assert len(fake.requests_to("refresh")) == 1


def test_failure__of_a_stores_own_kind(make_session, old, clock):
    """A store may raise errors of its own class, whatever its constructor takes."""

    class Unreachable(StoreError):
        def __init__(self, host, port):
            super().__init__(f"{host}:{port} cannot be reached.")

    class Remote(MemoryStore):
        def save(self, key, token, *, replacing=None):
            if replacing:
                raise Unreachable("db.example", 5432)
            super().save(key, token)

    session = make_session(token=old, store=Remote())
    make_due(session, clock, 0)
    with pytest.raises(StoreError, match=r"db\.example"):
        session.get(USER_INFO)


def test_conflict__is_an_error_of_the_store(old, key):
    """A compare-and-swap that finds something else says so by an error that everybody catches."""
    store = MemoryStore()
    store.save(key, old)

    with pytest.raises(StoreConflict) as caught:
        store.save(key, old, replacing="rft.another")
    assert isinstance(caught.value, StoreError)


def test_save__fails_in_another_way(make_session, old, key, clock):
    """Whoever calls while a save is tried again is told why it failed last, the cause included."""
    store, tries = MemoryStore(), threading.Semaphore(0)
    store.save(key, old)
    session = make_session(store=store, open_id=key.open_id, token_updater=None)
    make_due(session, clock, 0)
    save, load, cause = store.save, store.load, StoreError("The disk is gone.")

    def fail_to_save(key, token, *, replacing=None):
        if token.refresh_token != old.refresh_token:
            store.load = fail_to_load
            raise StoreError("The disk is full.")
        save(key, token, replacing=replacing)

    def fail_to_load(key):
        if threading.current_thread() is threading.main_thread():
            return load(key)
        tries.release()
        raise cause

    store.save = fail_to_save
    with pytest.raises(TokenNotSaved, match="is full"):
        session.get(USER_INFO)
    # Before the second of them, what came of the first has been told.
    assert tries.acquire(timeout=PATIENCE_S)
    assert tries.acquire(timeout=PATIENCE_S)
    with pytest.raises(TokenNotSaved, match="is gone") as caught:
        session.get(USER_INFO)
    store.save, store.load = save, load

    assert caught.value.__cause__ is cause
    assert 200 == session.get(USER_INFO).status_code
    let_refreshes_end()
    assert load(key) == session.token
