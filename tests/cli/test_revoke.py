"""``revoke``."""

from __future__ import annotations


def test_revoke__at_tiktok_and_here(run, fake, logged_in, tokens):
    """TikTok is told first, then the token is deleted."""
    key, token = logged_in()

    assert 0 == run("revoke").code
    assert not fake.is_alive(token["access_token"])
    assert None is tokens.load(key)


def test_revoke__refused(run, fake, logged_in, tokens):
    """If TikTok does not revoke it, it is still here and the exit code is 1."""
    key, token = logged_in()
    fake.fail("revoke", "error", error="invalid_request", description="The request parameters are malformed.")

    code, out, err = run("revoke")

    assert (1, "") == (code, out)
    assert "tiktok-oauth: TikTok did not revoke the token: invalid_request" in err
    assert token == tokens.load(key)
