"""Refreshing one account after the other, with as little work for each as can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import BaseAdapter

from tiktok_oauth_session._connection.connection import Connection
from tiktok_oauth_session._connection.token_source import StoreSource
from tiktok_oauth_session._http.transport import Transport
from tiktok_oauth_session._keepalive.pace import Turn
from tiktok_oauth_session._oauth.grants import RefreshGrant, basic_credentials
from tiktok_oauth_session.events import OnEvent
from tiktok_oauth_session.platforms import Platform
from tiktok_oauth_session.session import TikTokOAuth2Session
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken


class _CountedSession(TikTokOAuth2Session):
    """Sends the refreshes of any account, and counts its requests."""

    turn: Turn | None = None
    _settings: dict[str, Any] | None = None

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if self.turn is not None:
            self.turn.count()
        return super().send(request, **options)

    def merge_environment_settings(self, *asked: Any) -> Any:
        # All requests go to one address, and looking through the environment for a proxy takes as long as
        # preparing one.
        if self._settings is None:
            settings: Any = super()
            self._settings = settings.merge_environment_settings(*asked)
        return dict(self._settings)


class Refresher:
    """Refreshes accounts of an app, each in the thread that asks for it. For one thread at a time.

    Args:
        store: Where the tokens are.
        client_key: The app's client key.
        client_secret: The app's secret.
        platform: Which of TikTok's OAuth surfaces.
        adapter: How to reach it.
        on_event: Told what becomes of the accounts.
    """

    def __init__(
        self,
        store: TokenStore,
        client_key: str,
        client_secret: str,
        platform: Platform,
        adapter: BaseAdapter,
        on_event: OnEvent | None,
    ) -> None:
        self._store, self._issuer, self._on_event = store, platform.issuer, on_event
        # No account's: a refresh needs what it says of the app, and how it sends.
        self._session = _CountedSession(client_key, client_secret=client_secret, platform=platform)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        transport = Transport(auth=basic_credentials(platform, client_key, client_secret))
        url = platform.refresh_endpoint or ""
        self._grant = RefreshGrant(self._session, url, client_secret, transport)

    def refresh(
        self, key: AccountKey, is_due: Callable[[TikTokToken], bool], turn: Turn | None = None
    ) -> TikTokToken | None:
        """Refresh an account, unless somebody who shares the store is at it or has done it.

        Args:
            key: The account.
            is_due: Tells whether a token is to be refreshed, asked while nobody else can refresh it; not
                asked where the account is gone, which is a `ReauthorizationRequired`.
            turn: What the requests count for.

        Returns:
            The new token; None if there was nothing to do.

        Raises:
            TokenError: TikTok gave no token.
            StoreError: The store failed.
        """
        self._session.turn = turn
        source = StoreSource(self._store, key, None, self._issuer)
        return Connection(source, self._grant, self._on_event).ahead(TikTokToken(), is_due)
