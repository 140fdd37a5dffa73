"""TikTok's other OAuth surfaces as values, and replies as they come off the wire."""

from __future__ import annotations

import json

import pytest
import requests

from tiktok_oauth_session import Platform, TokenError
from tiktok_oauth_session._oauth.responses import token_fields
from tiktok_oauth_session.compliance import read_reply

SHOP = Platform(
    name="TikTok Shop",
    authorization_endpoint="https://services.tiktokshop.com/open/authorize",
    token_endpoint="https://auth.tiktok-shops.com/api/v2/token/get",
    authorization_parameters={"client_id": "service_id", "state": "state"},
    token_parameters={
        "client_id": "app_key",
        "client_secret": "app_secret",
        "code": "auth_code",
        "grant_type": "grant_type",
    },
    grant_types={"authorization_code": "authorized_code"},
    token_method="GET",
    parameter_placement="query",
    reply_names={
        "access_token_expire_in": "expires_at",
        "refresh_token_expire_in": "refresh_expires_at",
        "granted_scopes": "scope",
    },
    error_codes={36004004: "invalid_grant", 36004005: "invalid_grant"},
)
BUSINESS = Platform(
    name="TikTok for Business",
    authorization_endpoint="https://www.tiktok.com/v2/auth/authorize",
    token_endpoint="https://business-api.tiktok.com/open_api/v1.3/tt_user/oauth2/token/",
    token_parameters={
        "client_id": "client_id",
        "client_secret": "client_secret",
        "grant_type": "grant_type",
        "code": "auth_code",
        "redirect_uri": "redirect_uri",
    },
    parameter_placement="json",
    access_token_header="Access-Token",
    access_token_prefix="",
    reply_names={"refresh_token_expires_in": "refresh_expires_in"},
    error_codes={40103: "invalid_grant", 40107: "invalid_grant", 40110: "invalid_grant"},
    invalid_token_codes=(40102, 40104, 40105),
    api_errors_by_status=False,
)
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
