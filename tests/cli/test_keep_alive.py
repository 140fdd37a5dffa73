"""``tiktok-oauth keep-alive``."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
import zlib
from pathlib import Path

import pytest
from servers import require_module

from tiktok_oauth_session import AccountKey, FileStore, StoreError
from tiktok_oauth_session.cli.exits import Stop
from tiktok_oauth_session.cli.keep_alive import progress
from tiktok_oauth_session.cli.keep_alive.jobs import Job, run_all
from tiktok_oauth_session.cli.settings.credentials import Credentials
from tiktok_oauth_session.keepalive import Summary

DAY_S = 86_400
#: Seconds for what takes one or two.
PATIENCE_S = 30.0


def due(fake, logged_in, count):
    """Log in so many users whose refresh tokens end within ten days."""
    ends = time.time() + 10 * DAY_S
    return [logged_in(user=fake.add_user(), refresh_expires_at=ends + n)[0] for n in range(count)]


def parts_of(keys):
    """How many accounts each of two jobs looks after."""
    return collections.Counter(zlib.crc32(key.open_id.encode()) % 2 for key in keys)


def test_keep_alive__refreshes_what_is_due(run, fake, tokens, logged_in):
    """What is about to end is refreshed and counted, and nothing else is touched."""
    keys = due(fake, logged_in, 3)
    logged_in(user=fake.add_user())

    result = run("keep-alive", "--rate", "1000")

    assert (
        0,
        "3 due, 3 refreshed, 0 needed no refresh, 0 end soon all the same, 0 need a login, 0 failed\n",
    ) == (
        result.code,
        result.out,
    )
    assert len(fake.requests_to("refresh")) == 3
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)
    assert "\x1b" not in result.out + result.err


def test_keep_alive__dead_and_failed(run, fake, logged_in):
    """Accounts that need a login or failed are named with the reason; a failure shows in the exit code."""
    dead, _, _ = due(fake, logged_in, 3)
    fake.remove_connection(dead.open_id)

    def fail(record):
        if fake.requests_to("refresh")[-1] is record and len(fake.requests_to("refresh")) == 2:
            fake.fail("refresh", "error", error="invalid_request")

    fake.before("refresh", fail)
    result = run("keep-alive", "--workers", "1", "--rate", "1000", "--json")

    assert 1 == result.code
    assert {
        "due": 3,
        "refreshed": 1,
        "left_to_others": 0,
        "not_prolonged": 0,
        "dead": 1,
        "failed": 1,
        "stopped": "",
    } == json.loads(result.out)
    assert re.search(r"log in again: .*invalid_grant", result.err)
    assert re.search(r"failed: .*invalid_request", result.err)
    assert not re.search(r"act\.|rft\.|test-secret", result.out + result.err)


def test_keep_alive__nothing_due(run, fake):
    """Nothing to do is a success."""
    result = run("keep-alive")

    assert (
        0,
        "0 due, 0 refreshed, 0 needed no refresh, 0 end soon all the same, 0 need a login, 0 failed\n",
    ) == (
        result.code,
        result.out,
    )
    assert [] == fake.requests


@pytest.mark.slow
def test_keep_alive__sigterm(start, fake, tokens, logged_in):
    """SIGTERM lets the refresh in flight end and be saved; the next run does the rest."""
    keys = due(fake, logged_in, 6)
    command = None

    def end(_):
        if len(fake.requests_to("refresh")) == 2:
            command.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)

    fake.after("refresh", end)
    command = start("keep-alive", "--workers", "1", "--rate", "1000")
    first = command.end()
    second = start("keep-alive", "--rate", "1000").end()

    assert 0 == first.code
    assert first.out.startswith("6 due, 2 refreshed")
    assert "Stopped with 4 accounts to go: told to stop" in first.err
    assert (
        0,
        "4 due, 4 refreshed, 0 needed no refresh, 0 end soon all the same, 0 need a login, 0 failed\n",
    ) == (
        second.code,
        second.out,
    )
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)
    fake.assert_no_token_reuse()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_keep_alive__sighup(start, fake, tokens, logged_in):
    """So does a terminal that is closed."""
    keys = due(fake, logged_in, 3)
    fake.after("refresh", lambda _: (command.process.send_signal(signal.SIGHUP), time.sleep(0.3)))
    command = start("keep-alive", "--workers", "1", "--rate", "1000")
    result = command.end()

    assert (0, True) == (result.code, result.out.startswith("3 due, 1 refreshed"))
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)


def test_keep_alive__ctrl_c(start, fake, tokens, logged_in):
    """And Ctrl-C: the same, with its own exit code."""
    keys = due(fake, logged_in, 3)
    fake.after("refresh", lambda _: (command.process.send_signal(signal.SIGINT), time.sleep(0.3)))
    command = start("keep-alive", "--workers", "1", "--rate", "1000")
    result = command.end()

    assert (130, True) == (result.code, result.out.startswith("3 due, 1 refreshed"))
    assert "Stopped with 2 accounts to go: told to stop" in result.err
    assert "Traceback" not in result.err
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)


@pytest.mark.slow
def test_keep_alive__jobs(start, fake, tokens, logged_in):
    """Several processes refresh each account once between them, and tell together how it went."""
    keys = due(fake, logged_in, 30)
    fake.remove_connection(keys[0].open_id)
    result = start("keep-alive", "--jobs", "3", "--rate", "1000", "--json").end()
    told = json.loads(result.out)

    assert (0, 30, 29, 1) == (result.code, told["due"], told["refreshed"], told["dead"])
    assert re.search(rf"{keys[0].open_id}: log in again: .*invalid_grant", result.err)
    assert "keep-alive: 30 of 30 accounts\n" in result.err
    assert 30 == len(fake.requests_to("refresh"))
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys[1:])
    assert not re.search(r"act\.|rft\.|test-secret", result.out + result.err)


@pytest.mark.slow
def test_keep_alive__jobs_at_once(start, fake, logged_in):
    """Each of them does a part of the work, at the same time, and all together keep to the rate."""
    due(fake, logged_in, 40)
    together, numbers, met = threading.Barrier(2, timeout=PATIENCE_S), itertools.count(), []

    def meet(_):
        # With one worker each, two at a time are two processes.
        if next(numbers) < 2:
            met.append(together.wait())

    fake.before("refresh", meet)
    result = start("keep-alive", "--jobs", "2", "--workers", "2", "--rate", "20").end()
    moments = sorted(record.at for record in fake.requests_to("refresh"))

    assert (0, 40) == (result.code, len(moments))
    assert [0, 1] == sorted(met)
    assert moments[-1] - moments[0] >= 0.9 * 19 / 10


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_keep_alive__jobs_and_a_signal(start, fake, tokens, logged_in, number, code):
    """A signal reaches all of them: they end after the refreshes in flight; the next run does the rest."""
    keys = due(fake, logged_in, 20)

    def end(_):
        if len(fake.requests_to("refresh")) == 4:
            command.process.send_signal(number)

    fake.before("refresh", end)
    command = start("keep-alive", "--jobs", "2", "--workers", "2", "--rate", "8")
    first = command.end()
    asked = len(fake.requests_to("refresh"))
    second = start("keep-alive", "--jobs", "2", "--rate", "1000").end()

    assert code == first.code
    assert first.out.startswith(f"20 due, {asked} refreshed")
    assert f"Stopped with {20 - asked} accounts to go: told to stop" in first.err
    assert "Traceback" not in first.err
    assert (0, True) == (second.code, second.out.startswith(f"{20 - asked} due, {20 - asked} refreshed"))
    assert 20 == len(fake.requests_to("refresh"))
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)


def children_of(pid):
    """The processes that have this one for a parent."""
    stats = {int(path.parent.name): path.read_text() for path in Path("/proc").glob("[0-9]*/stat")}
    parents = {each: stat.rpartition(")")[2].split()[:2] for each, stat in stats.items()}
    return [each for each, (state, parent) in parents.items() if int(parent) == pid and state != "Z"]


def is_job(pid):
    """Whether a process is one of keep-alive's, and not one that multiprocessing needs for itself."""
    return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_keep_alive__a_job_is_killed(start, fake, logged_in):
    """When one of them is killed, the others go on, and the run is no success."""
    keys = due(fake, logged_in, 20)
    killed, once = [], threading.Lock()

    def kill(_):
        if len(fake.requests_to("refresh")) > 4 and once.acquire(blocking=False):
            killed.extend(filter(is_job, children_of(command.process.pid)))
            os.kill(killed[0], signal.SIGKILL)

    fake.after("refresh", kill)
    command = start("keep-alive", "--jobs", "2", "--workers", "2", "--rate", "40")
    result = command.end()

    assert 1 == result.code
    assert 2 == len(killed)
    assert "a process ended early" in result.err
    # All that the other one had, whichever it was, and what both had begun when this one was killed.
    parts = parts_of(keys).values()
    assert min(parts) <= len(fake.requests_to("refresh")) <= max(parts) + 6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_keep_alive__jobs_without_their_parent(start, fake, tokens, logged_in):
    """When the command itself is killed, they end after the refreshes in flight."""
    keys = due(fake, logged_in, 40)
    jobs, once = [], threading.Lock()

    def kill(_):
        if len(fake.requests_to("refresh")) > 4 and once.acquire(blocking=False):
            jobs.extend(filter(is_job, children_of(command.process.pid)))
            command.process.kill()

    fake.after("refresh", kill)
    command = start("keep-alive", "--jobs", "2", "--workers", "2", "--rate", "10")
    command.process.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in jobs) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert 2 == len(jobs)
    assert time.monotonic() < deadline
    # Two were under way, and either of them may have begun another in the moment until they noticed.
    assert 5 <= len(fake.requests_to("refresh")) <= 8
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)


