"""The threat model's page: every test that it names is there; and those that are nowhere else."""

from __future__ import annotations

import ast
import functools
import http.server
import re
import ssl
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from oauthlib.oauth2 import LegacyApplicationClient
from servers import require_module

from tiktok_oauth_session import LOGIN_KIT, AuthorizationError, NoReply, StateMismatch, TokenError

TOP = Path(__file__).parents[1]
PAGE = (TOP / "docs/security.md").read_text()
ROWS = {int(row.split("|")[1]): row for row in PAGE.splitlines() if re.match(r"\| \d+ \|", row)}
DESKTOP = "http://127.0.0.1:3455/callback/"


# --- the page --------------------------------------------------------------------------------------


def named_tests(text):
    """Return the tests that a text names."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


@functools.cache
def names_in(path):
    """Return the names of the tests in a file."""
    there = ast.parse((TOP / path).read_text()) if (TOP / path).exists() else ast.Module([])
    return {node.name for node in ast.walk(there) if isinstance(node, ast.FunctionDef)}


def test_page__has_every_row():
    """All 24 requirements are there, each with what is done about it and a test at least."""
    assert list(range(1, 25)) == list(ROWS)
    for row in ROWS.values():
        _, _, requirement, source, here, tests, _ = row.split("|")
        assert requirement.strip()
        assert source.strip()
        assert here.strip()
        assert named_tests(tests)


@pytest.mark.parametrize(("path", "name"), sorted(set(named_tests(PAGE))))
def test_page__names_tests_that_are_there(path, name):
    """Whoever renames or removes a test is told that the threat model relies on it."""
    assert name in names_in(path)


def test_page__all_of_its_references_are_read():
    """No test is named in a way that the look for it does not see."""
    assert PAGE.count(".py::") == len(named_tests(PAGE))


# --- what no other test shows ----------------------------------------------------------------------


def test_state__spent_by_a_refusal(fake, make_session):
    """A state that came back with a refusal is good for nothing more."""
    session = make_session()
    url, _ = session.authorization_url()
    good = fake.authorize(url)
    with pytest.raises(AuthorizationError):
        session.fetch_token(authorization_response=fake.authorize(url, deny=True))

    with pytest.raises(StateMismatch):
        session.fetch_token(authorization_response=good)

    assert [] == fake.requests_to("token")


def test_callback__names_another_server(fake, make_session):
    """Whatever a callback says of issuers and endpoints, the code goes to the platform's."""
    session = make_session()
    url, _ = session.authorization_url()
    more = "&iss=https%3A%2F%2Fevil.example&token_endpoint=https%3A%2F%2Fevil.example%2Ftoken"

    session.fetch_token(authorization_response=fake.authorize(url) + more)

    (record,) = fake.requests_to("token")
    assert LOGIN_KIT.token_endpoint == record.url
    assert [] == [each.url for each in fake.requests if "evil" in each.url]


def test_access_token__in_no_url(fake, make_session, log_in):
    """On v2 no URL of a whole life holds a token, wherever oauthlib's client is told to put it."""
    session = make_session()
    tokens = [log_in(session)]
    session._client.default_token_placement = "query"
    session.get("https://open.tiktokapis.com/v2/user/info/?fields=open_id")
    tokens.append(session.refresh_token())
    url, headers, _ = session._client.add_token(
        "https://open.tiktokapis.com/v2/user/info/", token_placement="query"
    )
    session.revoke_token()

    urls = [url, *(record.url for record in fake.requests)]
    secrets = [token[name] for token in tokens for name in ("access_token", "refresh_token")]
    assert [] == [each for each in urls if any(secret in each for secret in secrets)]
    assert f"Bearer {tokens[1]['access_token']}" == headers["Authorization"]


def test_callback_page__redirects_nobody():
    """The command line's page answers a callback, a stray and what names another page without a redirect."""
    from tiktok_oauth_session.cli.login.callback_server import CallbackServer

    with requests.Session() as browser:
        browser.trust_env = False
        with CallbackServer() as server:
            for query in (
                "next=https://evil.example/",
                "code=c&state=wrong&redirect_uri=https://evil.example/",
            ):
                page = browser.get(f"{server.redirect_uri}?{query}", allow_redirects=False)
                assert 400 == page.status_code
                assert "Location" not in page.headers
                assert "evil" not in page.text


def test_redirect_uri__by_default():
    """The command line's redirect URI has an IP literal and a port that was free."""
    from tiktok_oauth_session.cli.login.callback_server import CallbackServer

    with CallbackServer() as one, CallbackServer() as other:
        first, second = (urlsplit(each.redirect_uri) for each in (one, other))

    assert ("http", "127.0.0.1", "/callback/") == (first.scheme, first.hostname, first.path)
    assert 0 < first.port != second.port


class Silent(http.server.BaseHTTPRequestHandler):
    """Keeps what was asked for."""

    def do_GET(self):
        self.server.received.append(self.path)

    def do_POST(self):
        self.server.received.append(self.path)


@pytest.fixture
def of_nobody(tmp_path):
    """A server on this machine whose certificate nobody vouches for."""
    require_module("cryptography")
    from certificates import certificate

    made = certificate(tmp_path / "tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / "cert.pem", made / "key.pem")
    with http.server.HTTPServer(("127.0.0.1", 0), Silent) as server:
        server.received = []
        server.handle_error = lambda *_: None
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["", "OAUTHLIB_INSECURE_TRANSPORT"])
def test_certificate__of_nobody(of_nobody, make_session, issue, monkeypatch, variable):
    """A server that cannot prove who it is gets neither a token, nor a code, nor the secret."""
    if variable:
        monkeypatch.setenv(variable, "1")
    base = f"https://127.0.0.1:{of_nobody.server_port}"
    session = make_session(token=issue(), platform=LOGIN_KIT.at(base), token_timeout=5)
    session.mount("https://", requests.adapters.HTTPAdapter())
    _, state = session.authorization_url()
    callback = f"https://app.example/callback/?code=fake-code&state={state}"

    with pytest.raises(NoReply) as caught:
        session.refresh_token()
    with pytest.raises(NoReply):
        session.fetch_token(authorization_response=callback)
    with pytest.raises(requests.exceptions.SSLError):
        session.get(f"{base}/v2/user/info/")

    assert not caught.value.sent
    assert [] == of_nobody.received


def test_password__is_not_sent(fake, make_session):
    """A user's password goes to nobody, whatever client of oauthlib's is used."""
    session = make_session(client=LegacyApplicationClient(fake.client_key))

    with pytest.raises(TokenError):
        session.fetch_token(username="fake-user", password="fake-password")

    (record,) = fake.requests
    assert {"client_key", "client_secret", "grant_type", "redirect_uri"} == set(record.form)
    assert "fake-password" not in f"{record.url}{record.headers}{record.sent}"
