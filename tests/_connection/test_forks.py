"""Forks: a child inherits the session, but no held lock, no half-done refresh and no connection."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import child_processes
import pytest
import scenarios
from child_processes import PATIENCE_S, ChildProcess, hear, say
from locks import is_free
from servers import require_module
from shared_stores import open_file
from web_servers import gunicorn

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    FileStore,
    MemoryStore,
    TikTokOAuth2Session,
    TikTokOAuthError,
    TikTokToken,
)
from tiktok_oauth_session.testing import FakeTikTok

pytestmark = pytest.mark.slow

USER_INFO = "/v2/user/info/?fields=open_id"
#: Seconds ago that a token was issued which has expired.
EXPIRED_S = 8000
#: Seconds in which whoever waits has to go on when the lock's holder was killed.
GOES_ON_WITHIN_S = 1.0
#: Seconds for which something must not happen.
A_WHILE_S = 0.3


def build(url, store, open_id):
    """Return a session that talks to the fake TikTok of another process."""
    session = TikTokOAuth2Session(
        FakeTikTok().client_key,
        client_secret=FakeTikTok().client_secret,
        store=store,
        open_id=open_id,
        platform=LOGIN_KIT.at(url),
    )
    session.trust_env = False
    return session


# --- in the other process ---------------------------------------------------------------------------


def fork(work):
    """Run some work in a forked child, which ends as any program does; return its process id."""
    child = child_processes.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001 - nothing of the parent's may run in the child
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    sys.exit()


def wait_for(child):
    """Return the exit status of a child, which must end soon."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def answer_of(session, url):
    """Call the API; return what came of it in one word."""
    try:
        return session.get(url + USER_INFO).status_code
    except TikTokOAuthError as error:
        return type(error).__name__


class Application:
    """What every application of these tests has: a store, a session on it, its account's lock."""

    def __init__(self, url, directory, token):
        self.url = url
        self.store = FileStore(directory) if directory else MemoryStore()
        self.key = AccountKey(FakeTikTok().client_key, token["open_id"])
        self.store.save(self.key, TikTokToken(token))
        self.session = build(url, self.store, token["open_id"])

    def is_free(self):
        """Tell whether the lock is free."""
        return is_free(self.store, self.key)

    def answer(self):
        return answer_of(self.session, self.url)

    def hold_in_thread(self):
        """Hold the lock in another thread; return what ends that."""
        held, enough = threading.Event(), threading.Event()

        def hold():
            with self.store.lock(self.key):
                held.set()
                enough.wait(10 * PATIENCE_S)

        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        held.wait(PATIENCE_S)

        def end():
            enough.set()
            holder.join(PATIENCE_S)

        return end


def held_by_a_thread(app):
    """Fork while another thread holds the lock."""
    end = app.hold_in_thread()

    def child():
        say(child_could_have_it=app.is_free())
        gc.collect()

    say(child_ended=wait_for(fork(child)), free=app.is_free())
    hear()

    def waiting_child():
        say(waiting=True)
        with app.store.lock(app.key):
            app.store.save(app.key, app.store.load(app.key))
        say(child_had_it=True)

    child = fork(waiting_child)
    hear()
    end()
    say(child_ended=wait_for(child), free=app.is_free())


def held_by_the_forking_thread(app):
    """Fork inside of the block that holds the lock; the child leaves the block, and ends."""
    with app.store.lock(app.key):
        child = os.fork()
        if child:
            say(child_ended=wait_for(child))
            hear()
    if not child:
        gc.collect()
        sys.exit()
    say(free=app.is_free())


def idle_child(app):
    """Hold the lock in a thread and fork a child that lives on and does nothing."""
    app.hold_in_thread()
    child = fork(lambda: time.sleep(10 * PATIENCE_S))
    say(child=child)
    hear()


def refresh_in_a_thread(app):
    """Fork while another thread refreshes."""
    calling = threading.Thread(target=lambda: say(parent=app.answer()))
    calling.start()
    hear()
    receive, send = os.pipe()

    def child():
        say(forked=True)
        os.read(receive, 1)
        say(child=app.answer())
        app.store.save(app.key, TikTokToken(new_login))
        app.session.token = new_login
        say(child=app.answer(), free=app.is_free())

    new_login = hear()["token"]
    pid = fork(child)
    hear()
    os.write(send, b".")
    calling.join(PATIENCE_S)
    say(child_ended=wait_for(pid))
    hear()
    say(parent=app.answer(), free=app.is_free())


def connections(app):
    """Call the API before the fork, twice in the child, and afterwards."""
    say(parent=app.answer())

    def child():
        say(child=[app.answer(), app.answer()])

    say(child_ended=wait_for(fork(child)))
    say(parent=app.answer())


