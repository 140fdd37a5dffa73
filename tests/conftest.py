"""What tests of sessions begin with: a fake TikTok, sessions that talk to it, a clock that stands still."""

from __future__ import annotations

import signal
import time

import pytest
from network_like import NetworkLike

from tiktok_oauth_session import TikTokOAuth2Session, TikTokToken
from tiktok_oauth_session.testing import FakeTikTok

# In this order: the last imports from the one before.
pytest_plugins = ["exchanges", "servers", "redis_server", "chromium"]

# What is started in the background ignores Ctrl-C, and so would every command that tests press it for.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Our own requests have nothing in them that is not documented.
FakeTikTok.__init__.__kwdefaults__["strict"] = True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A test that needs a database server is a slow one."""
    for item in items:
        params = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if {"mariadb", "postgresql"}.intersection([*item.fixturenames, *map(str, params)]):
            item.add_marker("slow")


CALLBACK = "https://app.example/callback/"
SCOPES = ("user.info.basic", "video.list")


class Clock:
    """A clock that moves when it is told to (Unix time, seconds)."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """The clock of everything: of the session, of oauthlib and of the fake TikTok."""
    frozen = Clock(1_800_000_000.0)
    monkeypatch.setattr(time, "time", frozen)
    return frozen


@pytest.fixture(autouse=True)
def impatient_callers(monkeypatch):
    """Let nobody wait for a store that was broken on purpose."""
    monkeypatch.setattr("tiktok_oauth_session._connection.single_flight.SAVE_PATIENCE_S", 0.0)


@pytest.fixture
def fake():
    """A TikTok without a socket."""
    return FakeTikTok()


@pytest.fixture
def make_session(fake):
    """Makes sessions that reach the fake at every URL."""
    made = []

    def make(*, as_if_network=False, **options):
        options = {
            "client_secret": fake.client_secret,
            "redirect_uri": CALLBACK,
            "scope": SCOPES,
            "token_updater": lambda token: None,
            **options,
        }
        session = TikTokOAuth2Session(fake.client_key, **options)
        adapter = NetworkLike(fake.adapter()) if as_if_network else fake.adapter()
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


@pytest.fixture
def issue(fake):
    """Issues tokens as the session would keep them, with absolute expiry times."""

    def make(**options):
        return TikTokToken.from_reply(fake.issue_token(**options), requested_at=time.time())

    return make


@pytest.fixture
def log_in(fake):
    """Plays user and browser for a session, and returns the token."""

    def play(session, **choices):
        url, _ = session.authorization_url()
        return session.fetch_token(authorization_response=fake.authorize(url, **choices))

    return play
