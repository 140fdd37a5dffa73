"""The recipes of docs/keep-alive.md, run as they stand there: cron, systemd, Celery and APScheduler."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from child_processes import environment
from servers import lack, require_module

from tiktok_oauth_session import LOGIN_KIT, AccountKey, FileStore, TikTokToken

PAGE = (Path(__file__).parents[1] / "docs/keep-alive.md").read_text("utf-8")
#: Seconds for a worker or a scheduler to start, to work, and to end.
PATIENCE_S = 120.0
APP = {"TIKTOK_CLIENT_KEY": "sbaw-test-key", "TIKTOK_CLIENT_SECRET": "sbaw-test-secret"}
#: What the page's programs need to talk to the fake; they themselves stay as they are.
SITE = """
import os
from tiktok_oauth_session import platforms
platforms.LOGIN_KIT = platforms.LOGIN_KIT.at(os.environ["TEST_TIKTOK"])
"""


def block(name):
    """Return the block of code of the page that follows a mark."""
    (code,) = re.findall(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return code


def unit(name):
    """Return a unit file of the page."""
    (code,) = re.findall(
        rf"```ini\n(# /etc/systemd/system/{re.escape(name)}\n.*?)^```", PAGE, re.DOTALL | re.MULTILINE
    )
    return code


class Machine:
    """The paths that the page names, below a folder of the test's, with a due account in the store."""

    def __init__(self, root, fake, url):
        self._root, self._fake = root, fake
        for folder in ("opt/app/bin", "etc", "var/lib/app", "home"):
            (root / folder).mkdir(parents=True)
        command = root / "opt/app/bin/tiktok-oauth"
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tiktok_oauth_session "$@"\n')
        command.chmod(0o755)
        lines = block("tiktok-oauth.env")
        for name, value in APP.items():
            assert f"{name}='…'\n" in lines
            lines = lines.replace(f"{name}='…'", f"{name}='{value}'")
        (root / "etc/tiktok-oauth.env").write_text(f"{lines}TIKTOK_OAUTH_BASE_URL='{url}'\n")
        self.store = FileStore(root / "var/lib/app/tokens")
        self.key = connect(fake, self.store, issuer=LOGIN_KIT.at(url).issuer)

    def here(self, text):
        """Return a text with the page's paths below the folder."""
        return re.sub(r"(?<![\w.])/(opt/app|etc|var/lib)/", rf"{self._root}/\1/", text)

    def run(self, *command, **variables):
        """Run a command in the environment that cron and systemd give it: hardly any."""
        bare = {"PATH": "/usr/bin:/bin", "HOME": str(self._root / "home"), **variables}
        return subprocess.run(command, env=bare, cwd="/", capture_output=True, text=True, check=False)

    def environment_file(self):
        """What systemd reads of the file: https://www.freedesktop.org/software/systemd/man/systemd.exec.html."""
        lines = (self._root / "etc/tiktok-oauth.env").read_text().splitlines()
        return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def connect(fake, store, **items):
    """Save the token of a user, whose refresh token ends within ten days; return whose it is."""
    reply = fake.issue_token(user=fake.add_user())
    token = TikTokToken.from_reply(reply, requested_at=time.time())
    key = AccountKey(fake.client_key, token["open_id"])
    store.save(key, TikTokToken(token, refresh_expires_at=time.time() + 10 * 86_400, **items))
    return key


def assert_refreshed(fake, store, key):
    """See that the account was refreshed once, and that its new token is kept."""
    assert [1, 0] == [len(fake.requests_to("refresh")), fake.reuse_attempts]
    assert fake.is_alive(store.load(key).refresh_token)
    assert fake.tokens[-1]["refresh_token"] == store.load(key).refresh_token


def assert_no_secret(fake, said):
    """See that nothing that was said holds a token or the app's secret."""
    secrets = {token[name] for token in fake.tokens for name in ("access_token", "refresh_token")}
    assert [] == [secret for secret in (*secrets, APP["TIKTOK_CLIENT_SECRET"]) if secret in said]


@pytest.fixture
def machine(tmp_path, fake):
    """A machine as the page has it."""
    with fake.serve() as server:
        yield Machine(tmp_path, fake, server.url)


# --- cron ------------------------------------------------------------------------------------------------


def crontab_command(machine):
    """The command of the page's line, as cron hands it to /bin/sh."""
    *when, command = block("crontab").strip().split(maxsplit=5)
    assert ["17", "4", "*", "*", "*"] == when
    assert "%" not in command, "cron makes a line break of it"
    return machine.here(command)


