"""What the README says of this package beside others, measured: each cell, and the bars."""

from __future__ import annotations

import logging
import re
import runpy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tiktok_oauth_session.testing import FakeTikTok

HERE = Path(__file__).parent
README = (HERE.parent / "README.md").read_text("utf-8")
API = "https://open.tiktokapis.com"
PROFILE = f"{API}/v2/user/info/?fields=open_id"
THREADS = 20
#: Seconds for what takes none.
PATIENCE_S = 20.0
#: How many of the threads ask for a token by themselves: all, one, or none.
ASK = {"requests-oauthlib": THREADS, "Authlib": THREADS, "python-tiktok": 0, "tiktok-oauth-session": 1}


def program(name, token):
    """Return the session of a program of the page about migrations."""
    return runpy.run_path(str(HERE / f"migration/{name}.py"))["tiktok"](token=token)


def authlib_session(token):
    """Return Authlib's session, told TikTok's name of the client."""
    from authlib.integrations.requests_client import OAuth2Session

    session = OAuth2Session(
        "sbaw-test-key",
        "sbaw-test-secret",
        token=token,
        token_endpoint=f"{API}/v2/oauth/token/",
        token_endpoint_auth_method="client_secret_post",
        update_token=lambda token, **_: None,
    )
    session.register_compliance_hook(
        "refresh_token_request", lambda url, headers, body: (url, headers, f"{body}&client_key=sbaw-test-key")
    )
    return session


def python_tiktok(token):
    """Return what calls TikTok by python-tiktok, which knows addresses of its own only."""
    from pytiktok import KitApi

    api = KitApi(
        client_id="sbaw-test-key", client_secret="sbaw-test-secret", access_token=token["access_token"]
    )
    return lambda _: api.get_user_info(token["open_id"])


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The TikTok that every session reaches at every address; files lie in a new folder."""
    tiktok = FakeTikTok(strict=False)
    monkeypatch.setattr("requests.sessions.HTTPAdapter", tiktok.adapter)
    monkeypatch.chdir(tmp_path)
    return tiktok


@pytest.fixture
def make_call(fake):
    """Makes what calls an address with an account's token, by one of the packages."""

    def make(name, *, expires_in):
        token = {**fake.issue_token(), "expires_at": time.time() + expires_in}
        if name == "python-tiktok":
            return python_tiktok(token)
        if name == "Authlib":
            get = authlib_session(token).get
        else:
            before = name == "requests-oauthlib"
            get = program(f"requests_oauthlib_{'before' if before else 'after'}", token).get
        return lambda url: get(url, timeout=PATIENCE_S).raise_for_status()

    return make


def is_answered(call, url=PROFILE):
    """Tell whether a call succeeds."""
    try:
        call(url)
    except Exception:  # noqa: BLE001 - each package raises its own
        return False
    return True


def twenty_threads(fake, make_call, name):
    """Let threads meet an expired token; return the requests for a token, and the calls that failed.

    TikTok answers when all have asked that ever do, as it does where an answer takes some time.
    """
    call = make_call(name, expires_in=-1)
    begin, asked = threading.Barrier(THREADS), threading.Barrier(ASK[name] or 1)
    fake.advance(7200)
    fake.before("refresh", lambda _: asked.wait(PATIENCE_S))

    def one(_):
        begin.wait(PATIENCE_S)
        return is_answered(call)

    with ThreadPoolExecutor(THREADS) as threads:
        answered = list(threads.map(one, range(THREADS)))
    return len(fake.requests_to("refresh")), answered.count(False)


@pytest.mark.parametrize("name", ASK)
def test_figure(fake, make_call, name):
    """The bars, and the numbers beside them, are what happens when twenty threads meet an expired token."""
    requests, failed = twenty_threads(fake, make_call, name)

    (bar,) = re.findall(rf"^{name} .*", README, re.MULTILINE)
    assert f"{name:<22}{'█' * requests:<{THREADS}} {requests:>2}{failed:>16}" == bar


def fate_of_a_refused_call(fake, make_call, name):
    """Tell what becomes of a call whose token TikTok has ended before its time."""
    call = make_call(name, expires_in=7200)
    fake.advance(7200)
    return "succeeds" if is_answered(call) else "fails"


def shown_elsewhere(fake, make_call, name):
    """Tell whether another host is shown the token."""
    call = make_call(name, expires_in=7200)
    is_answered(call, "https://elsewhere.example/")
    (request,) = fake.requests
    return "yes" if "act." in request.headers.get("Authorization", "") else "no"


@pytest.mark.parametrize("name", ASK)
@pytest.mark.parametrize(
    ("row", "measure"),
    [
        ("a call whose token TikTok has ended early", fate_of_a_refused_call),
        ("another host, when called, is shown the token", shown_elsewhere),
    ],
)
def test_table(fake, make_call, name, row, measure):
    """A cell of the table says what happens."""
    assert measure(fake, make_call, name) == cells(row)[name]


@pytest.mark.parametrize("name", [name for name, asking in ASK.items() if asking])
def test_table__logged_secrets(fake, make_call, name, caplog):
    """So does the number of log records of a refresh that hold a secret, at whatever level."""
    call, tokens = make_call(name, expires_in=-1), fake.tokens
    with caplog.at_level(logging.DEBUG):
        call(PROFILE)
    secrets = {each[kind] for each in [*tokens, *fake.tokens] for kind in ("access_token", "refresh_token")}
    said = [record.getMessage() for record in caplog.records]
    telling = [each for each in said if any(secret in each for secret in (*secrets, fake.client_secret))]

    assert 1 == len(fake.requests_to("refresh"))
    assert cells("log records of one refresh that hold a secret")[name] == str(len(telling))


def cells(row):
    """Return the cells of a row of the table, by the heads of their columns."""
    table = README[README.index("| | requests-oauthlib |") :]
    (head,), (found,) = table.splitlines()[:1], re.findall(rf"^\| {row} \|.*$", table, re.MULTILINE)
    heads, values = ([cell.strip() for cell in line.split("|")[2:-1]] for line in (head, found))
    return dict(zip(heads, values, strict=True))
