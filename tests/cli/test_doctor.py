"""``doctor``: each mistake is found, and TikTok's error page explained."""

from __future__ import annotations

import socket
import time

import pytest
import requests

from tiktok_oauth_session import TikTokOAuth2Session
from tiktok_oauth_session.cli import doctor
from tiktok_oauth_session.testing import FakePageError


def results(out):
    """What each check found."""
    rows = [line.split("  ") for line in out.splitlines()[1:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {cell[0]: cell[1] for cell in cells}


def test_doctor__all_well(run, logged_in):
    """Everything that can be checked passes: exit code 0, and no secret shown."""
    _, token = logged_in()
    code, out, err = run("doctor")

    assert (0, "") == (code, err)
    assert {
        "redirect URI": "passed",
        "store": "passed",
        "credentials": "passed",
        "key and secret": "passed",
        "clock": "passed",
        "login page": "passed",
    } == results(out)
    assert "a sandbox's key, and a secret of 16 characters" in out
    assert "accounts: 1" in out
    assert [] == [secret for secret in ("sbaw-test-secret", token["access_token"]) if secret in out]


def failing(result):
    """The one check that failed."""
    assert 1 == result.code
    (check,) = [name for name, found in results(result.out).items() if found == "failed"]
    assert f"To be mended: {check}.\n" == result.err
    return check


def test_doctor__wrong_secret(run, monkeypatch):
    """TikTok refuses the key and the secret."""
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", "another")
    result = run("doctor")

    assert "key and secret" == failing(result)
    assert "they may be swapped" in result.out
    assert "gotchas.html#invalid_client" in result.out


def test_doctor__no_credentials(run, monkeypatch):
    """Without a secret, the rest is checked and TikTok is not asked."""
    monkeypatch.delenv("TIKTOK_CLIENT_SECRET")
    result = run("doctor")

    assert "credentials" == failing(result)
    assert "no TIKTOK_CLIENT_SECRET in the environment or in " in result.out
    assert "key and secret" not in results(result.out)


def test_doctor__swapped(run, monkeypatch):
    """The same text twice is no pair."""
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", "sbaw-test-key")

    assert "failed" == results(run("doctor").out)["credentials"]


def test_doctor__redirect_uri_not_registered(run):
    """A redirect URI that the app has not registered is found on TikTok's page, and explained."""
    result = run("doctor", "--redirect-uri", "http://127.0.0.1:8080/another/")

    assert "login page" == failing(result)
    assert "about: redirect_uri. The redirect URI is not registered byte for byte" in result.out


def test_doctor__redirect_uri_against_the_rules(run):
    """One that cannot be registered is found without asking."""
    result = run("doctor", "--redirect-uri", "http://app.example/cb")

    assert "failed" == results(result.out)["redirect URI"]
    assert "http://app.example/cb is not https" in result.out
    assert "gotchas.html#redirect-uris" in result.out


def test_doctor__port_taken(run):
    """A port that somebody else listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("doctor", "--redirect-uri", f"http://127.0.0.1:{port}/callback/")

    assert "port" == failing(result)


@pytest.mark.parametrize(
    ("theirs", "found", "words"),
    [
        ("Fri, 15 Jan 2027 08:01:01 GMT", "failed", "61 s behind TikTok's"),
        ("Fri, 15 Jan 2027 08:01:00 GMT", "passed", "60 s behind TikTok's"),
        ("Fri, 15 Jan 2027 07:59:00 GMT", "passed", "60 s ahead of TikTok's"),
        ("Fri, 15 Jan 2027 07:58:59 GMT", "failed", "61 s ahead of TikTok's"),
        ("yesterday", "unknown", "no reply told the time"),
        (None, "unknown", "no reply told the time"),
    ],
)
def test_doctor__clock(monkeypatch, theirs, found, words):
    """A clock may differ from TikTok's by a minute."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    reply = requests.Response()
    if theirs is not None:
        reply.headers["Date"] = theirs

    assert ("clock", found, words) == doctor._clock_finding([reply])


def test_doctor__no_network(run, server):
    """Without a connection that is what fails."""
    server.stop()
    result = run("doctor")

    assert 1 == result.code
    assert {"key and secret": "failed", "clock": "unknown", "login page": "failed"}.items() <= (
        results(result.out).items()
    )


def test_doctor__store(run, home):
    """A store that cannot be written."""
    (home / "file").write_text("")

    assert "store" == failing(run("doctor", "--store", str(home / "file")))


def test_doctor__no_such_store(run):
    """A store that cannot even be opened is one finding among the others."""
    assert "store" == failing(run("doctor", "--store", "gopher://127.0.0.1/tokens"))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (("client_key=sbaw-test-key", "client_key=other"), "client_key"),
        (("user.info.basic", "not.approved"), "scope"),
        (("callback", "other"), "redirect_uri"),
        (("code_challenge=", "x="), "code_challenge"),
        (("state=", "x=1&state="), "x"),
    ],
)
def test_explain__pages_of_the_fake(run, fake, change, kind):
    """The address of each error page is explained: exit code 0."""
    session = TikTokOAuth2Session("sbaw-test-key", redirect_uri="http://127.0.0.1:1/callback/")
    with pytest.raises(FakePageError) as page:
        fake.authorize(session.authorization_url()[0].replace(*change))
    code, out, err = run("doctor", page.value.url)

    assert (0, "") == (code, err)
    assert f", about: {kind}. " in out
    assert (kind != "x") == out.endswith(f"/gotchas.html#{kind}\n")
    assert "the log id 20" in out


def test_explain__numbers(run):
    """TikTok's number and words are kept."""
    page = (
        "https://www.tiktok.com/v2/auth/authorize?error=access_denied&error_type=non_sandbox_target&errCode=7"
    )

    assert (
        "TikTok says access_denied (7), about: non_sandbox_target. The key is a sandbox's, and this TikTok "
        "account is not one of its target users. See "
        "https://tiktok-oauth-session.readthedocs.io/en/stable/gotchas.html#non_sandbox_target\n"
    ) == run("doctor", page).out


@pytest.mark.parametrize("page", ["", "https://www.tiktok.com/", "nonsense", "?error=access_denied"])
def test_explain__not_a_page(run, page):
    """Any other address: exit code 2, one line."""
    code, out, err = run("doctor", page)

    assert (2, "", 1) == (code, out, len(err.splitlines()))
