"""A store's server that is away for a while between the mark and the save, or cuts connections."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

import pytest
import redis_users
from child_processes import ChildProcess, hear, say
from redis_server import RedisServer, require_redis_server
from scenarios import PATIENCE_S, answers_of, call, call_until_it_works, connect, opened, session_on
from servers import MariaDB, PostgreSQL, own_server
from shared_stores import open_database

#: Seconds that the server is away, and until the worker is recycled meanwhile.
OUTAGE_S, RECYCLED_AFTER_S = 4.0, 1.0
#: Seconds that an unused connection lives, and that TikTok takes longer.
IDLE_S, SLOW_S = 1, 3.0
#: How a connection is told that it ends when it is not used.
IDLE = {
    "postgresql": f"?options=-c%20idle_session_timeout%3D{1000 * IDLE_S}",
    "mariadb": f"?init_command=SET%20SESSION%20wait_timeout%3D{IDLE_S}",
}


# --- in the other process ---------------------------------------------------------------------------


def be_recycled(url, opens, open_id):
    """Refresh until SIGTERM ends this worker."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    # As an application that is stopped: it closes nothing.
    session = session_on(url, lent.enter_context(opened(opens)), open_id)
    say(authorized=session.authorized)
    call(session, url)
    signal.pause()


# --- in the test ------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(kind, directory):
    """Run a server of a kind of its own; yield it, and how any process opens an empty store on it."""
    if kind == "redis":
        require_redis_server()
        with RedisServer(directory / "redis") as server:
            yield server, redis_users.opens(server)
    else:
        with own_server({"postgresql": PostgreSQL, "mariadb": MariaDB}[kind]) as server:
            yield server, open_database(server)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["postgresql", pytest.param("mariadb", marks=pytest.mark.long), "redis"])
def test_outage__worker_is_recycled_in_it(fake, tmp_path, kind, how):
    """A worker that ends while its server is away saves the new token first; nobody sends the spent one."""
    with running(kind, tmp_path) as (server, opens), fake.serve() as tiktok:
        with opened(opens) as store:
            key = connect(fake, store, left=-1)
        away = threading.Event()

        def go_away(_):
            if not away.is_set():
                server.stop(signal.SIGINT if how == signal.SIGTERM and kind == "postgresql" else how)
                away.set()

        fake.after("refresh", go_away)
        with ChildProcess(__file__) as worker:
            worker.say(url=tiktok.url, opens=opens, open_id=key.open_id)

            assert {"authorized": True} == worker.hear()
            assert away.wait(PATIENCE_S)

            assert worker.is_silent(RECYCLED_AFTER_S)

            os.kill(worker.pid, signal.SIGTERM)
            # It may end at once, which is what costs the account.
            with contextlib.suppress(EOFError):
                assert worker.is_silent(OUTAGE_S - RECYCLED_AFTER_S)
            server.start()
            with opened(opens) as store:
                answer = call_until_it_works(session_on(tiktok.url, store, key.open_id), tiktok.url)
            with pytest.raises(EOFError, match="ended with 0"):
                worker.hear(timeout=PATIENCE_S)
        with opened(opens) as store:
            stored = store.load(key)

    assert 200 == answer
    assert fake.is_alive(stored.refresh_token)
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0


def assert_survived(opens, fake, url):
    """Two processes call with an expired token: whatever they are told, one refresh, and then it works."""
    with opened(opens) as store:
        key = connect(fake, store, left=-1)
        answers = answers_of(opens, url, [key], processes=2)
        last = call_until_it_works(session_on(url, store, key.open_id), url)
        stored = store.load(key)

    assert [] == [a for a in answers if a != 200 and not a.startswith(("StoreError(", "TokenNotSaved("))]
    assert 200 == last
    assert fake.is_alive(stored.refresh_token)
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", pytest.param("mariadb", marks=pytest.mark.long)])
def test_connection__ends_when_it_is_not_used(fake, request, kind):
    """A server that ends unused connections sooner than TikTok answers frees no lock."""
    fake.before("refresh", lambda record: threading.Event().wait(SLOW_S))
    server = request.getfixturevalue(kind)
    server.clear()
    opens = open_database(server, IDLE[kind])
    with fake.serve() as tiktok:
        assert_survived(opens, fake, tiktok.url)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["after", pytest.param("before", marks=pytest.mark.long)])
def test_connection__killed(fake, database_server, moment):
    """Neither does one that kills every connection in the middle of a refresh."""

    def cut(_):
        database_server.cut()
        # Whoever gets the lock by that has time to use it.
        threading.Event().wait(1)

    getattr(fake, moment)("refresh", cut)
    opens = open_database(database_server)
    with fake.serve() as tiktok:
        assert_survived(opens, fake, tiktok.url)


if __name__ == "__main__":
    lent = contextlib.ExitStack()
    be_recycled(**hear())
