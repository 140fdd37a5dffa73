"""Web servers that run the tests' application: gunicorn, uWSGI."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import requests
from child_processes import PATIENCE_S, environment
from servers import lack

APPLICATION = "web_application:application"


class WebServer:
    """A running web server, and what it has said so far."""

    def __init__(self, command, directory, *, log=None, **variables):
        self._log = (log or directory) / "web-server.log"
        with self._log.open("wb") as said:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env=environment(**variables),
            )

    @property
    def log(self):
        """All that it has said."""
        return self._log.read_text()

    def said(self, words):
        """Return how often it has said something."""
        return self.log.count(words)

    def wait_until_said(self, words, times=1):
        """Wait until it has said something so often."""
        deadline = time.monotonic() + PATIENCE_S
        while self.said(words) < times:
            assert time.monotonic() < deadline, self.log
            assert self._process.poll() is None, self.log
            threading.Event().wait(0.02)

    def visit(self, path, timeout=PATIENCE_S):
        """Return a worker's process id and its answer; no worker and what was raised if none came."""
        port = re.search(r"127\.0\.0\.1:(\d+)", self.log)[1]
        with requests.Session() as visitor:
            visitor.trust_env = False
            try:
                answer = visitor.get(f"http://127.0.0.1:{port}/{path}", timeout=timeout)
            except requests.RequestException as error:
                return None, type(error).__name__
        return answer.headers.get("X-Worker"), answer.text

    def stop(self):
        """Stop it and its workers."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(5)
        # The group is what this server started and nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_S)


@contextlib.contextmanager
def gunicorn(directory, *options, workers, **facts):
    """Run the application under gunicorn."""
    command = [sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", f"--workers={workers}", *options]
    # What its options default to lies outside of the test's directory.
    command += ["--worker-tmp-dir=/tmp", "--no-control-socket", APPLICATION]
    server = WebServer(command, directory, TEST_WEB_APPLICATION=json.dumps(facts))
    try:
        server.wait_until_said("Booting worker", workers)
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def uwsgi(directory, *options, workers, **facts):
    """Run the application under uWSGI, which loads it before it forks its workers, in C."""
    beside = Path(sys.executable).parent
    found = shutil.which("uwsgi", path=os.pathsep.join([str(beside), os.environ["PATH"]]))
    if found is None:
        lack("uwsgi is not installed: it is in the extra [test]")
    command = [
        found,
        "--master",
        "--die-on-term",
        "--need-app",
        "--disable-logging",
        "--http-socket=127.0.0.1:0",
    ]
    command += [f"--processes={workers}", f"--virtualenv={sys.prefix}", f"--module={APPLICATION}", *options]
    server = WebServer(command, directory, TEST_WEB_APPLICATION=json.dumps(facts))
    try:
        server.wait_until_said("spawned uWSGI worker", workers)
        yield server
    finally:
        server.stop()
