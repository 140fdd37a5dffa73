"""Clients in JavaScript, each in a small program beside this file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: Seconds that a program may take.
PATIENCE_S = 60

CREDENTIALS = {"client_key", "client_secret"}
CODE = CREDENTIALS | {"code", "grant_type", "redirect_uri"}
ASKED = {"client_key", "redirect_uri", "response_type", "scope"}
PKCE = {"code_challenge", "code_challenge_method"}


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The programs, in a folder that has the packages which they import."""
    packages = os.environ.get("TIKTOK_OAUTH_NODE_MODULES")
    if not packages:
        pytest.skip("TIKTOK_OAUTH_NODE_MODULES names no folder of npm packages: see .ci/run")
    folder = tmp_path_factory.mktemp("programs")
    for program in HERE.glob("*.[cm]js"):
        shutil.copy(program, folder)
    (folder / "node_modules").symlink_to(packages, target_is_directory=True)
    return folder


@pytest.fixture
def run(programs):
    """Runs a program against a fake, and returns what it reports."""

    def run_program(name, site):
        done = subprocess.run(
            ["node", str(programs / name)],  # noqa: S607 - whichever the machine has
            env={**os.environ, **site.environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout)

    return run_program


def check_user(report, site):
    """The client has told its program who it is."""
    (user,) = site.fake.users
    assert {"open_id": user.open_id, "display_name": user.display_name} == report["user"]


def test_arctic(run, tiktok):
    """It logs in with the RFC's challenge, refreshes and revokes."""
    site = tiktok()
    report = run("arctic.mjs", site)

    check_user(report, site)
    assert ASKED | PKCE | {"state"} == set(site.sent("authorize").query)
    assert CODE | {"code_verifier"} == set(site.sent("token").form)
    assert CREDENTIALS | {"grant_type", "refresh_token"} == set(site.sent("refresh").form)
    assert {**site.sent("revoke").form} == {
        "client_key": site.fake.client_key,
        "client_secret": site.fake.client_secret,
        "token": report["tokens"][1],
    }
    assert 2 == len(set(report["tokens"]))
    assert not any(map(site.fake.is_alive, report["tokens"]))
    site.check("arctic")


def test_auth_core(run, tiktok):
    """It logs in without a state, by its own signed cookie, and reads the profile."""
    site = tiktok("https://app.example/auth/callback/tiktok")
    report = run("auth-core.mjs", site)

    check_user(report, site)
    assert ASKED | PKCE | {"client_id"} == set(site.sent("authorize").query)
    assert CODE | {"client_id", "code_verifier"} == set(site.sent("token").form)
    assert [f"Bearer {token}" for token in report["tokens"]] == [
        site.sent("user_info").headers["Authorization"]
    ]
    assert all(map(site.fake.is_alive, report["tokens"]))
    site.check("@auth/core")


def test_better_auth(run, tiktok):
    """It logs in, reads the profile, and refreshes when it is told to."""
    site = tiktok("https://app.example/api/auth/callback/tiktok")
    report = run("better-auth.mjs", site)
    spent, alive = report["tokens"]

    check_user(report, site)
    assert "/home" == report["landed"]
    assert ASKED | {"state"} == set(site.sent("authorize").query)
    assert CODE | {"code_verifier"} == set(site.sent("token").form)
    assert CREDENTIALS | {"grant_type", "refresh_token"} == set(site.sent("refresh").form)
    assert f"Bearer {spent}" == site.sent("user_info").headers["Authorization"]
    assert spent != alive == site.fake.tokens[-1]["access_token"]
    site.check("better-auth")


def test_passport_tiktok_auth(run, tiktok):
    """It logs in and reads the profile."""
    site = tiktok()
    report = run("passport-tiktok-auth.cjs", site)

    check_user(report, site)
    assert [200, "welcome"] == report["landed"]
    assert ASKED | {"client_id", "disable_auto_auth", "state"} == set(site.sent("authorize").query)
    assert CODE == set(site.sent("token").form)
    assert [f"Bearer {token}" for token in report["tokens"]] == [
        site.sent("user_info").headers["Authorization"]
    ]
    site.check("passport-tiktok-auth")
