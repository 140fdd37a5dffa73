"""``refresh``."""

from __future__ import annotations


def test_refresh__now(run, fake, logged_in, tokens):
    """It refreshes although it is not time, keeps what was asked for, and prints no token."""
    key, token = logged_in(asked=["user.info.basic", "video.list"])

    code, out, err = run("refresh")

    new = tokens.load(key)
    assert (0, "") == (code, err)
    assert f"Refreshed: the access token of {key.open_id} expires in 1 h 59 min.\n" == out
    assert token["refresh_token"] != new["refresh_token"]
    assert "user.info.basic,video.list" == new["requested_scope"]
    fake.assert_no_token_reuse()
