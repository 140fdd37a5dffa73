"""Log in with TikTok in Flask, in the shape that Flask-Dance gives to GitHub and others.

The blueprint logs visitors in, and `tiktok` is the session of the visitor whose request it is.

Source: flask_dance/contrib/github.py and flask_dance/consumer/oauth2.py of Flask-Dance 7.1.0
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

try:
    import flask
    from flask_dance.consumer import (  # type: ignore[import-untyped]  # Flask-Dance has no types
        oauth_authorized,
        oauth_before_login,
        oauth_error,
    )
    from flask_dance.consumer.storage.session import SessionStorage  # type: ignore[import-untyped]  # nor here

    if TYPE_CHECKING:
        # What its classes are to whoever uses ours.
        from requests_oauthlib import OAuth2Session

        class OAuth2ConsumerBlueprint(flask.Blueprint):
            def __getattr__(self, name: str) -> Any: ...

        class BaseStorage: ...
    else:
        from flask_dance.consumer import OAuth2ConsumerBlueprint
        from flask_dance.consumer.requests import OAuth2Session
        from flask_dance.consumer.storage import BaseStorage
    from markupsafe import escape
    from werkzeug.local import LocalProxy
    from werkzeug.wrappers import Response
except ImportError as _missing:
    raise ImportError(
        "The blueprint needs Flask-Dance: pip install tiktok-oauth-session[flask]"
    ) from _missing
from oauthlib.oauth2 import InvalidGrantError, OAuth2Error

from tiktok_oauth_session.errors import AuthorizationError, StateMismatch, StoreError, TokenError, reason_of
from tiktok_oauth_session.session import TikTokOAuth2Mixin
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

__all__ = ["TikTokBlueprint", "TikTokSession", "make_tiktok_blueprint", "tiktok"]

log: logging.Logger = logging.getLogger(__name__)

#: RFC 6749 section 4.1.2.1: what an error is called that has no name of its own.
UNAVAILABLE = "temporarily_unavailable"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Not logged in</title></head>
<body><h1>You are not logged in</h1><p>{words}</p>
<p><a href="{login}">Log in with TikTok</a></p></body></html>
"""
#: Its address holds a code.
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


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


class _AccountStorage(BaseStorage):
    """Keeps tokens in a store of ours, and in the visitor's web session whose is theirs."""

    def __init__(self, store: TokenStore, open_id: Callable[[], str | None] | None) -> None:
        self._store, self._open_id = store, open_id

    def account(self, blueprint: TikTokBlueprint) -> str | None:
        """Return whose token the visitor uses."""
        if self._open_id is not None:
            return self._open_id()
        known: str | None = flask.session.get(_key(blueprint))
        return known

    def get(self, blueprint: TikTokBlueprint) -> TikTokToken | None:
        """Return the visitor's token."""
        open_id = self.account(blueprint)
        return self._store.load(AccountKey(blueprint.client_id, open_id)) if open_id else None

    def set(self, blueprint: TikTokBlueprint, token: Mapping[str, Any]) -> None:
        """Keep a token, and remember that it is this visitor's."""
        open_id = token["open_id"]
        blueprint.session.token = token
        if self._open_id is None:
            flask.session[_key(blueprint)] = open_id

    def delete(self, blueprint: TikTokBlueprint) -> None:
        """Forget whose token the visitor's is; the connection stays."""
        flask.session.pop(_key(blueprint), None)


def _key(blueprint: TikTokBlueprint) -> str:
    return f"{blueprint.name}_oauth_open_id"


