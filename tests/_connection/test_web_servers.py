"""Real web servers: workers that are forked in C, and workers that are stopped while they refresh."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import scenarios
from servers import require_module
from shared_stores import open_file, open_new
from web_servers import gunicorn, uwsgi

pytestmark = pytest.mark.slow

WORKERS = 4
VISITORS = 16
#: Seconds that TikTok takes, so that every worker is there before it has answered.
SLOW_S = 0.5
#: Seconds between gunicorn's word that a worker takes too long and TikTok's reply. A second after that word
#: the worker is killed.
AFTER_THE_ABORT_S = 0.5


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="no threads"),
        pytest.param(["--enable-threads"], id="threads", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("kind", ["file", "sqlite", "postgresql", "redis"])
def test_uwsgi__store_from_before_the_fork(fake, request, tmp_path, kind, options):
    """Workers of uWSGI share a store that was used before the fork: one refresh, and all are answered."""
    opens = open_new(kind, request)
    fake.before("refresh", lambda record: threading.Event().wait(SLOW_S))
    with scenarios.opened(opens) as store, fake.serve() as tiktok:
        key = scenarios.connect(fake, store, left=-1)
        with (
            uwsgi(tmp_path, *options, workers=WORKERS, url=tiktok.url, opens=opens) as server,
            ThreadPoolExecutor(VISITORS) as pool,
        ):
            answers = list(pool.map(server.visit, [key.open_id] * VISITORS))
        stored = store.load(key)
    workers = {worker for worker, _ in answers if worker}

    assert ["200"] * VISITORS == [answer for _, answer in answers]
    assert WORKERS == len(workers)
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0
    assert fake.is_alive(stored.refresh_token)


@pytest.mark.parametrize("count", [2, pytest.param(10, marks=pytest.mark.long)])
def test_gunicorn__timeout_before_the_reply(fake, tmp_path, count):
    """A sync worker that gunicorn stops since TikTok takes too long has saved the reply when it is gone."""
    require_module("gunicorn")
    opens = open_file(tmp_path / "tokens")

    def be_late(_):
        number = len(fake.requests_to("refresh"))
        # What is asked again once it was lost is answered at once.
        if number <= count:
            server.wait_until_said("WORKER TIMEOUT", number)
            threading.Event().wait(AFTER_THE_ABORT_S)

    fake.after("refresh", be_late)
    with scenarios.opened(opens) as store, fake.serve() as tiktok:
        keys = [scenarios.connect(fake, store, left=-1) for _ in range(count)]
        with gunicorn(tmp_path, "--timeout=1", workers=1, url=tiktok.url, opens=opens) as server:
            cut = [server.visit(key.open_id) for key in keys]
            answers = [server.visit(key.open_id)[1] for key in keys]
        stored = [store.load(key) for key in keys]

    assert [None] * count == [worker for worker, _ in cut], "nobody was stopped"
    assert [True] * count == [fake.is_alive(each.refresh_token) for each in stored]
    assert ["200"] * count == answers
    assert count == len(fake.requests_to("refresh"))
    assert fake.reuse_attempts == 0