@pytest.mark.slow
def test_run_all__one_cannot_begin(fake, tokens, logged_in):
    """When one of them cannot do its work, that is why the command ends, and none goes on without it."""
    keys = due(fake, logged_in, 40)
    job = Job(None, Credentials("sbaw-test-key", "sbaw-test-secret"), None, 30.0 * DAY_S, 2, 10.0)
    first, second = job.split(2)
    with pytest.raises(Stop, match="No store is known") as caught:
        run_all([first, dataclasses.replace(second, store="nonsense://")], lambda _: None)

    assert 2 == caught.value.code
    assert [] == multiprocessing.active_children()
    # At five requests a second it would have needed some four for its part.
    assert len(fake.requests_to("refresh")) < parts_of(keys)[0]
    assert all(fake.is_alive(tokens.load(key).refresh_token) for key in keys)


@pytest.mark.parametrize(("workers", "count", "each"), [(4, 2, [2, 2]), (5, 2, [3, 2]), (2, 8, [1, 1])])
def test_job__split(workers, count, each):
    """Jobs share workers and rate out, and none is without a worker."""
    jobs = Job(None, Credentials("key", "secret"), None, 1.0, workers, 10.0).split(count)

    assert each == [job.workers for job in jobs]
    assert 10.0 == sum(job.rate for job in jobs)
    assert [(n, len(each)) for n in range(len(each))] == [job.part for job in jobs]
    assert "secret" not in repr(jobs)