class TikTokBlueprint(OAuth2ConsumerBlueprint):
    """What `make_tiktok_blueprint` makes.

    What Flask-Dance keeps on the blueprint, which all visitors share, is each visitor's own here: the
    verifier is in their web session, and the session is that of their request.
    """

    def __init__(
        self,
        name: str,
        import_name: str,
        *,
        store: TokenStore | None,
        redirect_uri: str | None,
        **options: Any,
    ) -> None:
        super().__init__(name, import_name, **options)
        self.store: TokenStore | None = store
        self.redirect_uri: str | None = redirect_uri
        # Not `client_id`, whose setter makes a session for every request.
        self.from_config["_client_id"] = "TIKTOK_OAUTH_CLIENT_KEY"
        self.from_config["client_secret"] = "TIKTOK_OAUTH_CLIENT_SECRET"
        self.before_app_request(self._lend)

    def _lend(self) -> None:
        flask.g.tiktok_blueprint = self

    # --- whose session, whose token --------------------------------------------------------------------

    @property
    def session(self) -> Any:
        """The session of the visitor whose request this is, made when it is asked for."""
        name = f"_flask_dance_session_{self.name}"
        if name not in flask.g:
            setattr(flask.g, name, self._new_session())
        return flask.g.get(name)

    def _new_session(self) -> Any:
        stored = self.store is not None
        session = self.session_class(
            client_id=self._client_id,
            client_secret=self.client_secret,
            scope=self.scope,
            blueprint=self,
            store=self.store,
            account=self.storage.account(self) if stored else None,
            token_updater=None if stored else self._keep,
            **self.kwargs,
        )
        return self.session_created(session)

    def teardown_session(self, exception: BaseException | None = None) -> None:
        """Forget the session of the request."""
        flask.g.pop(f"_flask_dance_session_{self.name}", None)

    def _keep(self, token: Mapping[str, Any]) -> None:
        self.token = token

    @property
    def token(self) -> Any:
        """The visitor's token, where it is kept.

        As it was issued: Flask-Dance counts its lifetime from now at each look, and no time is early then.
        Deleting it logs the visitor out; of a store's account the connection stays.
        """
        return self.storage.get(self)

    @token.setter
    def token(self, value: Mapping[str, Any] | None) -> None:
        self.storage.set(self, value)
        if self.store is None:
            del self.session.token

    @token.deleter
    def token(self) -> None:
        self.storage.delete(self)
        self.teardown_session()

    # --- logging in ------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        return f"{self.name}_oauth_state"

    @property
    def _verifier(self) -> str:
        return f"{self.name}_oauth_code_verifier"

    def _login_session(self) -> Any:
        session = self.session
        session.redirect_uri = self.redirect_uri or flask.url_for(".authorized", _external=True)
        return session

    def login(self) -> Any:
        """Send the visitor to TikTok; with ``?disable_auto_auth=1`` to where they can choose an account."""
        session, wish = self._login_session(), flask.request.args.get("disable_auto_auth") == "1"
        url, flask.session[self._state] = session.authorization_url(
            **{"disable_auto_auth": "1"} if wish else {}
        )
        flask.session[self._verifier] = session.code_verifier
        oauth_before_login.send(self, url=url)
        return flask.redirect(url)

    def authorized(self) -> Any:
        """Take the visitor back from TikTok."""
        session = self._login_session()
        try:
            token = session.fetch_token(
                # The route knows the path, and a proxy may have changed the host.
                authorization_response=f"?{flask.request.query_string.decode('latin-1')}",
                state=flask.session.get(self._state, ""),
                code_verifier=flask.session.get(self._verifier),
            )
        except (OAuth2Error, StoreError) as error:
            if isinstance(error, TokenError):
                self._finish()
            # Else nothing was spent: a stranger's callback ends no login, nor does a store that is down.
            return self._failed(error)
        self._finish()
        answers = [answer for _, answer in oauth_authorized.send(self, token=token)]
        if response := _response_in(answers):
            return response
        if not any(answer is False for answer in answers):
            try:
                self.token = token
            except Exception as error:  # noqa: BLE001 - a storage of the application's may raise anything
                return self._failed(error)
        onward = flask.url_for(self.redirect_to) if self.redirect_to else "/"
        return flask.redirect(self.redirect_url or onward)

    def _finish(self) -> None:
        for name in (self._state, self._verifier):
            flask.session.pop(name, None)

    def _failed(self, error: Exception) -> Any:
        """Tell the log, `oauth_error` and the visitor that a login has failed."""
        log.warning(
            "a login with TikTok failed: %s", error if isinstance(error, OAuth2Error) else reason_of(error)
        )
        answers = oauth_error.send(
            self,
            error=getattr(error, "error", None) or UNAVAILABLE,
            error_description=getattr(error, "description", ""),
            error_uri=None,
        )
        if response := _response_in(answer for _, answer in answers):
            return response
        status, headers = 503, dict(_HEADERS)
        if isinstance(error, (AuthorizationError, InvalidGrantError)):
            status = 400
        elif wait := getattr(error, "retry_after", None):
            headers["Retry-After"] = str(math.ceil(wait))
        words = escape(_what_to_do(error, headers.get("Retry-After")))
        return _PAGE.format(words=words, login=escape(flask.url_for(".login"))), status, headers


def _response_in(answers: Iterable[Any]) -> Any:
    """Return the response that one of the handlers of a signal wants the visitor to see."""
    kinds = (Response, flask.current_app.response_class)
    return next((answer for answer in answers if isinstance(answer, kinds)), None)


def _what_to_do(error: Exception, wait: str | None) -> str:
    """Return what to tell a visitor whose login has failed. It is text, and may quote a stranger's."""
    if isinstance(error, StateMismatch):
        return "This login was finished already, or it was begun in another browser. Please log in again."
    if isinstance(error, (AuthorizationError, InvalidGrantError)):
        return f"The login did not work: {error.description or error.error}. Please log in again."
    return f"This does not work just now. Please try again {f'in {wait} seconds' if wait else 'later'}."


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
        session_class: A subclass of `TikTokSession`.
        storage: One of Flask-Dance's storages, or a class of one. They have no lock, so only one process may
            use one. None, without a store: the visitor's web session.
        store: A `tiktok_oauth_session.stores.TokenStore`, for any number of processes. The web session then
            holds the visitor's open_id and no token.
        open_id: Returns whose token the visitor uses, where the application has users of its own; None for
            nobody's. It is TikTok's open_id. The web session holds none then.
        rule_kwargs: More arguments for both routes.
        **session_options: As for `TikTokOAuth2Session`: ``platform``, ``pkce``, ``api_hosts``, ...

    Raises:
        ValueError: There are a storage and a store.
    """
    if store is not None:
        if storage is not None:
            raise ValueError("Tokens have one place: pass storage= or store=, not both.")
        storage = _AccountStorage(store, open_id)
    blueprint = TikTokBlueprint(
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
        session_class=session_class or TikTokSession,
        storage=storage,
        store=store,
        rule_kwargs=rule_kwargs,
        **session_options,
    )
    if isinstance(blueprint.storage, SessionStorage):
        log.warning(
            "tokens are kept in the visitor's web session, where two requests at once lose the newer one, "
            "and with it the account: pass store="
        )
    return blueprint


#: The session of the visitor whose request this is, as `TikTokBlueprint.session`.
tiktok: TikTokSession = LocalProxy(lambda: flask.g.tiktok_blueprint.session)  # type: ignore[assignment]  # it passes for one
