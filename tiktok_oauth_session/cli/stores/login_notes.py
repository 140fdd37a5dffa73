"""What a login learns beside the token and is kept with it: the scopes it asked for, the user's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli.terminal.output import tell

if TYPE_CHECKING:
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

#: Beside what TikTok tells about a token.
REQUESTED_SCOPE = "requested_scope"
DISPLAY_NAME = "display_name"


def keep_notes(store: TokenStore, session: TikTokOAuth2Session, display_name: str) -> None:
    """Keep what a login asked for, and whose it was; if that fails, say so: the token is kept."""
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken, split_scopes

    key = AccountKey(session.client_id or "", session.open_id or "")
    notes = {REQUESTED_SCOPE: ",".join(split_scopes(session.scope))}
    if display_name:
        notes[DISPLAY_NAME] = display_name
    try:
        with store.lock(key):
            stored = store.load(key)
            if stored is not None:
                store.save(key, TikTokToken(stored, **notes), replacing=stored.refresh_token)
    except StoreError as error:
        tell(f"The token is kept, but neither which scopes were asked for nor the user's name. {error}")


def missing_scopes(token: TikTokToken) -> list[str]:
    """Return what the login asked for and the user did not grant."""
    from tiktok_oauth_session.tokens import split_scopes

    granted = token.scopes
    return [scope for scope in split_scopes(token.get(REQUESTED_SCOPE)) if scope not in granted]


def name_of(token: TikTokToken) -> str:
    """Return the user's name; empty if nobody knows."""
    name = token.get(DISPLAY_NAME)
    return name if isinstance(name, str) else ""


def name_in(store: TokenStore, key: AccountKey) -> str:
    """Return the name of an account's user; empty if nobody knows, or its token cannot be read."""
    try:
        token = store.load(key)
    except StoreError:
        return ""
    return "" if token is None else name_of(token)


def with_name(open_id: str | None, name: str) -> str:
    """Return what an account is called for people."""
    return f"{open_id} ({name})" if name else str(open_id)