@pytest.mark.slow
def test_cron__refreshes(fake, machine):
    """Cron's /bin/sh finds everything and refreshes the account; when none is due, nothing is mailed."""
    runs = [
        machine.run("/bin/sh", "-c", crontab_command(machine), SHELL="/bin/sh", LOGNAME="app") for _ in "12"
    ]

    assert [(0, ""), (0, "")] == [(done.returncode, done.stdout) for done in runs]
    # First it says that it does not talk to TikTok.
    assert [["keep-alive: 1 of 1 accounts"], []] == [done.stderr.splitlines()[1:] for done in runs]
    assert_refreshed(fake, machine.store, machine.key)


def test_cron__fails(fake, machine):
    """Of a run that failed, the account and the reason are mailed."""
    fake.fail("refresh", "error", error="invalid_request", times=None)
    done = machine.run("/bin/sh", "-c", crontab_command(machine))

    assert (1, "") == (done.returncode, done.stdout)
    assert f"\n{machine.key.open_id}: failed: " in done.stderr
    assert_no_secret(fake, done.stderr)


# --- systemd ---------------------------------------------------------------------------------------------


def exec_start(machine):
    """The command line of the page's service, which systemd runs without a shell."""
    service = configparser.ConfigParser(strict=True)
    service.optionxform = str
    service.read_string(unit("tiktok-keep-alive.service"))
    assert "/etc/tiktok-oauth.env" == service["Service"]["EnvironmentFile"]
    return shlex.split(machine.here(service["Service"]["ExecStart"]))


def test_systemd__verifies(machine, tmp_path):
    """Systemd itself has nothing to say about the units."""
    if shutil.which("systemd-analyze") is None:
        lack("there is no systemd-analyze here: apt-get install systemd")
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    for name in ("tiktok-keep-alive.service", "tiktok-keep-alive.timer"):
        (folder / name).write_text(machine.here(unit(name)))
    units = [str(folder / name) for name in ("tiktok-keep-alive.service", "tiktok-keep-alive.timer")]
    done = machine.run(shutil.which("systemd-analyze"), "verify", "--man=no", *units)

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.slow
def test_systemd__refreshes(fake, machine):
    """What the service runs refreshes the account; a failing run makes the unit fail and says why."""
    done = machine.run(*exec_start(machine), **machine.environment_file())
    assert (
        0,
        "1 due, 1 refreshed, 0 needed no refresh, 0 end soon all the same, 0 need a login, 0 failed\n",
    ) == (
        done.returncode,
        done.stdout,
    )
    assert_refreshed(fake, machine.store, machine.key)

    key = connect(fake, machine.store, issuer=machine.store.load(machine.key)["issuer"])
    fake.fail("refresh", "error", error="invalid_request", times=None)
    done = machine.run(*exec_start(machine), **machine.environment_file())
    assert 1 == done.returncode
    assert f"{key.open_id}: failed: " in done.stderr
    assert_no_secret(fake, done.stdout + done.stderr)


# --- schedulers in Python --------------------------------------------------------------------------------


class Program:
    """A process that runs a program of the page, and what it logs."""

    def __init__(self, folder, *command, **variables):
        self._log = folder / f"{Path(command[-1]).name}.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=environment(**variables, PYTHONPATH=str(folder)),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def log(self):
        """What it has logged."""
        return self._log.read_text()

    def see(self, words):
        """Wait until it has logged some words."""
        wait_for(lambda: words in self.log or self.process.poll() is not None)
        assert words in self.log

    def end(self):
        """Tell it to end; return the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.end()
        # The group is what this program started and nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


def wait_for(condition):
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


@pytest.fixture
def database(tmp_path):
    """The store of both programs, and its address."""
    require_module("sqlalchemy")
    import sqlalchemy

    from tiktok_oauth_session.stores.sql import SQLStore

    url = f"sqlite:///{tmp_path}/tokens.db"
    engine = sqlalchemy.create_engine(url)
    store = SQLStore(engine)
    store.create_tables()
    yield store, url
    engine.dispose()


@pytest.fixture
def folder(tmp_path):
    """A folder with the page's programs, and what leads them to the fake."""
    for name in ("tasks.py", "scheduler.py"):
        (tmp_path / name).write_text(block(name))
    (tmp_path / "sitecustomize.py").write_text(SITE)
    return tmp_path


