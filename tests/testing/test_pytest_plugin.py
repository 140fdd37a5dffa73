"""What tests of users see of each other's connections: nothing, with the pytest plugin and without it."""

from __future__ import annotations

import pytest
from pytest_runs import WITHOUT_PLUGIN, run_tests

#: Two tests that begin with the same literal refresh token, expired, and an updater of their own.
TESTS = '''
import pytest
import requests_mock as mocking
from tiktok_oauth_session import ReauthorizationRequired, TikTokOAuth2Session

TOKEN = "https://open.tiktokapis.com/v2/oauth/token/"
REFUSAL = {"error": "invalid_grant", "error_description": "fake", "log_id": "1"}
adapter = mocking.Adapter()


def refreshed(mock, reply):
    """Refresh while TikTok answers so; return what the updater was told and what was sent."""
    mock.register_uri("POST", TOKEN, json=reply)
    told = []
    session = TikTokOAuth2Session(
        "sbaw-test-key",
        client_secret="fake-secret",
        token={"access_token": "act.old", "refresh_token": "rft.old", "expires_at": 1},
        token_updater=told.append,
    )
    if mock is adapter:
        session.mount("https://", adapter)
    try:
        assert session.fresh_token() == told[0]
    except ReauthorizationRequired:
        told.append(None)
    return [token and token["access_token"] for token in told], mock.request_history[-1].text


@pytest.fixture(params=["fixture", "adapter"])
def mock(request):
    """Mock requests in the two ways that requests-mock has."""
    if request.param == "fixture":
        return request.getfixturevalue("requests_mock")
    adapter.reset()
    return adapter


@pytest.mark.parametrize("name", [None, "first", "second", None])
def test_same_literal(mock, name):
    token = {"access_token": name, "refresh_token": f"rft.{name}", "expires_in": 7200}

    told, sent = refreshed(mock, token if name else REFUSAL)

    assert [name] == told
    assert "refresh_token=rft.old" in sent
'''


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), WITHOUT_PLUGIN], ids=["with the plugin", "without"])
def test_requests_mock__same_literal_refresh_token(tmp_path, options):
    """A test with requests-mock sends its refresh, whatever came of the same literal in other tests."""
    path = tmp_path / "test_mocked.py"
    path.write_text(TESTS)

    passed, failed, _, output = run_tests(path, *options)

    assert (8, 0) == (passed, failed), output


#: The same over real HTTP, where a process does remember its connections.
SERVED = """
import pytest
from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session
from tiktok_oauth_session.testing import FakeTikTok, forget_connections


@pytest.fixture(scope="module")
def served():
    fake = FakeTikTok()
    with fake.serve() as server:
        yield fake, LOGIN_KIT.at(server.url)


@pytest.mark.parametrize("number", [1, 2])
def test_same_literal(served, number):
    fake, platform = served
    fake.fail("refresh", "body", body=b'{"access_token": "act.%d", "refresh_token": "rft"}' % number)
    session = TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        token={"access_token": "act.old", "refresh_token": "rft.old", "expires_at": 1},
        token_updater=print,
        platform=platform,
    )
    assert f"act.{number}" == session.fresh_token()["access_token"]
"""
FORGET = """

@pytest.fixture(autouse=True)
def forgotten():
    yield
    forget_connections()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tests", "options", "expected"),
    [(SERVED, (), 2), (SERVED + FORGET, WITHOUT_PLUGIN, 2), (SERVED, WITHOUT_PLUGIN, 1)],
    ids=["plugin", "forget_connections", "neither"],
)
def test_served__same_literal_refresh_token(tmp_path, tests, options, expected):
    """Over real HTTP the plugin keeps tests apart, or `forget_connections` does; without either they meet."""
    path = tmp_path / "test_served.py"
    path.write_text(tests)

    passed, failed, _, output = run_tests(path, *options)

    assert (expected, 2 - expected) == (passed, failed), output
