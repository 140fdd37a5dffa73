"""The Django site of the examples, by its own `manage.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from child_processes import environment

SITE = Path(__file__).parents[3] / "docs/examples/django_site"


@pytest.fixture
def manage(tmp_path, fake):
    """Runs the site's `manage.py`, in a process of its own."""
    path = tmp_path / "db.sqlite3"
    # Else a warning says who may read it.
    path.touch(mode=0o600)
    with fake.serve() as tiktok:
        variables = {
            "TIKTOK_OAUTH_CLIENT_KEY": fake.client_key,
            "TIKTOK_OAUTH_CLIENT_SECRET": fake.client_secret,
            "TIKTOK_OAUTH_BASE_URL": tiktok.url,
            "TIKTOK_OAUTH_REDIRECT_URI": "https://app.example/tiktok/callback/",
            "SECRET_KEY": "fake",
            "DATABASE_PATH": str(path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

        def run(*arguments, **changed):
            command = [sys.executable, "manage.py", *arguments]
            variables.update(changed)
            return subprocess.run(
                command, cwd=SITE, env=environment(**variables), capture_output=True, text=True, check=False
            )

        yield run


def test_site__is_complete(manage):
    """It needs no migration of its own, has nothing to be warned of, and its tables are made."""
    for command in ("check", "makemigrations --check", "migrate"):
        done = manage(*command.split(), "--fail-level=WARNING" if command == "check" else "--verbosity=0")
        assert (0, "") == (done.returncode, done.stderr)


def test_site__keep_alive(manage):
    """Its accounts are kept alive from cron: with an exit code for whatever is to be seen to."""
    before = manage("tiktok_keep_alive")
    manage("migrate", "--verbosity=0")
    done = manage("tiktok_keep_alive", "--json")
    misspelled = manage("tiktok_keep_alive", "--workers", "none")
    without = manage("tiktok_keep_alive", TIKTOK_OAUTH_CLIENT_SECRET="")

    assert [5, 0, 2, 2] == [each.returncode for each in (before, done, misspelled, without)]
    assert "run your migrations" in before.stderr
    assert 0 == json.loads(done.stdout)["due"]
    assert "TIKTOK_OAUTH_CLIENT_SECRET is not set" in without.stderr
