"""TikTok's surfaces as tests need them: logins, calls, refusals, and replies as they come off the wire."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
import requests

from tiktok_oauth_session import (
    BUSINESS,
    LOGIN_KIT,
    LOGIN_KIT_V1,
    SHOP,
    Platform,
    TikTokOAuth2Session,
    TokenError,
)
from tiktok_oauth_session._oauth.responses import token_fields
from tiktok_oauth_session.compliance import read_reply
from tiktok_oauth_session.shop_signature import ShopSignature
from tiktok_oauth_session.testing import FakeTikTok

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


class Surface(NamedTuple):
    """One of TikTok's surfaces whose tokens are refreshed, and how its users' accounts are called for."""

    platform: Platform
    #: What the fake calls it, and the call below.
    name: str
    endpoint: str
    call: tuple[str, str, dict[str, Any]]
    #: How the fake says that the access token is dead, that the app is refused, that the server has failed.
    dead: dict[str, Any]
    about_app: dict[str, Any]
    server_error: dict[str, Any]

    def session(self, fake: FakeTikTok, **options: Any) -> TikTokOAuth2Session:
        """Return a session of an app on this surface."""
        session = TikTokOAuth2Session(
            fake.client_key,
            client_secret=fake.client_secret,
            **{
                "redirect_uri": CALLBACK,
                "platform": self.platform,
                "scope": "user.info.basic",
                **options,
            },
        )
        if self.platform.api_calls_are_signed:
            session.auth = ShopSignature(fake.client_key, fake.client_secret)
        return session

    def callback(self, fake: FakeTikTok, session: TikTokOAuth2Session) -> str:
        """Play user and browser; return where they come back to."""
        needed = {"service_id": fake.service_id} if self.platform.api_calls_are_signed else {}
        url, _ = session.authorization_url(**needed)
        return fake.authorize(url)

    def ask(self, session: TikTokOAuth2Session) -> requests.Response:
        """Call the API."""
        method, path, content = self.call
        if self.name == "business":
            content = {"params": {"business_id": session.open_id}}
        return session.request(method, path, **content)


#: Those of a kind whose tokens are refreshed.
SURFACES = {
    "login-kit": Surface(
        LOGIN_KIT,
        "v2",
        "user_info",
        ("GET", "/v2/user/info/", {"params": {"fields": "open_id"}}),
        dead={"error": "access_token_invalid", "status": 401},
        about_app={"error": "invalid_client", "status": 200},
        server_error={"error": "server_error", "status": 200},
    ),
    "login-kit-v1": Surface(
        LOGIN_KIT_V1,
        "v1",
        "user_info",
        ("POST", "/user/info/", {"json": {"fields": ["open_id"]}}),
        dead={"code": 2190002},
        about_app={"code": 10013},
        # Its only number of that kind says clearly that nothing was done.
        server_error={"code": 2100004},
    ),
    "business": Surface(
        BUSINESS,
        "business",
        "user_info",
        ("GET", "/business/get/", {}),
        dead={"code": 40105},
        about_app={"code": 40113},
        server_error={"code": 50000},
    ),
    "shop": Surface(
        SHOP,
        "shop",
        "shops",
        ("GET", "/authorization/202309/shops", {}),
        dead={"code": 105002},
        # Its number for that has other causes, too, so that it is one about the request.
        about_app={"code": 36009004},
        server_error={"code": 36009007},
    ),
}
