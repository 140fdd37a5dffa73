"""Programs that end in the middle of a refresh: what TikTok gave is saved before they are gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from child_processes import PATIENCE_S, ChildProcess, hear, say
from scenarios import call, connect, session_on

from tiktok_oauth_session import FileStore

#: Seconds that the reply takes after the program has come to its end.
LATE_S = 0.5


# --- in the other process ---------------------------------------------------------------------------


def daemon_thread(session, url):
    """Refresh in a thread that nobody waits for."""
    threading.Thread(target=call, args=(session, url), daemon=True).start()
    hear()


def executor(session, url):
    """Refresh in a worker that the interpreter waits for."""
    ThreadPoolExecutor(1).submit(call, session, url)
    hear()


def thread_at_the_end(session, url):
    """Begin it when the main thread has ended: Python starts no new thread any more."""

    def late():
        threading.main_thread().join()
        call(session, url)

    threading.Thread(target=late).start()


def main_thread(session, url):
    """Refresh in the main thread, which SIGTERM ends."""
    call(session, url)


def executor_terminated(session, url):
    """Refresh in a worker while SIGTERM ends the main thread."""
    ThreadPoolExecutor(1).submit(call, session, url)
    signal.pause()


ROLES = {
    each.__name__: each
    for each in (daemon_thread, executor, thread_at_the_end, main_thread, executor_terminated)
}


def run(role, url, directory, open_id):
    """Be a program that ends."""

    def end(*_):
        say(ends=True)
        sys.exit()

    signal.signal(signal.SIGTERM, end)
    ROLES[role](session_on(url, FileStore(directory), open_id), url)
    say(ends=True)


# --- in the test ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_exit__while_the_reply_travels(fake, tmp_path, role):
    """However a program ends that is refreshing, it ends cleanly, and its store holds a token that works."""
    store = FileStore(tmp_path / "tokens")
    key = connect(fake, store, left=-1)
    arrived, over = threading.Event(), threading.Event()

    def hold(_):
        arrived.set()
        over.wait(PATIENCE_S)

    fake.after("refresh", hold)
    with fake.serve() as server, ChildProcess(__file__) as child:
        child.say(role=role, url=server.url, directory=str(store.directory), open_id=key.open_id)
        if role != "thread_at_the_end":
            assert arrived.wait(PATIENCE_S)
            if role in ("daemon_thread", "executor"):
                child.say(end=True)
            else:
                os.kill(child.pid, signal.SIGTERM)

        assert {"ends": True} == child.hear()

        # That Python is at its end shows nowhere but in what does not work any more.
        over.wait(LATE_S)
        over.set()
        with pytest.raises(EOFError, match="ended with 0"):
            child.hear()
        stored = store.load(key)
        answer = call(session_on(server.url, store, key.open_id), server.url)

    assert fake.is_alive(stored.refresh_token)
    assert 200 == answer
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0


if __name__ == "__main__":
    run(**hear())
