"""Revoking a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from tiktok_oauth_session._http.oauth_request import NoReply, post
from tiktok_oauth_session._http.redaction import secrets_in
from tiktok_oauth_session._http.transport import TOKEN_TIMEOUT_S, Transport
from tiktok_oauth_session._oauth.responses import checked, read_reply
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.compliance import TikTokClient
from tiktok_oauth_session.errors import RevocationError
from tiktok_oauth_session.platforms import LOGIN_KIT, Platform


def require_revocable(platform: Platform) -> str:
    """Return the endpoint that revokes.

    Raises:
        RevocationError: This surface has none.
    """
    if platform.revocation_endpoint is None:
        raise RevocationError(
            f"{platform.name} has no endpoint that revokes: the user removes the app at TikTok, and you "
            "delete the account from the store."
        )
    return platform.revocation_endpoint


def revoke(
    session: requests.Session,
    platform: Platform,
    *,
    client_key: str | None,
    client_secret: str | None,
    token: str,
    open_id: str | None,
    transport: Transport,
) -> None:
    """Revoke an access token at TikTok.

    Raises:
        RevocationError: TikTok did not revoke it, or nobody knows whether it did.
    """
    endpoint = require_revocable(platform)
    client = TikTokClient(client_key, platform=platform)
    url, headers, parameters = client.prepare_token_revocation_request(
        endpoint, token, client_secret=client_secret, open_id=open_id
    )
    request = {platform.parameters_keyword: parameters}
    if "data" not in request:
        del headers["Content-Type"]
    try:
        response = post(session, "POST", url, headers, request, transport)
    except NoReply as error:
        what = "Nobody knows whether the token was revoked" if error.sent else "The token was not revoked"
        raise RevocationError(f"{what}: {error}", error=error.error) from error
    secrets = secrets_in({**parameters, "token": token})
    checked(
        read_reply(platform, response),
        RevocationError,
        "TikTok did not revoke the token",
        sent=secrets,
        empty_is_success=True,
    )


@without_variables
def revoke_token(
    token: str | Mapping[str, Any],
    *,
    client_key: str | None = None,
    client_secret: str | None = None,
    open_id: str | None = None,
    platform: Platform = LOGIN_KIT,
    token_timeout: float | tuple[float, float] = TOKEN_TIMEOUT_S,
) -> None:
    """Revoke a token without a session: the app vanishes from the user's connected apps.

    Nothing is deleted from any store; `TikTokOAuth2Session.revoke_token` does that, too.

    Args:
        token: The access token, or the whole token.
        client_key: The app's client key (v2).
        client_secret: The app's secret (v2).
        open_id: Whose token it is (v1); taken from the token if it is whole.
        platform: Which of TikTok's OAuth surfaces.
        token_timeout: Seconds to connect and seconds to wait for the reply.

    Raises:
        RevocationError: TikTok did not revoke it, nobody knows whether it did, or something is missing
            that it needs.

    Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
    """
    whole = token if isinstance(token, Mapping) else {"access_token": token}
    with requests.Session() as session:
        # Nothing on this machine but these arguments decides what is sent.
        revoke(
            session,
            platform,
            client_key=client_key,
            client_secret=client_secret,
            token=str(whole.get("access_token") or ""),
            open_id=open_id or whole.get("open_id"),
            transport=Transport(timeout=token_timeout),
        )
