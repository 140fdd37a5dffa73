"""An account's lock in Redis: a lease, and who holds it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import redis_users
from child_processes import ChildProcess
from redis_server import PATIENCE_S

from tiktok_oauth_session import AccountKey, StoreError, TikTokToken
from tiktok_oauth_session.stores import StoreConflict, redis as redis_stores
from tiktok_oauth_session.stores.redis import RedisStore, leases
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, token

pytestmark = pytest.mark.slow

PREFIX = "tiktok-oauth:"
LOCK = f"{PREFIX}lock:{KEY.client_key}:{KEY.open_id}"
#: Seconds of a lease that is meant to end, or to be renewed, during a test.
SHORT_LEASE_S = 1.0
#: Seconds by which two clocks may differ over one lease.
CLOCKS_S = 0.05


@pytest.fixture
def store(redis_client):
    """Return an empty store."""
    return RedisStore(redis_client)


@pytest.fixture
def other(redis_server, redis_client):
    """Return the same store on another client: what another process has."""
    with redis_server.client() as client:
        yield RedisStore(client)


class RecordingConnection(redis.Connection):
    """Notes every command, and the thread that sends it; the next reply may be late."""

    sent = ()
    late_s = 0.0

    def send_command(self, *args, **kwargs):
        RecordingConnection.sent.append((threading.current_thread().name, *args))
        super().send_command(*args, **kwargs)

    def read_response(self, *args, **kwargs):
        reply = super().read_response(*args, **kwargs)
        late_s, RecordingConnection.late_s = RecordingConnection.late_s, 0.0
        # That time passes is what is tested.
        threading.Event().wait(late_s)
        return reply


@pytest.fixture
def sent(monkeypatch):
    """Return what the recorded store sends, as it does."""
    monkeypatch.setattr(RecordingConnection, "sent", [])
    return RecordingConnection.sent


@pytest.fixture
def recorded_store(redis_server, redis_client, sent):
    """Return a store whose client is connected, and whose scripts are in the server."""
    pool = redis.ConnectionPool(RecordingConnection, port=redis_server.port, socket_timeout=PATIENCE_S)
    with redis.Redis(connection_pool=pool) as client:
        store = RedisStore(client)
        with store.lock(NEIGHBOUR):
            store.save(NEIGHBOUR, token(1))
            store.delete(NEIGHBOUR)
        sent.clear()
        yield store
    pool.disconnect()


@pytest.fixture
def short_lease(monkeypatch):
    """Let leases end soon."""
    monkeypatch.setattr(leases, "LEASE_S", SHORT_LEASE_S)
    monkeypatch.setattr(leases, "RENEW_S", SHORT_LEASE_S / 4)
    monkeypatch.setattr(leases, "RENEW_AGAIN_S", SHORT_LEASE_S / 8)


def test_lock__round_trips_of_a_refresh(recorded_store, sent):
    """A refresh asks Redis four times: what it reads first comes with the lock."""
    recorded_store.save(KEY, token(1))
    sent.clear()
    with recorded_store.lock(KEY):
        loaded = recorded_store.load(KEY)
        recorded_store.save(KEY, TikTokToken(loaded, note=1), replacing=loaded.refresh_token)
        recorded_store.save(KEY, token(2), replacing=loaded.refresh_token)

    assert token(1) == loaded
    assert ["EVALSHA"] * 4 == [command for _, command, *_ in sent]
    assert token(2) == recorded_store.load(KEY)


@pytest.mark.parametrize("change", ["save", "save of another handle", "delete"])
def test_load__after_a_change_under_the_lock(store, redis_client, change):
    """What came with the lock is not read any more once something was changed under it."""
    store.save(KEY, token(1))
    with store.lock(KEY):
        if change == "delete":
            store.delete(KEY)
        else:
            (store if change == "save" else RedisStore(redis_client)).save(KEY, token(2))
        loaded = store.load(KEY)

    assert (None if change == "delete" else token(2)) == loaded


def test_load__later_under_the_lock(store, other, monkeypatch):
    """What came with the lock is read once, and only just then: a login waits for no lock."""
    store.save(KEY, token(1))
    with store.lock(KEY):
        first = store.load(KEY)
        other.save(KEY, token(2))
        second = store.load(KEY)
    monkeypatch.setattr(leases, "JUST_NOW_S", 0.0)
    with store.lock(KEY):
        other.save(KEY, token(3))
        third = store.load(KEY)

    assert [token(1), token(2), token(3)] == [first, second, third]


@pytest.mark.parametrize("lease_s", [1.0, pytest.param(leases.LEASE_S, marks=pytest.mark.long)])
def test_lock__holder_killed(redis_server, redis_client, store, lease_s):
    """A lock whose holder was killed is free when its lease ends, and not before: within 20 s."""
    with ChildProcess(redis_users.__file__, "hold", redis_server.port, lease_s) as holder:
        holder.hear()
        holder.kill()
        killed_at = time.monotonic()
    left = redis_client.pttl(LOCK) / 1000
    with store.try_lock(KEY) as at_once:
        pass
    with store.lock(KEY):
        waited = time.monotonic() - killed_at

    assert not at_once
    assert 0 < left - CLOCKS_S < waited < lease_s + 2


def test_lease__renewed(short_lease, recorded_store, sent, other):
    """Leases are renewed while their holders live, all in one command of one thread."""
    with recorded_store.lock(KEY), recorded_store.lock(NEIGHBOUR):
        with other.try_lock(KEY, timeout=3 * SHORT_LEASE_S) as held_by_two:
            pass
        keepers = {command[0]: command[3] for command in sent if command[0] != "MainThread"}
    with other.try_lock(KEY) as freed:
        pass

    assert (False, True) == (held_by_two, freed)
    assert {"tiktok-oauth leases": 2} == keepers


def test_lease__lost_is_told_once(short_lease, recorded_store, sent, redis_client, caplog):
    """A lease that was lost is told of once, and renewed no more; its neighbours' are."""
    with recorded_store.lock(KEY), recorded_store.lock(NEIGHBOUR):
        redis_client.delete(LOCK)
        sent.clear()
        deadline = time.monotonic() + PATIENCE_S
        while (renewals := [each for each in list(sent) if each[0] != "MainThread"])[3:] == []:
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
        kept = redis_client.keys(f"{PREFIX}lock:*")

    assert 1 == caplog.text.count("was lost")
    assert [1, 1] == [each[3] for each in renewals[2:4]]
    assert [LOCK.replace(KEY.open_id, NEIGHBOUR.open_id).encode()] == kept