@contextlib.contextmanager
def celery(folder, database, tiktok, redis_server):
    """Run a worker, and a beat that was last awake two days ago; lend the worker."""
    broker = f"redis://127.0.0.1:{redis_server.port}"
    variables = {"CELERY_BROKER_URL": broker, "DATABASE_URL": database, "TEST_TIKTOK": tiktok.url, **APP}
    commands = [line.split()[1:] for line in PAGE.splitlines() if line.startswith("celery -A tasks ")]
    assert [["-A", "tasks", "worker"], ["-A", "tasks", "beat"]] == commands
    oversleep = (
        "import datetime, tasks; from celery.beat import PersistentScheduler; "
        "s = PersistentScheduler(tasks.app, schedule_filename='celerybeat-schedule'); s.setup_schedule(); "
        "s.schedule['keep-tiktok-alive'].last_run_at = tasks.app.now() - datetime.timedelta(days=2); "
        "s.close()"
    )
    subprocess.run(
        [sys.executable, "-c", oversleep],
        cwd=folder,
        env=environment(**variables, PYTHONPATH=str(folder)),
        check=True,
    )
    with (
        Program(folder, "-m", "celery", *commands[0], **variables) as worker,
        Program(folder, "-m", "celery", *commands[1], **variables),
    ):
        yield worker


@pytest.mark.slow
def test_celery__refreshes(fake, folder, database, redis_server, redis_client):
    """A beat that finds the time past hands the task to a worker, which refreshes the account."""
    require_module("celery")
    store, url = database
    key = connect(fake, store)
    with fake.serve() as tiktok, celery(folder, url, tiktok, redis_server):
        wait_for(lambda: fake.requests_to("refresh") and fake.is_alive(store.load(key).refresh_token))
    assert_refreshed(fake, store, key)


@pytest.mark.slow
def test_celery__fails(fake, folder, database, redis_server, redis_client):
    """A run that left an account undone is a failed task, whose reason is in the worker's log."""
    require_module("celery")
    store, url = database
    key = connect(fake, store)
    fake.fail("refresh", "error", error="invalid_request", times=None)
    with fake.serve() as tiktok, celery(folder, url, tiktok, redis_server) as worker:
        worker.see(f"{key.open_id}: ")
        worker.see("RuntimeError: 1 TikTok accounts failed.")
        said = worker.log
    assert_no_secret(fake, said)
    assert fake.is_alive(store.load(key).refresh_token)


def scheduler(folder, url, tiktok):
    """Start the page's program."""
    require_module("apscheduler")
    return Program(folder, "scheduler.py", DATABASE_URL=url, TEST_TIKTOK=tiktok.url, **APP)


@pytest.mark.slow
def test_apscheduler__refreshes(fake, folder, database):
    """The scheduler refreshes the account when it starts, goes on, and ends when it is told to."""
    store, url = database
    key = connect(fake, store)
    with fake.serve() as tiktok, scheduler(folder, url, tiktok) as program:
        program.see("executed successfully")
        assert program.process.poll() is None
        assert 0 == program.end()
    assert_refreshed(fake, store, key)
    assert_no_secret(fake, program.log)


@pytest.mark.slow
def test_apscheduler__fails(fake, folder, database):
    """A run that left an account undone is an error in the log, and the scheduler goes on."""
    store, url = database
    key = connect(fake, store)
    fake.fail("refresh", "error", error="invalid_request", times=None)
    with fake.serve() as tiktok, scheduler(folder, url, tiktok) as program:
        program.see(f"{key.open_id}: ")
        program.see("RuntimeError: 1 TikTok accounts failed.")
        assert program.process.poll() is None
        assert 0 == program.end()
    assert_no_secret(fake, program.log)


@pytest.mark.slow
def test_apscheduler__needs_a_login(fake, folder, database):
    """An account that only a login helps is named, and is no failed run."""
    store, url = database
    key = connect(fake, store)
    fake.remove_connection(key.open_id)
    with fake.serve() as tiktok, scheduler(folder, url, tiktok) as program:
        program.see(f"{key.open_id}: ")
        program.see("executed successfully")
        assert 0 == program.end()
    assert_no_secret(fake, program.log)


def test_apscheduler__told_to_end(fake, folder, database):
    """Told to end in the middle of a refresh, it ends after its new token is kept."""
    store, url = database
    key = connect(fake, store)
    programs = []

    def end(_):
        wait_for(lambda: programs)
        programs[0].process.terminate()

    fake.after("refresh", end)
    with fake.serve() as tiktok, scheduler(folder, url, tiktok) as program:
        programs.append(program)
        assert 0 == program.process.wait(PATIENCE_S)
    assert_refreshed(fake, store, key)
