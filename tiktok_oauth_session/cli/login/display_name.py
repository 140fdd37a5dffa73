"""Whose login it was, as people call them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiktok_oauth_session._plain_text import plain

if TYPE_CHECKING:
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.tokens import TikTokToken

#: Source: https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info
SCOPE = "user.info.basic"
#: Where a token reply of Shop has the name of the seller.
NAME_OF_SELLERS = "seller_name"
#: Seconds to connect, seconds to wait: together, all that a login waits for a name.
TIMEOUT_S = (1.0, 2.0)


def ask_for_name(session: TikTokOAuth2Session, token: TikTokToken) -> str:
    """Return the user's name, as the login told it or else TikTok does, once; nothing if not in time."""
    told = token.get(NAME_OF_SELLERS)
    if isinstance(told, str):
        return plain(told)
    url = session.platform.userinfo_endpoint
    if url is None or SCOPE not in session.granted_scopes:
        return ""
    import requests

    from tiktok_oauth_session._http.oauth_request import post
    from tiktok_oauth_session._http.transport import Transport
    from tiktok_oauth_session._oauth.responses import unwrap
    from tiktok_oauth_session.compliance import header_with
    from tiktok_oauth_session.errors import TikTokOAuthError

    # Not the session's own call, which would refresh the token that a reply refuses.
    headers = {session.platform.access_token_header: header_with(session.platform, token.access_token or "")}
    try:
        reply = post(
            session, "GET", url, headers, {"params": {"fields": "display_name"}}, Transport(TIMEOUT_S)
        )
        name = unwrap(reply)["user"]["display_name"]
    except (TikTokOAuthError, requests.RequestException, KeyError, TypeError):
        return ""
    return plain(name) if isinstance(name, str) else ""
