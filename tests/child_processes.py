"""Test files that run themselves as a script in another process; both sides talk in lines of JSON."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

#: Where the modules are that such scripts share.
SHARED = Path(__file__).parent
#: Seconds to wait for what takes milliseconds.
PATIENCE_S = 20.0


def say(**facts):
    """In the child: tell the test something."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def hear():
    """In the child: return what the test says next; None when it says no more."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def fork(how="by Python"):
    """Fork as Python does, or as servers written in C do: no hook of Python's runs then."""
    if how == "in C":
        return ctypes.PyDLL(None).fork()
    with warnings.catch_warnings():
        # Python 3.12 warns of what is tested here.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        return os.fork()


def let_refreshes_end():
    """Wait for refreshes of this process that have told their callers, and still let go of the lock."""
    for thread in threading.enumerate():
        if thread.name.startswith("tiktok-") and not thread.daemon:
            thread.join(PATIENCE_S)


def environment(**more):
    """Return the environment of a process that finds the modules that scripts share, and more."""
    paths = [str(SHARED), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


class ChildProcess:
    """A Python process that runs a test file as a script, and whatever processes that one starts."""

    def __init__(self, script, *arguments):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=environment(),
        )
        self._heard = b""
        self.pid = self._process.pid

    def say(self, **facts):
        """Tell the child something."""
        self._process.stdin.write(json.dumps(facts).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, *, timeout=PATIENCE_S):
        """Return what the child, or one of its own children, says next."""
        if not self._readable(timeout):
            raise TimeoutError(f"nothing was heard for {timeout} s")
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)

    def is_silent(self, seconds):
        """Tell whether nothing is said for so long."""
        return not self._readable(seconds)

    def _readable(self, seconds):
        deadline = time.monotonic() + seconds
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return False
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                raise EOFError(f"the child ended with {self._process.wait(PATIENCE_S)}")
            self._heard += more
        return True

    def kill(self):
        """Kill the child, and only it; its own children live on."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S if exception == (None, None, None) else 1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        # The group is what this process started and nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.stdout.close()
