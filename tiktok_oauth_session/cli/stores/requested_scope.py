"""The scopes that a login asked for, kept beside its token, so that it can be seen which are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli.terminal.output import tell

if TYPE_CHECKING:
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import TikTokToken

#: Beside what TikTok tells about a token.
REQUESTED_SCOPE = "requested_scope"


def keep_requested_scope(store: TokenStore, session: TikTokOAuth2Session) -> None:
    """Keep what a login asked for; if that fails, say so: the token is kept."""
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken, split_scopes

    key = AccountKey(session.client_id or "", session.open_id or "")
    asked = {REQUESTED_SCOPE: ",".join(split_scopes(session.scope))}
    try:
        with store.lock(key):
            stored = store.load(key)
            if stored is not None:
                store.save(key, TikTokToken(stored, **asked), replacing=stored.refresh_token)
    except StoreError as error:
        tell(f"The token is kept, but not which scopes were asked for. {error}")


def missing_scopes(token: TikTokToken) -> list[str]:
    """Return what the login asked for and the user did not grant."""
    from tiktok_oauth_session.tokens import split_scopes

    granted = token.scopes
    return [scope for scope in split_scopes(token.get(REQUESTED_SCOPE)) if scope not in granted]
