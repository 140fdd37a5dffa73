"""The Django site of the examples, by its own `manage.py`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import scenarios
import sqlalchemy
from child_processes import environment

from tiktok_oauth_session.stores.sql import SQLStore

SITE = Path(__file__).parents[3] / "docs/examples/django_site"
#: Seconds for what takes one or two.
PATIENCE_S = 30.0


@pytest.fixture
def database(tmp_path):
    """The site's database, which nobody else can read: a warning says so otherwise."""
    path = tmp_path / "db.sqlite3"
    path.touch(mode=0o600)
    return path


@pytest.fixture
def begin(database, fake):
    """Begins a command of the site's `manage.py`, in a process of its own."""
    with fake.serve() as tiktok:
        variables = {
            "TIKTOK_CLIENT_KEY": fake.client_key,
            "TIKTOK_CLIENT_SECRET": fake.client_secret,
            "TIKTOK_OAUTH_BASE_URL": tiktok.url,
            "TIKTOK_REDIRECT_URI": "https://app.example/tiktok/callback/",
            "SECRET_KEY": "fake",
            "DATABASE_PATH": str(database),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

        def begin(*arguments, **changed):
            return subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=SITE,
                env=environment(**{**variables, **changed}),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        yield begin


@pytest.fixture
def manage(begin):
    """Runs a command to its end; returns its exit code and what it said."""

    def run(*arguments, **changed):
        return end(begin(*arguments, **changed))

    return run


def end(process):
    """Wait for a command's end; return its exit code, what it said, and what it said of errors."""
    with process:
        said = process.communicate(timeout=PATIENCE_S)
    return process.returncode, *said


@pytest.mark.slow
def test_site__is_complete(manage):
    """It needs no migration of its own, has nothing to be warned of, and its tables are made."""
    done = [
        manage("check", "--fail-level=WARNING"),
        manage("makemigrations", "--check", "--verbosity=0"),
        manage("migrate", "--verbosity=0"),
    ]

    assert [(0, "")] * 3 == [(code, complaint) for code, _, complaint in done]


@pytest.mark.slow
def test_site__keep_alive(manage):
    """Its accounts are kept alive from cron: with an exit code for whatever is to be seen to."""
    before, _, complaint = manage("tiktok_keep_alive")
    manage("migrate", "--verbosity=0")
    after, summary, _ = manage("tiktok_keep_alive", "--json")
    misspelled, _, _ = manage("tiktok_keep_alive", "--workers", "none")
    without, _, missing = manage("tiktok_keep_alive", TIKTOK_CLIENT_SECRET="")

    assert [5, 0, 2, 2] == [before, after, misspelled, without]
    assert "run your migrations" in complaint
    assert 0 == json.loads(summary)["due"]
    assert "TIKTOK_OAUTH_CLIENT_SECRET is not set" in missing


@pytest.mark.slow
def test_site__keep_alive_is_told_to_end(manage, begin, database, fake):
    """SIGTERM ends a run after the refresh in flight; what is left is the next run's, and no failure."""
    manage("migrate", "--verbosity=0")
    engine = sqlalchemy.create_engine(f"sqlite:///{database}")
    # The tables of the site are those that any other program has.
    store = SQLStore(engine)
    keys = [scenarios.connect(fake, store, left=60) for _ in range(2)]
    asked, told = threading.Event(), threading.Event()

    def wait(record):
        asked.set()
        assert told.wait(PATIENCE_S)

    fake.before("refresh", wait)
    running = begin("tiktok_keep_alive", "--workers", "1", "--access-within", "900")
    assert asked.wait(PATIENCE_S)
    running.send_signal(signal.SIGTERM)
    # That the signal has come shows only in what becomes of the run.
    threading.Event().wait(0.5)
    told.set()
    code, summary, complaint = end(running)

    assert 0 == code
    assert "2 due, 1 refreshed" in summary
    assert "Stopped with 1 accounts to go: told to stop" in complaint
    assert all(fake.is_alive(store.load(key).refresh_token) for key in keys)
    engine.dispose()
