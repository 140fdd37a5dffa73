"""Replies as they come off the wire, and what logins of every surface begin with."""

from __future__ import annotations

import json

import pytest
import requests

from tiktok_oauth_session import TokenError
from tiktok_oauth_session._oauth.responses import token_fields
from tiktok_oauth_session.compliance import read_reply

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
LOG_ID = "202206221854370101130062072500FFA2"

CALLBACK = "https://app.example/callback/"
DESKTOP = "http://127.0.0.1:3455/callback/"
#: From the unit tests of TikTok's Android SDK.
VERIFIER = "gaeCq5mVvbhA8Ce6w5O9XBVIKMkySgv-_9A-rnhm9Ns"
CHALLENGE = "e6a178b120743d08509508f269652b0bdf91e29332921bc9e9744fd3dd41bfef"


def reply(body, status=200, content_type="application/json"):
    """A reply as it comes off the wire."""
    response = requests.Response()
    response.status_code = status
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    if content_type:
        response.headers["Content-Type"] = content_type
        response.encoding = requests.utils.get_encoding_from_headers(response.headers)
    return response


def refusal(platform, body, status=200):
    """What a token reply raises."""
    with pytest.raises(TokenError) as caught:
        token_fields(read_reply(platform, reply(body, status)))
    return caught.value
