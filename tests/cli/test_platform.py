"""``--platform``: which surface of TikTok a command talks to."""

from __future__ import annotations

import pytest

from tiktok_oauth_session.cli import main
from tiktok_oauth_session.cli.settings import surface
from tiktok_oauth_session.platforms import BY_NAME


@pytest.fixture(autouse=True)
def no_platform(monkeypatch):
    """No surface is chosen, also after a test that has chosen one."""
    monkeypatch.setenv("TIKTOK_OAUTH_PLATFORM", "")


def said_by(capsys, *arguments):
    """Run a command; return its exit code and what it said on stderr."""
    capsys.readouterr()
    code = main(arguments)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_platform__environment(home, monkeypatch, name):
    """The environment names a surface, at TikTok or elsewhere."""
    monkeypatch.setenv("TIKTOK_OAUTH_PLATFORM", name)

    assert surface.official() is BY_NAME[name]
    assert surface.platform() == BY_NAME[name].at(surface.os.environ["TIKTOK_OAUTH_BASE_URL"])


@pytest.mark.parametrize(
    "arguments", [("token",), ("login",), ("keep-alive",), ("doctor",)], ids=lambda each: each[0]
)
def test_platform__unknown(home, fake, capsys, arguments):
    """A name that no surface has is told with those that there are, and nothing is sent."""
    code, err = said_by(capsys, *arguments, "--platform", "tikshop")

    assert (2, []) == (code, fake.requests)
    assert "There is no platform 'tikshop'; there are login-kit, login-kit-v1, business," in err


def test_platform__tokens_of_another(home, logged_in, monkeypatch, capsys):
    """A token of another surface is not sent, and the command says how to talk to its own."""
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    logged_in(issuer="https://auth.tiktok-shops.com")

    code, err = said_by(capsys, "token")

    assert code == 2
    assert "https://auth.tiktok-shops.com issued the token" in err
    assert "Pass --platform shop or shop-us; or log in here" in err


def test_platform__option_before_environment(home, logged_in, monkeypatch, capsys):
    """The option counts more than the environment."""
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    monkeypatch.setenv("TIKTOK_OAUTH_PLATFORM", "business")
    _, token = logged_in(issuer="https://auth.tiktok-shops.com")

    assert 0 == main(["token", "--platform", "shop"])
    assert f"{token.access_token}\n" == capsys.readouterr().out


def test_login__needs_a_name_for_the_account(home, fake, capsys):
    """Where no reply names the user, the account's name is asked for before anybody is sent anywhere."""
    redirect_uri = "https://app.example/callback/"
    code, err = said_by(capsys, "login", "--platform", "business-advertiser", "--redirect-uri", redirect_uri)

    assert (2, []) == (code, fake.requests)
    assert "pass --open-id" in err


@pytest.mark.parametrize("name", ["business", "business-advertiser"])
def test_login__https_only(home, fake, capsys, name):
    """No command waits on this machine where no such address can be registered."""
    code, err = said_by(capsys, "login", "--platform", name, "--open-id", "fake")

    assert (2, []) == (code, fake.requests)
    assert "https address only: pass --redirect-uri" in err
