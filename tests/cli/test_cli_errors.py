"""What commands say of an account that is not there or another app's, of a TikTok or a store in trouble."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", ["token", "refresh", "revoke", "logout"])
def test_bad__nobody(run, command):
    """Nobody is logged in: exit code 3 and the command that helps."""
    assert (3, "", "tiktok-oauth: Nobody is logged in. Run: tiktok-oauth login\n") == run(command)


@pytest.mark.parametrize("command", ["token", "logout", "status", "switch"])
def test_bad__nobody_in_this_store(run, home, monkeypatch, command):
    """Where it is not the usual store, the one that was looked in is named, without its secrets."""
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", f"file://{home}/mine")
    code, _, err = run(command)

    assert 3 == code
    assert f"Nobody is logged in: {home}/mine has no account. Run: tiktok-oauth login\n" in err


@pytest.mark.parametrize("command", ["token", "logout", "status", "switch"])
def test_bad__nobody_of_this_app(run, logged_in, command):
    """If others are logged in with another key, that key is named."""
    logged_in(client_key="another-app")
    code, _, err = run(command)

    assert 3 == code
    assert (
        "Nobody is logged in with the client key sbaw-test-key, but somebody is with another-app: set " in err
    )
    assert "TIKTOK_CLIENT_KEY to the one that is meant, or run: tiktok-oauth login\n" in err


def test_bad__several_apps(run, logged_in, monkeypatch):
    """If no key is set, and there are accounts of several, that is what is missing: exit code 2."""
    logged_in()
    logged_in(client_key="another-app")
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    code, _, err = run("token")

    assert 2 == code
    assert "2 accounts of several apps could be meant: set TIKTOK_CLIENT_KEY.\n" in err


@pytest.mark.parametrize("command", ["token", "refresh", "revoke", "logout", "status"])
def test_bad__unknown_account(run, logged_in, command):
    """An account that is not there: exit code 3, and where to look."""
    logged_in()

    assert (
        3,
        "",
        "tiktok-oauth: No account nobody is logged in; see tiktok-oauth accounts.\n",
    ) == run(command, "--account", "nobody")


@pytest.mark.parametrize("command", ["token", "refresh"])
def test_bad__refresh_token_expired(run, fake, logged_in, command):
    """A dead refresh token: exit code 3, one line; asked again, TikTok is not."""
    logged_in(ends_in=-1)
    fake.advance(15_552_001)
    results = [run(command), run(command)]

    assert [(3, "")] * 2 == [result[:2] for result in results]
    assert [1, 1] == [len(result.err.splitlines()) for result in results]
    assert all(" Run: tiktok-oauth login. See https://" in result.err for result in results)
    assert all(result.err.endswith("/gotchas.html#invalid_grant\n") for result in results)
    assert 1 == len(fake.requests_to("refresh"))


@pytest.mark.parametrize("command", ["token", "refresh", "revoke"])
def test_bad__no_network(run, server, logged_in, command):
    """TikTok cannot be reached and the token is dead: exit code 4, one line."""
    logged_in(ends_in=-1)
    server.stop()

    code, out, err = run(command)

    assert (4, "", 1) == (code, out, len(err.splitlines()))
    assert "gave no reply and nothing was sent" in err


def test_bad__busy(run, fake, logged_in):
    """TikTok is busy: exit code 4."""
    logged_in()
    fake.fail("refresh", "status", status=503, times=None)

    assert 4 == run("refresh").code


@pytest.mark.parametrize(
    ("command", "error", "status"),
    [
        (["refresh"], "invalid_client", 401),
        (["revoke"], "invalid_request", 400),
        (["api", "user/info", "-f", "fields=open_id"], "scope_not_authorized", 401),
        (["api", "user/info"], "invalid_params", 400),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_bad__explained_on_the_site(run, fake, logged_in, command, error, status):
    """An error of TikTok's names the page that explains it, at the end of its one line."""
    logged_in()
    fake.fail("*", "error", error=error, status=status, times=None)
    code, _, err = run(*command)

    assert 0 != code
    assert err.endswith(f"/gotchas.html#{error}\n")
    assert 1 == len(err.splitlines())


def test_bad__explained_nowhere(run, fake, logged_in):
    """One that nobody has written about names none."""
    logged_in()
    fake.fail("*", "error", error="brand_new", status=400)

    assert "gotchas" not in run("refresh").err


@pytest.mark.parametrize("command", ["token", "refresh", "revoke"])
def test_bad__another_apps_credentials(run, logged_in, monkeypatch, command):
    """Credentials of another app are found out before anything is sent."""
    key, _ = logged_in(client_key="another-app", ends_in=-1)
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    monkeypatch.setattr("tiktok_oauth_session.cli.stores.account_option.find", lambda _: [key])
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "this-app")

    code, _, err = run(command)

    assert 2 == code
    assert "belongs to the app another-app" in err


def test_bad__damaged_token(run, logged_in, tokens):
    """A damaged file whose account is asked for: exit code 5, one line, and the file is left as it is."""
    key, _ = logged_in()
    tokens._path(key).write_text("{")

    code, out, err = run("token", "--account", key.open_id)

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert "is damaged: a new login replaces it" in err
    assert "{" == tokens._path(key).read_text()


def test_bad__store_cannot_be_written(run, fake, logged_in, tokens):
    """A store that cannot be written is found out before a refresh: exit code 5, nothing spent."""
    key, token = logged_in(ends_in=-1)
    # In the way of the file that every save begins with, for root as well.
    tokens._path(key).with_name(f".{tokens._path(key).name}.tmp").mkdir()

    code, out, err = run("token")

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert [] == fake.requests
    assert token == tokens.load(key)


def test_bad__pipe_closed(home, logged_in):
    """A reader that has seen enough ends the command without a word."""
    logged_in()
    listing = f"{sys.executable} -m tiktok_oauth_session status --json | true"
    done = subprocess.run(["bash", "-c", listing], capture_output=True, text=True, check=False)  # noqa: S607 - the bash that the user has

    assert "" == done.stderr
