"""``TIKTOK_OAUTH_BASE_URL``: which address is talked to is said, and no other address's token goes there."""

from __future__ import annotations

import pytest

from tiktok_oauth_session import LOGIN_KIT
from tiktok_oauth_session.cli import main


def said_by(capsys, *arguments):
    """Run a command; return its exit code and all that it said."""
    capsys.readouterr()
    code = main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["token"],
        ["refresh"],
        ["api", "user/info", "-f", "fields=open_id"],
        ["doctor"],
        ["keep-alive"],
        ["revoke"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_address__shown(home, server, logged_in, capsys, arguments):
    """Whatever talks to another address than TikTok's says so, on stderr, once."""
    logged_in()
    code, out, err = said_by(capsys, *arguments)

    assert 0 == code
    assert err.startswith(f"This talks to {server.url}, not to TikTok (TIKTOK_OAUTH_BASE_URL is set).\n")
    assert 1 == (out + err).count("This talks to")


def test_address__not_shown_by_what_talks_to_nobody(home, logged_in, capsys):
    """What only looks at the store says nothing of addresses."""
    logged_in()

    assert ["", ""] == [said_by(capsys, command)[2] for command in ("status", "accounts")]


def test_address__not_shown_of_tiktok(home, logged_in, monkeypatch, capsys):
    """TikTok's own address goes without saying."""
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    logged_in(issuer=LOGIN_KIT.issuer)
    code, _, err = said_by(capsys, "token")

    assert (0, "") == (code, err)


@pytest.mark.parametrize("issuer", [None, LOGIN_KIT.issuer], ids=["unsaid", "tiktok"])
@pytest.mark.parametrize(
    "command", [["token"], ["refresh"], ["revoke"], ["api", "user/info"]], ids=lambda each: each[0]
)
@pytest.mark.parametrize("ends_in", [7200, -1], ids=["fresh", "expired"])
def test_tiktoks_token__does_not_go_elsewhere(run, fake, server, tokens, logged_in, issuer, command, ends_in):
    """A token of TikTok's, or one that does not say whose, is not sent to another address, nor changed."""
    key, token = logged_in(ends_in=ends_in, issuer=issuer)
    if issuer is None:
        token.pop("issuer", None)
        tokens.save(key, token)
    code, out, err = run(*command)

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    here = LOGIN_KIT.at(server.url).issuer
    assert f"{LOGIN_KIT.issuer} issued the token of {key.open_id}, and this talks to {here}: " in err
    assert " Unset TIKTOK_OAUTH_BASE_URL; or log in here, with another --store." in err
    assert [] == fake.requests
    assert token == tokens.load(key)


def test_fakes_token__does_not_go_to_tiktok(run, logged_in, monkeypatch):
    """A token of a fake's is not sent to TikTok, nor to another fake: exit code 2, and what to set."""
    logged_in(issuer=LOGIN_KIT.at("http://127.0.0.1:9400").issuer)
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    code, out, err = run("refresh")

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert "http://127.0.0.1:9400/v2/oauth/token/ issued the token of " in err
    assert "If http://127.0.0.1:9400 is yours, set TIKTOK_OAUTH_BASE_URL to it" in err


def test_tiktoks_token__is_not_kept_alive_elsewhere(run, fake, tokens, logged_in):
    """Nor by keep-alive, which goes on with the others."""
    theirs, token = logged_in(issuer=LOGIN_KIT.issuer, ends_in=60)
    _, spent = logged_in(user=fake.add_user("u-2"), ends_in=60)
    code, _, err = run("keep-alive", "--access-within", "600")

    assert 1 == code
    assert f"{theirs.open_id}: failed: The token of {theirs.open_id} was issued by https://open.tik" in err
    assert [spent.refresh_token] == [
        sent.parameters["refresh_token"] for sent in fake.requests_to("refresh")
    ], err
    assert token == tokens.load(theirs)
