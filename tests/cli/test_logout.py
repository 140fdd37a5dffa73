"""``logout``."""

from __future__ import annotations


def test_logout__here_only(run, fake, logged_in, tokens):
    """The token is deleted, TikTok is not told, and the command says so."""
    key, token = logged_in()

    code, out, _ = run("logout")

    assert 0 == code
    assert "TikTok has not been told" in out
    assert None is tokens.load(key)
    assert fake.is_alive(token["access_token"])
    assert [] == fake.requests
