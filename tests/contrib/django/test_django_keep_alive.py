"""``manage.py tiktok_keep_alive``."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from django_project import CLIENT_KEY

from tiktok_oauth_session import AccountKey, TikTokToken
from tiktok_oauth_session.contrib.django.stores import database_store

DAY_S = 86_400


@pytest.fixture
def due(fake, opened):
    """Keeps so many accounts whose refresh tokens end within ten days."""

    def keep(count):
        keys = []
        for _ in range(count):
            reply = fake.issue_token(user=fake.add_user().open_id)
            token = TikTokToken.from_reply(reply, requested_at=time.time())
            keys.append(AccountKey(CLIENT_KEY, token.open_id))
            database_store().save(keys[-1], TikTokToken(token, refresh_expires_at=time.time() + 10 * DAY_S))
        return keys

    return keep


def test_keep_alive__refreshes_what_is_due(project, due, fake, capsys):
    """What is about to end is refreshed, on every database; a second run finds nothing to do."""
    keys = due(3)
    call_command("tiktok_keep_alive", rate=1000.0)
    first = capsys.readouterr()
    call_command("tiktok_keep_alive", "--json")
    second = json.loads(capsys.readouterr().out)

    assert (
        "3 due, 3 refreshed, 0 needed no refresh, 0 end soon all the same, 0 need a login, 0 failed\n"
        == first.out
    )
    assert 0 == second["due"]
    assert 3 == len(fake.requests_to("refresh"))
    assert all(fake.is_alive(database_store().load(key).refresh_token) for key in keys)


def test_keep_alive__options(sqlite_project, due, fake, capsys):
    """The options are those of the command line: what is not due by them is left alone."""
    due(2)
    call_command("tiktok_keep_alive", "--refresh-within", "9", "--json")
    left = json.loads(capsys.readouterr().out)["due"]
    sent = len(fake.requests_to("refresh"))
    call_command("tiktok_keep_alive", "--refresh-within", "11", "--rate", "1000", "--workers", "1")

    assert 0 == left
    assert (0, 2) == (sent, len(fake.requests_to("refresh")))
    with pytest.raises(CommandError, match="no whole number"):
        call_command("tiktok_keep_alive", "--workers", "0")


def test_keep_alive__failed(sqlite_project, due, fake, capsys):
    """An account that another run may save makes the exit code 1, and is named with the reason."""
    (key,) = due(1)
    fake.fail("refresh", "error", error="invalid_request")
    with pytest.raises(SystemExit) as ended:
        call_command("tiktok_keep_alive")

    assert 1 == ended.value.code
    assert f"{key.open_id}: failed: " in capsys.readouterr().err


def test_keep_alive__dead(sqlite_project, due, fake, capsys):
    """An account that only a login saves is named, and is no failure of the run."""
    (key,) = due(1)
    fake.remove_connection(key.open_id)
    call_command("tiktok_keep_alive")
    told = capsys.readouterr()

    assert f"{key.open_id}: log in again: " in told.err
    assert "1 need a login" in told.out


def test_keep_alive__store_fails(sqlite_project, opened):
    """A store that cannot say what is due is exit code 5."""
    sqlite_project.ask("DROP TABLE tiktok_tokens")
    with pytest.raises(CommandError, match="run your migrations") as ended:
        call_command("tiktok_keep_alive")

    assert 5 == ended.value.returncode


def test_keep_alive__settings_are_missing(sqlite_project):
    """Settings that are missing are exit code 2."""
    with (
        override_settings(TIKTOK_OAUTH_CLIENT_SECRET=""),
        pytest.raises(CommandError, match="TIKTOK_OAUTH_CLIENT_SECRET is not set") as ended,
    ):
        call_command("tiktok_keep_alive")

    assert 2 == ended.value.returncode


def test_keep_alive__in_a_worker_thread(sqlite_project, due, fake):
    """A task may run it in a thread, which gets no signals."""
    due(1)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call_command, "tiktok_keep_alive").result()

    assert 1 == len(fake.requests_to("refresh"))
