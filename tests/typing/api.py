"""The public API as a type checker sees it. Checked by `mypy --strict`, never executed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import requests
from oauthlib.oauth2 import OAuth2Error
from requests_oauthlib import OAuth2Session
from typing_extensions import assert_type  # in typing from Python 3.11 on

from tiktok_oauth_session import (
    LOGIN_KIT,
    LOGIN_KIT_V1,
    AccountKey,
    APIError,
    AuthorizationError,
    FileStore,
    MemoryStore,
    Platform,
    ReauthorizationRequired,
    RevocationError,
    StoreError,
    TikTokOAuth2Session,
    TikTokOAuthError,
    TikTokToken,
    TokenError,
    TokenNotSaved,
    TokenStore,
    revoke_token,
    tiktok_compliance_fix,
    unwrap,
)


class URLOfAFramework:
    """What a callback may be, too: `str` makes a URL of it."""


def updater(token: TikTokToken) -> None:
    """What a token_updater looks like."""
    assert_type(token.refresh_token, str | None)


# --- sessions

session = TikTokOAuth2Session("fake-key")
TikTokOAuth2Session(client_id="fake-key", scope="user.info.basic,video.list")
TikTokOAuth2Session(
    "fake-key",
    client_secret="fake-secret",
    scope=("user.info.basic", "video.list"),
    redirect_uri="http://127.0.0.1:3455/callback/",
    token={"access_token": "act.fake"},
    token_updater=updater,
    store=MemoryStore(),
    open_id="fake-id",
    platform=LOGIN_KIT_V1,
    pkce="S256",
    api_hosts=["proxy.example"],
    token_timeout=(5.0, 20.0),
    auto_refresh_url="https://proxy.example/v2/oauth/token/",
)
TikTokOAuth2Session("fake-key", token_updater=print, token_timeout=10.0, api_hosts="*")
parent: OAuth2Session = session
http: requests.Session = session

assert_type(session.authorization_url(), tuple[str, str])
assert_type(session.authorization_url(state="fake-state", disable_auto_auth=1), tuple[str, str])
assert_type(
    session.fetch_token(authorization_response="https://app.example/callback/?code=fake"), TikTokToken
)
assert_type(
    session.fetch_token(authorization_response=URLOfAFramework(), state="fake-state", code_verifier="fake"),
    TikTokToken,
)
assert_type(session.fetch_token(code="fake-code"), TikTokToken)
assert_type(session.fetch_client_token(), TikTokToken)
assert_type(session.refresh_token(), TikTokToken)
assert_type(session.fresh_token(refused="act.fake"), TikTokToken)
assert_type(session.refresh_token(refresh_token="rft.fake", timeout=5), TikTokToken)
assert_type(session.open_id, str | None)
assert_type(session.granted_scopes, list[str])
assert_type(session.missing_scopes, list[str])
assert_type(session.authorized, bool)
assert_type(session.code_verifier, str | None)
assert_type(session.token, TikTokToken)
session.revoke_token()

response = session.get("https://open.tiktokapis.com/v2/user/info/", params={"fields": "open_id"}, timeout=5)
assert_type(response, requests.Response)
assert_type(
    session.post("https://open.tiktokapis.com/v2/video/list/", json={"max_count": 1}), requests.Response
)
assert_type(session.get("/v2/user/info/"), requests.Response)
assert_type(session.request("GET", "https://a.example/", withhold_token=True), requests.Response)
assert_type(unwrap(response), Any)

assert_type(tiktok_compliance_fix(OAuth2Session("fake-key")), OAuth2Session)
assert_type(tiktok_compliance_fix(session, platform=LOGIN_KIT_V1, client_secret="fake"), TikTokOAuth2Session)

revoke_token("act.fake", client_key="fake-key", client_secret="fake-secret")
revoke_token(session.token, open_id="fake-id", platform=LOGIN_KIT_V1, token_timeout=10)

# --- platforms and tokens

assert_type(LOGIN_KIT.at("http://127.0.0.1:8080"), Platform)
assert_type(LOGIN_KIT.at("http://fake-tiktok:9400", insecure=True), Platform)
assert_type(LOGIN_KIT.api_base, str | None)
assert_type(LOGIN_KIT.token_endpoint, str)
assert_type(LOGIN_KIT.revocation_endpoint, str | None)

token = TikTokToken({"access_token": "act.fake"}, scope="video.list")
plain: dict[str, Any] = token
assert_type(token.access_token, str | None)
assert_type(token.scopes, list[str])
assert_type(token.expires_at, float | None)

key = AccountKey("fake-key", "fake-id")
assert_type(key.open_id, str)
client_key, open_id = key
assert_type(client_key, str)

# --- stores


class Mine(TokenStore):
    """A store of one's own keeps these promises."""

    def load(self, key: AccountKey) -> TikTokToken | None:
        raise NotImplementedError

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        raise NotImplementedError

    def delete(self, key: AccountKey) -> None:
        raise NotImplementedError

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        raise NotImplementedError

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        raise NotImplementedError

    def expiring(self, before: float) -> Iterator[AccountKey]:
        raise NotImplementedError


stores: list[TokenStore] = [MemoryStore(), FileStore("~/.tokens"), Mine()]
for store in stores:
    with store.lock(key):
        assert_type(store.load(key), TikTokToken | None)
        store.save(key, token, replacing="rft.fake")
    with store.try_lock(key) as held:
        assert_type(held, bool)
    assert_type(next(store.keys()), AccountKey)
    assert_type(next(store.expiring(0.0)), AccountKey)
    store.delete(key)

# --- errors

try:
    session.refresh_token()
except ReauthorizationRequired as error:
    assert_type(error.error, str)
except TokenNotSaved as error:
    assert_type(error.token, TikTokToken | None)
except (AuthorizationError, TokenError, RevocationError) as error:
    oauth_error: OAuth2Error = error
    ours: TikTokOAuthError = error
except (APIError, StoreError) as error:
    assert_type(error.description, str)
    assert_type(error.log_id, str | None)
    assert_type(error.error_code, int | None)
    assert_type(error.response, requests.Response | None)
