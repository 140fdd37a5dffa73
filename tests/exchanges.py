"""How tests ask an OAuth endpoint without a session of ours."""

from __future__ import annotations

import pytest
import requests

from tiktok_oauth_session._http.oauth_request import post
from tiktok_oauth_session._http.transport import Transport

URL = "https://open.tiktokapis.com/v2/oauth/token/"


@pytest.fixture
def http(fake):
    """A plain requests session that reaches the fake."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        yield session


def ask(http, transport=None, *, may_replay=False, **body):
    """Ask for a token of the app itself."""
    body = body or {"data": {"grant_type": "client_credentials", "client_secret": "fake-secret"}}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return post(http, "POST", URL, headers, body, transport or Transport(), may_replay=may_replay)
