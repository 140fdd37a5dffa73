"""Log in with TikTok in Flask, in the shape that Flask-Dance gives to GitHub and others.

The blueprint logs visitors in, and `tiktok` is the session of the visitor whose request it is.

Source: flask_dance/contrib/github.py and flask_dance/consumer/oauth2.py of Flask-Dance 7.1.0
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

try:
    import flask
    from flask_dance.consumer.storage.session import (  # type: ignore[import-untyped]  # it has no types
        SessionStorage,
    )
    from werkzeug.local import LocalProxy
except ImportError as _missing:
    raise ImportError(
        "The blueprint needs Flask-Dance: pip install tiktok-oauth-session[flask]"
    ) from _missing

from tiktok_oauth_session.contrib._platforms import complaint_about_platform
from tiktok_oauth_session.contrib._redirect_uris import complaint_about_redirect_uri
from tiktok_oauth_session.contrib.flask_dance._account_storage import AccountStorage
from tiktok_oauth_session.contrib.flask_dance.blueprint import TikTokBlueprint
from tiktok_oauth_session.contrib.flask_dance.sessions import TikTokSession
from tiktok_oauth_session.contrib.flask_dance.signals import webhook_received
from tiktok_oauth_session.platforms import LOGIN_KIT
from tiktok_oauth_session.stores import TokenStore

__all__ = ["TikTokBlueprint", "TikTokSession", "make_tiktok_blueprint", "tiktok", "webhook_received"]

log: logging.Logger = logging.getLogger(__name__)


def make_tiktok_blueprint(
    client_key: str | None = None,
    client_secret: str | None = None,
    *,
    scope: str | Iterable[str] | None = None,
    redirect_uri: str | None = None,
    redirect_url: str | None = None,
    redirect_to: str | None = None,
    login_url: str | None = None,
    authorized_url: str | None = None,
    webhook_url: str | None = None,
    session_class: type[TikTokSession] | None = None,
    storage: Any = None,
    store: TokenStore | None = None,
    open_id: Callable[[], str | None] | None = None,
    rule_kwargs: Mapping[str, Any] | None = None,
    **session_options: Any,
) -> TikTokBlueprint:
    """Make a blueprint that logs visitors in with TikTok.

    Key and secret may be in the application's configuration instead: ``TIKTOK_OAUTH_CLIENT_KEY`` and
    ``TIKTOK_OAUTH_CLIENT_SECRET``, which go before what is passed here.

    Args:
        client_key: The app's client key.
        client_secret: The app's secret.
        scope: The scopes to ask for: a list, or one string with commas or spaces. None asks for
            ``user.info.basic``.
        redirect_uri: Where TikTok sends the visitor back to, exactly as registered; None: the address of the
            callback's route, as Flask knows it.
        redirect_url: Where a visitor goes after the login.
        redirect_to: The name of a view to go to, if there is no `redirect_url`; ``/`` without either.
        login_url: The path of the login; None: ``/tiktok``. With ``?disable_auto_auth=1`` the visitor can
            choose another account.
        authorized_url: The path of the callback; None: ``/tiktok/authorized``.
        webhook_url: The path of the webhooks; None: ``/tiktok/webhook``.
        session_class: A subclass of `TikTokSession`.
        storage: One of Flask-Dance's storages, or a class of one. They have no lock, so only one process may
            use one. None, without a store: the visitor's web session.
        store: A `tiktok_oauth_session.stores.TokenStore`, for any number of processes. The web session then
            holds the visitor's open_id and no token.
        open_id: Returns whose token the visitor uses, where the application has users of its own; None for
            nobody's. It is TikTok's open_id. The web session holds none then, and logging out is the
            application's.
        rule_kwargs: More arguments for the routes.
        **session_options: As for `TikTokOAuth2Session`: ``platform``, ``pkce``, ``api_hosts``, ...

    Raises:
        ValueError: There are a storage and a store, or the redirect URI's port is ``*``, or no login on this
            platform could succeed.
    """
    platform = session_options.get("platform", LOGIN_KIT)
    if complaint := complaint_about_redirect_uri(redirect_uri) or complaint_about_platform(platform, scope):
        raise ValueError(complaint)
    return TikTokBlueprint(
        "tiktok",
        __name__,
        client_id=client_key,
        client_secret=client_secret,
        scope=scope,
        redirect_uri=redirect_uri,
        redirect_url=redirect_url,
        redirect_to=redirect_to,
        login_url=login_url,
        authorized_url=authorized_url,
        webhook_url=webhook_url,
        session_class=session_class or TikTokSession,
        storage=_storage_for(storage, store, open_id),
        store=store,
        rule_kwargs=rule_kwargs,
        **session_options,
    )


def _storage_for(storage: Any, store: TokenStore | None, open_id: Callable[[], str | None] | None) -> Any:
    """Return where the blueprint keeps tokens.

    Raises:
        ValueError: There are a storage and a store.
    """
    if store is not None:
        if storage is not None:
            raise ValueError("Tokens have one place: pass storage= or store=, not both.")
        return AccountStorage(store, open_id)
    kind = storage if isinstance(storage, type) else type(storage)
    if storage is None or issubclass(kind, SessionStorage):
        log.warning(
            "tokens are kept in the visitor's web session, where two requests at once lose the newer one, "
            "and with it the account: pass store="
        )
    return storage


#: The session of the visitor whose request this is, as `TikTokBlueprint.session`.
tiktok: TikTokSession = LocalProxy(lambda: flask.g.tiktok_blueprint.session)  # type: ignore[assignment]  # it passes for one
