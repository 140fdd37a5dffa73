"""Sessions of the packages that are compared, each set up as its own documentation says."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from requests.adapters import BaseAdapter
from requests_oauthlib import OAuth2Session

from benchmarks.results import OURS
from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session

API = "https://open.tiktokapis.com"
PATH = "/v2/user/info/?fields=open_id"
CLIENT_KEY, CLIENT_SECRET = "benchmark-key", "benchmark-secret"
#: Seconds that a new access token lives, and a refresh token.
LIFETIME_S, REFRESH_LIFETIME_S = 7200, 365 * 86_400


def issued(user: str, number: int = 0) -> dict[str, Any]:
    """Return TikTok's reply with a user's token."""
    return {
        "access_token": f"act.{user}.{number}",
        "refresh_token": f"rft.{user}.{number}",
        "open_id": user,
        "scope": "user.info.basic",
        "token_type": "Bearer",
        "expires_in": LIFETIME_S,
        "refresh_expires_in": REFRESH_LIFETIME_S,
    }


def token(user: str = "user", *, left_s: float = LIFETIME_S) -> dict[str, Any]:
    """Return a user's first token, which lives for so many seconds more."""
    now = time.time()
    return {**issued(user), "expires_at": now + left_s, "refresh_expires_at": now + REFRESH_LIFETIME_S}


class Instant(BaseAdapter):
    """Answers at once, so that only the client's own work is measured."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Return an empty envelope, or a new token."""
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, str(request.url)
        body = b'{"data": {}}'
        if response.url.endswith("/oauth/token/"):
            self._number += 1
            body = json.dumps(issued("user", self._number)).encode()
        response._content = body  # noqa: SLF001 - a response without a socket
        response.headers["Content-Type"] = "application/json"
        return response

    def close(self) -> None:
        """Do nothing."""


def bare(held: Mapping[str, Any], *_: Any) -> requests.Session:
    """Return requests' own session with the token as a header that never changes: the limit."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {held['access_token']}"
    return session


def _keep_nowhere(*_: Any, **__: Any) -> None:
    pass


def oauthlib(held: Mapping[str, Any], base: str = API, **_: Any) -> requests.Session:
    """Return requests-oauthlib's, which refreshes."""
    if base != API:
        # It refuses plain http else.
        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    return OAuth2Session(
        CLIENT_KEY,
        token=dict(held),
        auto_refresh_url=f"{base}/v2/oauth/token/",
        auto_refresh_kwargs={"client_key": CLIENT_KEY, "client_secret": CLIENT_SECRET},
        token_updater=_keep_nowhere,
    )


def authlib(held: Mapping[str, Any], base: str = API, **_: Any) -> requests.Session:
    """Return Authlib's, which refreshes."""
    session: requests.Session = AuthlibSession(
        CLIENT_KEY,
        CLIENT_SECRET,
        token=dict(held),
        token_endpoint=f"{base}/v2/oauth/token/",
        token_endpoint_auth_method="client_secret_post",
        update_token=_keep_nowhere,
    )
    return session


def ours(held: Mapping[str, Any] | None, base: str = API, **options: Any) -> TikTokOAuth2Session:
    """Return ours; with a store where there is one among the options."""
    platform = LOGIN_KIT if base == API else LOGIN_KIT.at(base)
    return TikTokOAuth2Session(
        CLIENT_KEY, client_secret=CLIENT_SECRET, token=held, platform=platform, **options
    )


MAKERS: dict[str, Callable[..., requests.Session]] = {
    "requests": bare,
    "requests-oauthlib": oauthlib,
    "Authlib": authlib,
    OURS: ours,
}
