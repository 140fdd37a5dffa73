"""``revoke``."""

from __future__ import annotations

import pytest


def test_revoke__at_tiktok_and_here(run, fake, logged_in, tokens):
    """TikTok is told first, then the token is deleted."""
    key, token = logged_in()

    assert 0 == run("revoke").code
    assert not fake.is_alive(token["access_token"])
    assert None is tokens.load(key)


@pytest.mark.parametrize("ends_in", [7200, -1], ids=["fresh", "expired"])
def test_revoke__over_already(run, fake, logged_in, tokens, ends_in):
    """If the user has removed the app at TikTok, the command that is left is named."""
    key, _ = logged_in(user=fake.add_user("ada lovelace"), ends_in=ends_in)
    fake.remove_connection(key.open_id)
    code, out, err = run("revoke")

    assert (3, "", 1) == (code, out, len(err.splitlines()))
    assert (
        "any more, delete the token here: tiktok-oauth logout --account 'ada lovelace'. See https://" in err
    )
    assert 0 == run("logout", "--account", "ada lovelace").code
    assert None is tokens.load(key)


def test_revoke__refused(run, fake, logged_in, tokens):
    """If TikTok does not revoke it, the account is still here and the exit code is 1."""
    key, token = logged_in()
    malformed = {"error": "invalid_request", "description": "The request parameters are malformed."}
    fake.fail("revoke", "error", times=2, **malformed)

    code, out, err = run("revoke")

    assert (1, "") == (code, out)
    assert "tiktok-oauth: TikTok did not revoke the token: invalid_request" in err
    assert fake.is_alive(tokens.load(key)["refresh_token"])
    assert token["refresh_token"] != tokens.load(key)["refresh_token"]
