"""``--platform``: which surface of TikTok a command talks to."""

from __future__ import annotations

import os
import shlex

import pytest
from pages import blocks

from tiktok_oauth_session import SHOP
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
    logged_in(issuer=SHOP.issuer)

    code, err = said_by(capsys, "token")

    assert code == 2
    assert f"{SHOP.issuer} issued the token" in err
    assert "Pass --platform shop or shop-us; or log in here" in err


def test_platform__tokens_of_another_on_one_address(home, fake, server, logged_in, run):
    """On an address that has every surface, too, a token goes to none but its own."""
    _, token = logged_in(issuer=SHOP.at(server.url).issuer, ends_in=-1)

    for command in ("token", "refresh", "revoke"):
        assert "Pass --platform shop or shop-us; or log in here" in run(command, code=2)
    assert "was issued by" in run("keep-alive", "--access-within", "60", code=1)
    assert [] == fake.requests
    assert fake.is_alive(token["refresh_token"])


def test_platform__option_before_environment(home, logged_in, monkeypatch, capsys):
    """The option counts more than the environment."""
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    monkeypatch.setenv("TIKTOK_OAUTH_PLATFORM", "business")
    _, token = logged_in(issuer=SHOP.issuer)

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
    assert "comes back to a public https address only" in err


# --- from the login to the end ----------------------------------------------------------------------


class Browser:
    """A user who opens the page and pastes the address that the browser lands on."""

    def __init__(self, fake):
        self.fake, self.pages = fake, []

    def show(self, url, *, browser):
        """Be shown the page."""
        self.pages.append(url)

    def isatty(self):
        """Tell that somebody sits there."""
        return False

    def readline(self):
        """Consent, and paste."""
        return self.fake.authorize(self.pages[-1]) + "\n"


@pytest.fixture
def browser(fake, monkeypatch):
    """Somebody who logs in."""
    browser = Browser(fake)
    monkeypatch.setattr("tiktok_oauth_session.cli.login.consent_page.show", browser.show)
    monkeypatch.setattr("sys.stdin", browser)
    return browser


@pytest.fixture
def run(capsys):
    """Runs a command in this process; returns what it printed, or why it could not do it."""

    def command(*arguments, code=0):
        capsys.readouterr()
        ended, said = main(arguments), capsys.readouterr()
        assert code == ended, said.err
        return said.err if code else said.out

    return command


REDIRECT_URI = ("--redirect-uri", "https://app.example/callback/")


def test_business(home, fake, browser, run, monkeypatch):
    """An account holder logs in, is called for, refreshed and revoked."""
    monkeypatch.setenv("TIKTOK_OAUTH_PLATFORM", "business")
    open_id = fake.users[0].open_id

    assert f"Logged in: {open_id}" in run("login", *REDIRECT_URI, "--scope", "user.info.basic")
    assert open_id in run("status")
    assert '"display_name": "Fake User"' in run("api", "business/get", "-f", f"business_id={open_id}")
    assert fake.is_alive(run("token").strip())
    run("refresh")
    assert "1 due" in run("keep-alive", "--access-within", "7300")
    run("revoke")
    assert [] == fake.tokens
    assert {"business"} == {each.surface for each in fake.requests if each.endpoint != "authorize"}


def test_advertiser(home, fake, browser, run, monkeypatch):
    """An advertiser logs in under a name that was chosen here, is called for and revoked."""
    monkeypatch.setenv("TIKTOK_OAUTH_PLATFORM", "business-advertiser")

    assert "Logged in: agency-7" in run("login", *REDIRECT_URI, "--open-id", "agency-7")
    assert "agency-7" in run("status")
    token = run("token").strip()
    assert fake.is_alive(token)
    assert "no refresh token" in run("refresh", code=3)
    run("revoke")
    assert not fake.is_alive(token)


def test_shop(home, server, fake, browser, run, monkeypatch):
    """A seller logs in by the portal's link and is called for with signatures; nothing revokes."""
    monkeypatch.setenv("TIKTOK_OAUTH_PLATFORM", "shop")
    page = f"{server.url}/open/authorize?service_id={fake.service_id}"

    assert f"Logged in: {fake.users[0].open_id}" in run("login", "--page", page)
    assert '"shops"' in run("api", "authorization/202309/shops")
    assert "sign" in fake.requests_to("shops")[0].query
    run("refresh")
    assert "logout" in run("revoke", code=1)
    run("logout")
    assert {"shop"} == {each.surface for each in fake.requests}


@pytest.mark.parametrize("name", ["business", "business-advertiser", "shop"])
def test_qr(home, fake, run, name):
    """A surface without a login by QR code says so."""
    arguments = ("login", "--qr", "--platform", name, "--open-id", "fake")

    assert "QR code" in run(*arguments, code=2)


@pytest.mark.parametrize(
    ("name", "option"), [("business", "--page or --scope"), ("shop", "--page.")], ids=["business", "shop"]
)
def test_login__page_needs_more(home, fake, run, name, option):
    """What the page needs and nobody has said is asked for before anybody is sent there."""
    assert f"of your app: pass {option}" in run("login", "--platform", name, *REDIRECT_URI, code=2)
    assert [] == fake.requests


@pytest.mark.parametrize("name", ["business", "business-advertiser", "shop"])
def test_doctor(home, fake, run, monkeypatch, name):
    """The doctor says of a surface that issues no token to apps that it cannot tell."""
    monkeypatch.setenv("TIKTOK_REDIRECT_URI", "https://app.example/callback/")

    assert "issues no token to an app" in run("doctor", "--platform", name)


def lines_of(page, **named):
    """Return the commands of a page's blocks, with what the page leaves to the reader filled in."""
    lines = "".join(blocks(page, "sh")).splitlines()
    for name, value in named.items():
        lines = [line.replace(name, value) for line in lines]
    return [shlex.split(os.path.expandvars(line))[1:] for line in lines]


def test_page__business(home, fake, browser, run):
    """Every line of the page works, one after the other."""
    said = [run(*line) for line in lines_of("docs/business.md", OPEN_ID=fake.users[0].open_id)]

    assert f"Logged in: {fake.users[0].open_id}" in said[0]
    assert "Logged in: agency-7" in said[1]
    assert '"display_name": "Fake User"' in said[2]
    assert "0 due" in said[3]


def test_page__shop(home, server, fake, browser, run):
    """Every line of the page works, with the fake's page in the place of TikTok's."""
    first, *others, at_the_fake = lines_of("docs/shop.md", SERVICE_ID=fake.service_id)
    assert first[-1].endswith(at_the_fake[-1].removeprefix(server.url)), "but for the address it is the same"
    said = [run(*line) for line in (at_the_fake, *others)]

    assert f"Logged in: {fake.users[0].open_id}" in said[0]
    assert '"shops"' in said[1]
    assert {"shop"} == {each.surface for each in fake.requests}