def busy(app):
    """Fork many times while threads call, refresh and lock."""
    forks = hear()["forks"]
    over = threading.Event()

    def keep_calling():
        while not over.wait(0.005):
            assert app.answer() == 200

    def keep_refreshing():
        while not over.wait(0.005):
            app.session.refresh_token()

    def child():
        app.is_free()
        if app.answer() != 200:
            os._exit(3)

    threads = [threading.Thread(target=work) for work in (*[keep_calling] * 2, keep_refreshing)]
    for thread in threads:
        thread.start()
    ends = [wait_for(fork(child)) for _ in range(forks)]
    over.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    say(ends=sorted(set(map(str, ends))), free=app.is_free())


def preload(app):
    """Be gunicorn --preload: a session from before the fork, used by all workers at once."""
    order = hear()
    say(parent=app.session.authorized)
    start, go = os.pipe()

    def worker():
        os.close(go)
        threads = [threading.Thread(target=request) for _ in range(order["threads"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)

    def request():
        select.select([start], [], [], PATIENCE_S)
        say(answer=app.answer())

    workers = [fork(worker) for _ in range(order["workers"])]
    os.close(go)
    say(ended=[wait_for(child) for child in workers])
    say(parent=app.answer())


SCENES = {
    each.__name__: each
    for each in (
        held_by_a_thread,
        held_by_the_forking_thread,
        idle_child,
        refresh_in_a_thread,
        connections,
        busy,
        preload,
    )
}


def play(scene):
    """Play a scene for each application that the test asks for."""
    while options := hear():
        SCENES[scene](Application(**options))


# --- in the test ------------------------------------------------------------------------------------


@pytest.fixture(params=["FileStore", "MemoryStore"])
def directory(request, tmp_path):
    """Where the tokens are; nowhere for a store in memory."""
    return str(tmp_path / "tokens") if request.param == "FileStore" else None


@pytest.fixture
def server(fake):
    """The fake TikTok on a socket."""
    with fake.serve() as running:
        yield running


def begin(scene, fake, server, directory, *, age=0.0):
    """Start a process that is an application; the context ends it."""
    app = ChildProcess(__file__, scene.__name__)
    begin_again(app, fake, server, directory, age=age)
    return app


def begin_again(app, fake, server, directory, *, age=0.0):
    """Let the process be an application with a token that is so many seconds old."""
    token = TikTokToken.from_reply(fake.issue_token(), requested_at=time.time() - age)
    app.say(url=server.url, directory=directory, token=token)


def is_free_elsewhere(fake, directory):
    """Tell whether a process that has nothing to do with the fork can have the lock."""
    return is_free(FileStore(directory), AccountKey(fake.client_key, fake.users[0].open_id))


def statuses(fake, endpoint):
    """Return what came of the requests to an endpoint."""
    return [record.status for record in fake.requests_to(endpoint)]


def test_lock__held_by_another_thread_at_the_fork(fake, server, directory):
    """A child neither inherits nor frees the lock of a thread it does not have; it waits for its turn."""
    with begin(held_by_a_thread, fake, server, directory) as app:
        # In memory nobody in the child holds it; the file's lock is between processes.
        assert {"child_could_have_it": directory is None} == app.hear()
        assert {"child_ended": 0, "free": False} == app.hear()
        assert directory is None or not is_free_elsewhere(fake, directory)

        app.say(go_on=True)

        assert {"waiting": True} == app.hear()
        if directory:
            assert app.is_silent(A_WHILE_S)
        app.say(end=True)
        told = [app.hear(), app.hear()]

        assert {"child_had_it": True} in told
        assert {"child_ended": 0, "free": True} in told


def test_lock__held_by_the_forking_thread(fake, server, tmp_path):
    """A child that leaves its copy of the block does not free the parent's lock."""
    directory = str(tmp_path / "tokens")
    with begin(held_by_the_forking_thread, fake, server, directory) as app:
        assert {"child_ended": 0} == app.hear()
        assert not is_free_elsewhere(fake, directory)

        app.say(go_on=True)

        assert {"free": True} == app.hear()
        assert is_free_elsewhere(fake, directory)


def test_lock__holder_killed_while_its_child_lives(fake, server, tmp_path):
    """The lock of a killed process is free within a second, also if a child forked under it lives on."""
    directory = str(tmp_path / "tokens")
    with begin(idle_child, fake, server, directory) as app:
        child = app.hear()["child"]

        assert not is_free_elsewhere(fake, directory)

        killed = time.monotonic()
        app.kill()
        os.kill(child, 0)
        while not is_free_elsewhere(fake, directory) and time.monotonic() < killed + 2 * GOES_ON_WITHIN_S:
            time.sleep(0.01)

        assert time.monotonic() - killed < GOES_ON_WITHIN_S


def test_refresh__fork_in_the_middle(fake, server, directory):
    """A child that is forked during a refresh does not take part in it, and can use session and store."""
    arrived, go_on = threading.Event(), threading.Event()

    def hang(record):
        arrived.set()
        go_on.wait(PATIENCE_S)

    fake.before("refresh", hang)
    with begin(refresh_in_a_thread, fake, server, directory, age=EXPIRED_S) as app:
        assert arrived.wait(PATIENCE_S)

        app.say(fork=True)
        app.say(token=TikTokToken.from_reply(fake.issue_token(), requested_at=time.time()))

        assert {"forked": True} == app.hear()

        if directory:
            # The child asks while the parent is at it, and has to wait.
            app.say(call=True)

            assert app.is_silent(A_WHILE_S)
            assert 1 == len(fake.requests_to("refresh"))

            go_on.set()
            told = [app.hear(), app.hear()]

            assert {"parent": 200} in told
            assert {"child": 200} in told
        else:
            # The parent's memory is its own: the child cannot learn of the new token.
            go_on.set()

            assert {"parent": 200} == app.hear()

            app.say(call=True)

            # It leaves alone what its parent may be about to save.
            assert {"child": "TokenError"} == app.hear()
        assert {"child": 200, "free": True} == app.hear()
        assert {"child_ended": 0} == app.hear()

        app.say(call=True)

        assert {"parent": 200, "free": True} == app.hear()
    requests = fake.requests_to("refresh")

    assert 1 == len(requests)
    assert fake.reuse_attempts == 0
    assert {200} == set(statuses(fake, "user_info"))


def test_connections__not_shared_with_a_child(fake, server, directory):
    """A child opens its own connection, and leaves the parent's as it is."""
    served_by = []
    # The fake has one thread for each connection.
    fake.before("user_info", lambda record: served_by.append(threading.current_thread()))
    with begin(connections, fake, server, directory) as app:
        assert {"parent": 200} == app.hear()
        assert {"child": [200, 200]} == app.hear()
        assert {"child_ended": 0} == app.hear()
        assert {"parent": 200} == app.hear()

    parents, childs = served_by[0], served_by[1]

    assert parents is not childs
    assert [parents, childs, childs, parents] == served_by
    assert [] == fake.requests_to("refresh")


@pytest.mark.parametrize("forks", [20, pytest.param(100, marks=pytest.mark.long)])
def test_fork__while_threads_call_and_refresh(fake, server, directory, forks):
    """However busy the parent is, its children call the API, and end."""
    with begin(busy, fake, server, directory) as app:
        app.say(forks=forks)

        assert {"ends": ["0"], "free": True} == app.hear(timeout=60 + forks)

    assert {200} == set(statuses(fake, "user_info"))
    assert forks < len(fake.requests_to("user_info"))
    assert fake.requests_to("refresh")
    fake.assert_no_token_reuse()


@pytest.mark.parametrize("rounds", [5, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("threads", [1, 4])
def test_preload__expired_token(fake, server, tmp_path, rounds, threads):
    """Four workers forked after the session was made refresh once, and all get their answer."""
    app = ChildProcess(__file__, preload.__name__)
    with app:
        for number in range(rounds):
            begin_again(app, fake, server, str(tmp_path / "tokens"), age=EXPIRED_S)
            app.say(workers=4, threads=threads)

            assert {"parent": True} == app.hear()
            assert [{"answer": 200}] * 4 * threads == [app.hear() for _ in range(4 * threads)]
            assert {"ended": [0] * 4} == app.hear()
            assert {"parent": 200} == app.hear()
            assert number + 1 == len(fake.requests_to("refresh"))

    assert [200] * rounds * (4 * threads + 1) == statuses(fake, "user_info")
    assert rounds == len({r.headers["Authorization"] for r in fake.requests_to("user_info")})
    fake.assert_no_token_reuse()


def test_preload__gunicorn(fake, server, tmp_path):
    """Behind gunicorn --preload, requests to four workers with an expired token cause one refresh."""
    require_module("gunicorn")
    opens = open_file(tmp_path / "tokens")
    with scenarios.opened(opens) as store:
        key = scenarios.connect(fake, store, left=-1)
    fake.before("refresh", lambda record: threading.Event().wait(A_WHILE_S))
    with (
        gunicorn(tmp_path, "--preload", workers=4, url=server.url, opens=opens) as web,
        ThreadPoolExecutor(16) as visitors,
    ):
        answers = list(visitors.map(web.visit, [key.open_id] * 16))

    assert ["200"] * 16 == [answer for _, answer in answers]
    assert len({worker for worker, _ in answers}) > 1
    assert 1 == len(fake.requests_to("refresh"))
    assert [200] * 16 == statuses(fake, "user_info")
    fake.assert_no_token_reuse()


if __name__ == "__main__":
    play(*sys.argv[1:])
