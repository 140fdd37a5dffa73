"""Sessions as Flask-Dance makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiktok_oauth_session.session import TikTokOAuth2Mixin
from tiktok_oauth_session.tokens import TikTokToken

if TYPE_CHECKING:
    # What Flask-Dance's is to whoever uses ours.
    from requests_oauthlib import OAuth2Session
else:
    from flask_dance.consumer.requests import OAuth2Session


class TikTokSession(TikTokOAuth2Mixin, OAuth2Session):
    """A `TikTokOAuth2Session` as Flask-Dance's blueprints make sessions.

    Args:
        client_key: The app's client key.
        blueprint: Whose session it is.
        account: Whose token a store holds for this visitor; None: nobody has logged in.
        **options: As for `TikTokOAuth2Session`.
    """

    def __init__(
        self, client_key: str | None = None, *, blueprint: Any, account: str | None = None, **options: Any
    ) -> None:
        super().__init__(client_key, blueprint=blueprint, base_url="", **options)
        # Not `open_id=`, which would stay the key of whoever logs in next.
        self._open_id = account

    def _keep_login(self, token: TikTokToken) -> TikTokToken:
        # Who is told of the login by `oauth_authorized` decides whether it is kept.
        self._use(token)
        return token
