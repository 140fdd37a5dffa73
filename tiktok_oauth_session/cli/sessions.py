"""A session for an account of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.surface import platform, require_issuer

if TYPE_CHECKING:
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey


def session_for(store: TokenStore, account: AccountKey) -> TikTokOAuth2Session:
    """Return a session for an account of the store.

    Raises:
        Stop: The app's credentials are missing or another app's, or the token was issued elsewhere.
        StoreError: The token cannot be read.
    """
    surface = platform()
    app = credentials.require(account.client_key)
    token = store.load(account)
    if token is not None:
        require_issuer(token)

    # Slow to import.
    from tiktok_oauth_session.session import TikTokOAuth2Session

    session = TikTokOAuth2Session(
        app.client_key,
        client_secret=app.client_secret,
        store=store,
        open_id=account.open_id,
        platform=surface,
    )
    if surface.api_calls_are_signed:
        from tiktok_oauth_session.shop_signature import ShopSignature

        session.auth = ShopSignature(app.client_key, app.client_secret)
    return session
