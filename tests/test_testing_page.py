"""The tests on the page about testing, run as they are printed there."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import vcr
from pytest_runs import WITHOUT_PLUGIN, run_tests

from tiktok_oauth_session import LOGIN_KIT, LOGIN_KIT_V1, TikTokOAuth2Session

PAGE = Path(__file__).parents[1] / "docs/testing.md"


def block(heading, number=0):
    """Return a block of Python code below a heading of the page."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[number]


@pytest.fixture
def write(tmp_path):
    """Writes a block of the page into a file."""

    def write_block(*where):
        path = tmp_path / "test_page.py"
        path.write_text(block(*where))
        return path

    return write_block


FIVE = ["test_log_in", "test_call", "test_expired", "test_401", "test_revoke"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), WITHOUT_PLUGIN], ids=["with the plugin", "without"])
@pytest.mark.parametrize("order", [FIVE, FIVE[::-1]], ids=["as printed", "the other way round"])
def test_requests_mock(write, options, order):
    """The five tests pass in any order, though all of them use the same literal refresh token."""
    path = write("requests-mock")

    passed, failed, names, output = run_tests(path, *options, *(f"{path}::{name}" for name in order))

    assert (5, 0, order) == (passed, failed, names), output


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["without a socket", "over HTTP"])
def test_fake(write, number):
    """The tests with the fixtures of the package's plugin pass."""
    passed, failed, _, output = run_tests(write("The fake TikTok", number))

    assert (1, 0) == (passed, failed), output


@pytest.mark.slow
def test_cassette__recorded_and_played(write, fake):
    """A cassette is recorded with an account, holds no secret, and is played without account and network."""
    path, token = write("Cassettes"), fake.issue_token()
    with fake.serve() as server:
        play = {**os.environ, "TIKTOK_API": server.url}
        record = {
            **play,
            "TIKTOK_CLIENT_KEY": fake.client_key,
            "TIKTOK_CLIENT_SECRET": fake.client_secret,
            "TIKTOK_REFRESH_TOKEN": token["refresh_token"],
        }
        recorded = run_tests(path, env=record)
    played = run_tests(path, env=play)
    cassette = (path.parent / "cassettes/profile.yaml").read_text()

    assert (1, 0) == recorded[:2], recorded[-1]
    assert (1, 0) == played[:2], played[-1]
    assert ["refresh", "user_info"] == [each.endpoint for each in fake.requests]
    assert 2 == cassette.count("- request:")
    assert [] == [secret for secret in secrets_of(fake, token) if secret in cassette]


def secrets_of(fake, *tokens):
    """Return every secret that was sent or told, as it is and as a URL and JSON spell it."""
    names = ("access_token", "refresh_token", "client_secret", "code", "code_verifier", "token")
    told = [dict(each) for each in (*tokens, *fake.tokens)]
    sent = [each.parameters for each in fake.requests]
    found = {str(each[name]) for each in (*told, *sent) for name in names if each.get(name)}
    found |= {
        each.headers["Authorization"].partition(" ")[2]
        for each in fake.requests
        if "Authorization" in each.headers
    }
    return found | {quote(each, safe="") for each in found} | {json.dumps(each)[1:-1] for each in found}


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """The recorder of the page, whose cassettes lie in a directory of this test."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    exec(compile(block("Cassettes"), PAGE.name, "exec"), names)  # noqa: S102 - our own documentation
    return names["recorder"]


def live(session, fake, api):
    """Log in, call, refresh and revoke; return the tokens that there were."""
    url, _ = session.authorization_url()
    tokens = session.fetch_token(authorization_response=fake.authorize(url)), session.refresh_token()
    if session.platform.name == LOGIN_KIT.name:
        assert 200 == session.get(f"{api}/v2/user/info/?fields=open_id").status_code
    else:
        assert 200 == session.post(f"{api}/user/info/", json={"fields": ["open_id"]}).status_code
    session.revoke_token()
    return tokens


@pytest.mark.parametrize("platform", [LOGIN_KIT, LOGIN_KIT_V1], ids=["v2", "v1"])
def test_cassette__no_secret(recorder, fake, tmp_path, platform):
    """Nor does one with a login, a refresh and a revocation hold any, on either surface."""
    with fake.serve() as server, recorder.use_cassette("life.yaml"):
        session = TikTokOAuth2Session(
            fake.client_key,
            client_secret=fake.client_secret,
            redirect_uri="http://127.0.0.1:3455/callback/",
            token_updater=lambda token: None,
            platform=platform.at(server.url),
        )
        tokens = live(session, fake, server.url)
    cassette = (tmp_path / "cassettes/life.yaml").read_text()

    sent = [each for each in fake.requests if each.endpoint != "authorize"]
    assert ["token", "refresh", "user_info", "revoke"] == [each.endpoint for each in sent]
    assert len(sent) == cassette.count("- request:")
    assert [] == [secret for secret in secrets_of(fake, *tokens) if secret in cassette]


def test_cassette__compressed_reply(recorder, fake, tmp_path):
    """A compressed reply is searched for tokens as well."""
    reply = gzip.compress(json.dumps(fake.issue_token()).encode())
    fake.fail("refresh", "body", body=reply, headers={"Content-Encoding": "gzip"})
    token = fake.issue_token()
    with fake.serve() as server, recorder.use_cassette("compressed.yaml"):
        session = TikTokOAuth2Session(
            fake.client_key,
            client_secret=fake.client_secret,
            token=token,
            token_updater=lambda token: None,
            platform=LOGIN_KIT.at(server.url),
        )
        new = session.refresh_token()
    cassette = (tmp_path / "cassettes/compressed.yaml").read_text()

    assert token["refresh_token"] != new["refresh_token"]
    assert 2 == len(re.findall(r'_token\\?": ?\\?"filtered', cassette)), "in the reply"
    assert [] == [secret for secret in secrets_of(fake, new) if secret in cassette]


def test_cassette__the_search_finds_secrets(recorder, fake, tmp_path):
    """The search is no sham: a recorder that filters nothing is caught by it."""
    with fake.serve() as server, vcr.use_cassette(str(tmp_path / "plain.yaml")):
        form = {"grant_type": "refresh_token", "refresh_token": "rft.fake", "client_secret": "fake-secret"}
        requests.post(f"{server.url}/v2/oauth/token/", form, timeout=10)

    cassette = (tmp_path / "plain.yaml").read_text()
    assert {"rft.fake", "fake-secret"} <= {secret for secret in secrets_of(fake) if secret in cassette}