def test_keep_alive__not_prolonged(run, fake, logged_in):
    """Refresh tokens that a refresh does not prolong are counted, and not refreshed in every run."""
    due(fake, logged_in, 3)
    # They live for 180 days.
    first, second = (run("keep-alive", "--rate", "1000", "--refresh-within", "365") for _ in range(2))

    assert (
        0,
        "3 due, 3 refreshed, 0 needed no refresh, 3 end soon all the same, 0 need a login, 0 failed\n",
    ) == first[:2]
    assert (
        0,
        "3 due, 0 refreshed, 3 needed no refresh, 3 end soon all the same, 0 need a login, 0 failed\n",
    ) == second[:2]
    assert "The first ends in 180 days; then its user has to log in again." in second.err
    assert 3 == len(fake.requests_to("refresh"))


def test_keep_alive__unsaved(run, fake, tokens, logged_in, monkeypatch):
    """A new token that could not be kept is exit code 5, whatever became of the others."""
    keys = due(fake, logged_in, 2)
    save = FileStore.save

    def refuse(store, key, token, **options):
        if key == keys[0] and not token.get("refresh_started_at"):
            raise StoreError("The disk is full.")
        save(store, key, token, **options)

    monkeypatch.setattr(FileStore, "save", refuse)
    monkeypatch.setattr("tiktok_oauth_session.keepalive.SAVE_PAUSE_S", 0.0)
    result = run("keep-alive", "--rate", "1000")

    assert 5 == result.code
    assert result.out.startswith("2 due, 1 refreshed")
    assert f"{keys[0].open_id}: failed" in result.err


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        (Summary(due=2, refreshed=1, left_to_others=1), 0),
        (Summary(due=2, refreshed=1, dead={"a": "why"}), 0),
        (Summary(due=2, refreshed=1), 1),
        (Summary(due=2, refreshed=1, stopped="the workers ended early"), 1),
        (Summary(due=2, refreshed=1, failed={"a": "why"}), 1),
        (Summary(due=2, refreshed=1, failed={"a": "why"}, unsaved={"a": {}}), 5),
    ],
)
def test_keep_alive__exit_code(run, monkeypatch, summary, code):
    """A run that did not do all that was due, and was not told to stop, is no success."""
    named = {AccountKey("app", each): why for each, why in summary.failed.items()}
    summary.failed, summary.dead = named, {AccountKey("app", each): why for each, why in summary.dead.items()}
    monkeypatch.setattr("tiktok_oauth_session.keepalive.keep_alive", lambda *_, **__: summary)

    assert code == run("keep-alive").code


