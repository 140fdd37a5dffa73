"""Real job queues whose time limits cut jobs off that are refreshing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import scenarios
from child_processes import environment
from servers import require_module
from shared_stores import open_file, open_new

#: Seconds for a worker to start, to work, and to end.
PATIENCE_S = 60.0
#: Seconds after which a job is cut off.
TIME_LIMIT_S = 1

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("late_s", [2, pytest.param(9, marks=pytest.mark.long)]),
]


@contextlib.contextmanager
def worker(directory, *command, facts=None):
    """Run a worker until the block ends; lend its process."""
    more = {"TEST_QUEUED_JOBS": json.dumps(facts)} if facts else {}
    log = directory / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=directory,
            env=environment(**more),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(PATIENCE_S)
        # The group is what this worker started and nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)


class LateReplies:
    """TikTok's replies, which are late, and the time limits that fell into them."""

    def __init__(self, fake, late_s):
        self._late_s, self.left = late_s, 0
        fake.after("refresh", self._wait)

    def _wait(self, _):
        threading.Event().wait(self._late_s)
        self.left += 1

    def wait(self, count):
        """Wait until so many have left."""
        deadline = time.monotonic() + PATIENCE_S
        while self.left < count:
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)


@pytest.mark.parametrize("kind", ["file", pytest.param("redis", marks=pytest.mark.long)])
def test_rq__job_timeout(fake, request, tmp_path, redis_client, redis_server, kind, late_s):
    """A job that RQ cuts off while TikTok's reply is late, and whose process ends at once, loses nothing."""
    require_module("rq")
    from rq import Queue
    from rq.job import Job

    opens = open_file(tmp_path / "tokens") if kind == "file" else open_new(kind, request)
    LateReplies(fake, late_s)
    queue = Queue("tiktok", connection=redis_client)
    with scenarios.opened(opens) as store, fake.serve() as tiktok:
        key = scenarios.connect(fake, store, left=-1)
        arguments = (tiktok.url, opens, key.open_id)
        cut = queue.enqueue("queued_jobs.call_api", args=arguments, job_timeout=TIME_LIMIT_S)
        again = queue.enqueue("queued_jobs.call_api", args=arguments, job_timeout=PATIENCE_S)
        address = f"redis://127.0.0.1:{redis_server.port}"
        with worker(tmp_path, "rq.cli", "worker", "--burst", "--url", address, "tiktok") as process:
            process.wait(PATIENCE_S)
        ended = {job: Job.fetch(job.id, connection=redis_client).latest_result() for job in (cut, again)}
        scenarios.assert_kept(fake, store, [key])

    assert "JobTimeoutException" in ended[cut].exc_string
    assert 200 == ended[again].return_value


@pytest.mark.parametrize("kind", ["file", pytest.param("redis", marks=pytest.mark.long)])
def test_celery__soft_time_limit(fake, request, tmp_path, redis_server, redis_client, kind, late_s):
    """Neither do tasks that a soft time limit of Celery's cuts off in its prefork pool."""
    require_module("celery")
    import celery

    opens = open_file(tmp_path / "tokens") if kind == "file" else open_new(kind, request)
    facts = {
        "broker": f"redis://127.0.0.1:{redis_server.port}",
        "settings": {"worker_hijack_root_logger": False, "broker_connection_retry_on_startup": True},
    }
    replies = LateReplies(fake, late_s)
    producer = celery.Celery("producer", broker=facts["broker"], backend=facts["broker"])
    options = ["--app", "queued_jobs:application", "worker", "--pool=prefork", "--concurrency=2"]
    with scenarios.opened(opens) as store, fake.serve() as tiktok, contextlib.closing(producer):
        keys = [scenarios.connect(fake, store, left=-1) for _ in range(2)]
        jobs = [
            producer.send_task("call_api", (tiktok.url, opens, key.open_id), soft_time_limit=TIME_LIMIT_S)
            for key in keys
        ]
        with worker(tmp_path, "celery", *options, facts=facts):
            cut = [job.get(timeout=PATIENCE_S, propagate=False) for job in jobs]
            replies.wait(len(keys))
            again = [producer.send_task("call_api", (tiktok.url, opens, key.open_id)) for key in keys]
            answers = [job.get(timeout=PATIENCE_S, propagate=False) for job in again]
        scenarios.assert_kept(fake, store, keys)

    assert ["SoftTimeLimitExceeded"] * len(keys) == [type(error).__name__ for error in cut]
    assert [200] * len(keys) == answers