def test_release__interrupted(store, monkeypatch):
    """A lease whose release was interrupted is taken up by its own process at once."""
    release = leases.Lease.release

    def interrupt(lease):
        monkeypatch.setattr(leases.Lease, "release", release)
        raise KeyboardInterrupt

    monkeypatch.setattr(leases.Lease, "release", interrupt)
    with pytest.raises(KeyboardInterrupt), store.lock(KEY):
        pass
    with store.try_lock(KEY) as held:
        pass

    assert held


def test_lease__renewed_by_nobody(redis_client, store, monkeypatch):
    """Where no thread can be started, a lease lasts for as long as a refresh can take."""

    def fail(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    store.save(KEY, token())
    with store.lock(KEY):
        taken = redis_client.pttl(LOCK)
        redis_client.pexpire(LOCK, 1000)
        redis_users.mark(store)
        marked = redis_client.pttl(LOCK)

    assert leases.UNKEPT_LEASE_S - 5 < taken / 1000 <= leases.UNKEPT_LEASE_S
    assert leases.UNKEPT_LEASE_S - 5 < marked / 1000 <= leases.UNKEPT_LEASE_S


def test_lease__server_restarted(redis_servers, monkeypatch, caplog):
    """A lease outlives a restart of Redis, is renewed after it, and what was refreshed meanwhile is saved."""
    monkeypatch.setattr(leases, "LEASE_S", 5.0)
    monkeypatch.setattr(leases, "RENEW_S", 0.2)
    monkeypatch.setattr(leases, "RENEW_AGAIN_S", 0.1)
    server = redis_servers()
    with server.client() as client, server.client() as others:
        store, other = RedisStore(client), RedisStore(others)
        store.save(KEY, token(1))
        with store.lock(KEY):
            marked = redis_users.mark(store)
            server.stop(signal.SIGKILL)
            with pytest.raises(StoreError, match="Check that the server runs"):
                store.save(KEY, token(2), replacing=token(1).refresh_token)
            server.start()
            store.save(KEY, token(2), replacing=token(1).refresh_token)
            with other.try_lock(KEY, timeout=6.0) as held_by_two:
                pass
            renewed = client.pttl(LOCK)

        assert marked
        assert not held_by_two
        assert renewed > 4000
        assert token(2) == other.load(KEY)
    assert "could not be released" not in caplog.text


@pytest.mark.parametrize("to", ["nobody", "somebody else"])
def test_save__lease_lost(redis_client, store, other, caplog, to):
    """Without the lease no refresh begins, what one has brought is saved, and nobody else's lock is freed."""
    store.save(KEY, token(1))
    with contextlib.ExitStack() as theirs:
        with store.lock(KEY):
            redis_client.delete(LOCK)
            if to == "somebody else":
                theirs.enter_context(other.lock(KEY))
            with pytest.raises(StoreConflict, match=f"lock of account {KEY.open_id} is not held"):
                store.save(KEY, TikTokToken(token(1), note=1), replacing=token(1).refresh_token)
            unmarked = store.load(KEY)
            store.save(KEY, token(2), replacing=token(1).refresh_token)

        assert (1 if to == "somebody else" else 0) == redis_client.exists(LOCK)
    assert token(1) == unmarked
    assert token(2) == store.load(KEY)
    assert "ended before it was released" in caplog.text


def test_save__lease_of_nobody_here(store, other):
    """A note about a token needs the lock of whoever writes it; another thread's is none."""
    store.save(KEY, token())
    without = redis_users.mark(store)
    with store.lock(KEY), ThreadPoolExecutor(1) as pool:
        another_thread = pool.submit(redis_users.mark, store).result(PATIENCE_S)
        another_client = redis_users.mark(other)
        holder = redis_users.mark(store)

    assert (False, False, False, True) == (without, another_thread, another_client, holder)


def test_save__renews_the_lease(redis_client, store):
    """A note about a token is written with all of a lease ahead; a new token needs none."""
    store.save(KEY, token(1))
    with store.lock(KEY):
        redis_client.pexpire(LOCK, 1000)
        redis_users.mark(store)
        marked = redis_client.pttl(LOCK)
        redis_client.pexpire(LOCK, 1000)
        store.save(KEY, token(2), replacing=token(1).refresh_token)
        saved = redis_client.pttl(LOCK)

    assert leases.LEASE_S - 5 < marked / 1000 <= leases.LEASE_S
    assert saved <= 1000


def test_lease__reply_came_too_late(recorded_store, sent, monkeypatch):
    """A lease counts from before its command was sent: what was over at the reply is taken again, or lost."""
    monkeypatch.setattr(leases, "LEASE_S", SHORT_LEASE_S)
    # Not while this takes place.
    monkeypatch.setattr(leases, "RENEW_S", PATIENCE_S)
    recorded_store.save(KEY, token())
    sent.clear()
    RecordingConnection.late_s = 1.5 * SHORT_LEASE_S
    with recorded_store.lock(KEY):
        takings = len(sent)
        marked = redis_users.mark(recorded_store)
        RecordingConnection.late_s = 1.5 * SHORT_LEASE_S
        marked_late = redis_users.mark(recorded_store)

    assert 2 == takings
    assert (True, False) == (marked, marked_late)


def test_lock__server_away_at_the_release(redis_servers, caplog):
    """A holder that could not release has the lock again at once; to all others it is taken."""
    server = redis_servers()
    with server.client() as client, server.client() as others:
        holder, other = RedisStore(client), RedisStore(others)
        with holder.lock(KEY):
            server.stop(signal.SIGKILL)
        with pytest.raises(StoreError), holder.lock(KEY):
            pass
        server.start()
        with other.try_lock(KEY) as early:
            pass
        with holder.try_lock(KEY) as again:
            left = client.pttl(LOCK)
        with other.try_lock(KEY) as freed:
            pass

    assert (False, True, True) == (early, again, freed)
    assert (leases.LEASE_S - 5) * 1000 < left, "it is a new lease"
    assert "could not be released" in caplog.text


def test_lock__not_released_and_over(redis_servers, monkeypatch):
    """Of locks that could not be released nothing is kept once their leases are over."""
    monkeypatch.setattr(leases, "LEASE_S", SHORT_LEASE_S)
    server = redis_servers()
    with server.client() as client, contextlib.ExitStack() as held:
        store = RedisStore(client)
        for number in range(5):
            held.enter_context(store.lock(AccountKey("aw", f"user-{number}")))
        server.stop(signal.SIGKILL)
        held.close()
        left = leases.leases_of(client, PREFIX)._left
        over = max(lease.ends_at for lease in left.values())
        while time.monotonic() < over:
            threading.Event().wait(0.01)
        with pytest.raises(StoreError), store.lock(KEY):
            pass

    assert [LOCK] == list(left)


def test_lock__connection_lost(store, other, redis_client):
    """A lock belongs to no connection."""
    store.save(KEY, token(1))
    with store.lock(KEY):
        other._client.client_kill_filter(_type="normal", skipme=True)
        marked = redis_users.mark(store)
        other._client.client_kill_filter(_type="normal", skipme=True)
        store.save(KEY, token(2), replacing=token(1).refresh_token)
        with other.try_lock(KEY) as held_by_two:
            pass
    with other.try_lock(KEY) as freed:
        pass

    assert (True, False, True) == (marked, held_by_two, freed)
    assert token(2) == store.load(KEY)


@pytest.mark.parametrize("how", ["by Python", "in C"])
def test_lock__not_inherited_by_a_fork(redis_server, redis_client, other, how):
    """A forked child, also one that Python knows nothing of, shares neither lock nor connection."""
    with ChildProcess(redis_users.__file__, "hold_and_fork", redis_server.port, how) as parent:
        child, parents = sorted((parent.hear() for _ in range(2)), key=lambda heard: heard["who"])
        with other.try_lock(KEY) as held_by_two:
            pass
        parent.say(over=True)

    connections = child.pop("connection"), parents.pop("connection")
    assert {"who": "child", "held": False, "marked": False, "own_renewed": True} == child
    assert {"who": "parent", "marked": True} == parents
    assert not held_by_two
    assert connections[0] != connections[1]
    assert 0 == redis_client.exists(LOCK)


def test_lock__times_out(store, other, monkeypatch):
    """Who waits in vain for another machine gets an error that says what to look for."""
    monkeypatch.setattr(redis_stores, "LOCK_TIMEOUT_S", SHORT_LEASE_S)
    with (
        store.lock(KEY),
        pytest.raises(StoreError, match=f"{KEY.open_id} was not free"),
        other.lock(KEY),
    ):
        pass


def test_lock__outlives_what_is_nested_in_it(redis_client, store, other):
    """The end of a lock within a lock of the same account, of another handle as well, frees nothing."""
    with store.lock(KEY):
        with store.lock(KEY), RedisStore(redis_client).try_lock(KEY) as nested:
            store.delete(KEY)
        with other.try_lock(KEY) as held_by_two:
            pass

    assert (True, False) == (nested, held_by_two)


def test_lock__other_threads_do_not_ask(recorded_store, sent):
    """The process's other threads, with handles of their own as well, wait without asking Redis."""

    def theirs():
        with RedisStore(recorded_store._client).try_lock(KEY, timeout=0.1) as held:
            return held

    with recorded_store.lock(KEY), ThreadPoolExecutor(4) as pool:
        sent.clear()
        answers = [each.result(PATIENCE_S) for each in [pool.submit(theirs) for _ in range(4)]]
        asked = list(sent)

    assert [False] * 4 == answers
    assert [] == asked