def test_keep_alive__lines(run, fake, logged_in):
    """Where there is no terminal, the last account is a line, and so is every tenth second."""
    due(fake, logged_in, 3)
    result = run("keep-alive", "--rate", "1000")

    assert "keep-alive: 3 of 3 accounts\n" == result.err


def test_keep_alive__lines_now_and_then(monkeypatch, capsys):
    """Not for every account."""
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = progress._Lines()
    for second, done in [(0.0, 1), (9.9, 2), (10.0, 3), (19.9, 4), (20.0, 5)]:
        now = 1000.0 + second
        lines(Summary(due=9, refreshed=done))

    assert ["3 of 9", "5 of 9"] == re.findall(r"\d of \d", capsys.readouterr().err)


@pytest.mark.parametrize(
    "options",
    [
        ("--rate", "0"),
        ("--rate", "-1"),
        ("--rate", "nan"),
        ("--rate", "inf"),
        ("--rate", "1e-320"),
        ("--workers", "0"),
        ("--workers=-3",),
        ("--workers", "1.5"),
        ("--jobs", "0"),
        ("--refresh-within", "nan"),
        ("--refresh-within", "1e400"),
        ("--refresh-within=-1",),
        ("--access-within", "nan"),
        ("--access-within", "soon"),
    ],
)
def test_bad__number(run, fake, logged_in, options):
    """What is no such number: exit code 2, one line, and nothing is refreshed."""
    due(fake, logged_in, 1)
    code, out, err = run("keep-alive", *options)

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert options[0].partition("=")[0] in err
    assert [] == fake.requests


@pytest.fixture
def hanging_redis():
    """A Redis that accepts connections and never answers."""
    require_module("redis")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_keep_alive__redis_hangs(start, hanging_redis):
    """A store that hangs is given up: exit code 5, one line."""
    result = start("keep-alive", "--store", f"{hanging_redis}?socket_timeout=0.1").end()

    assert (5, 1) == (result.code, len(result.err.splitlines()))


def test_keep_alive__redis_hangs_and_ctrl_c(start, hanging_redis):
    """The second Ctrl-C does not wait for it."""
    command = start("keep-alive", "--store", f"{hanging_redis}?socket_timeout=600")
    deadline = time.monotonic() + 20
    while command.process.poll() is None and time.monotonic() < deadline:
        time.sleep(1)
        command.process.send_signal(signal.SIGINT)

    assert 130 == command.process.returncode
    assert time.monotonic() < deadline
