"""The blueprint: logging in, whose token is whose, and what is said of a login that fails."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import flask
import requests
from flask_dance.consumer import (  # type: ignore[import-untyped]  # Flask-Dance has no types
    oauth_authorized,
    oauth_before_login,
    oauth_error,
)
from markupsafe import escape
from oauthlib.oauth2 import OAuth2Error
from werkzeug.wrappers import Response

from tiktok_oauth_session.contrib._error_responses import (
    needs_a_new_login,
    reason_for_visitors,
    retry_after,
    status_of,
)
from tiktok_oauth_session.contrib._webhooks import BODY_CAP, read_body, take
from tiktok_oauth_session.contrib.flask_dance.signals import webhook_received
from tiktok_oauth_session.errors import StoreError, TikTokOAuthError, reason_of
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.webhooks import WebhookEvent

if TYPE_CHECKING:

    class OAuth2ConsumerBlueprint(flask.Blueprint):
        """What Flask-Dance's is to whoever uses ours."""

        def __getattr__(self, name: str) -> Any: ...
else:
    from flask_dance.consumer import OAuth2ConsumerBlueprint

log: logging.Logger = logging.getLogger(__name__)

#: How many logins the visitor's web session remembers: one for every tab, in a cookie of 4096 bytes.
REMEMBERED_LOGINS = 4
#: RFC 6749 section 4.1.2.1: what an error is called that has no name of its own.
UNAVAILABLE = "temporarily_unavailable"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in with TikTok</title></head>
<body><h1>The login did not succeed</h1><p>{words}</p>
<p><a href="{login}">Log in with TikTok</a></p></body></html>
"""
#: Its address holds a code.
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


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
        webhook_url: str | None,
        **options: Any,
    ) -> None:
        super().__init__(name, import_name, **options)
        self.add_url_rule(
            rule=(webhook_url or "/{bp.name}/webhook").format(bp=self),
            endpoint="webhook",
            view_func=self.webhook,
            **{**(options.get("rule_kwargs") or {}), "methods": ["POST"]},
        )
        self.store: TokenStore | None = store
        self.redirect_uri: str | None = redirect_uri
        # Not `client_id`, whose setter makes a session for every request.
        self.from_config["_client_id"] = "TIKTOK_OAUTH_CLIENT_KEY"
        self.from_config["client_secret"] = "TIKTOK_OAUTH_CLIENT_SECRET"
        self.before_app_request(self._set_current)

    def _set_current(self) -> None:
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
        Deleting it logs the visitor out; of a store's account the connection stays. With ``open_id=`` it does
        nothing, for who is logged in is the application's.
        """
        return self.storage.get(self)

    @token.setter
    def token(self, value: Mapping[str, Any] | None) -> None:
        self.storage.set(self, value)
        if self.store is None:
            del self.session.token

    @token.deleter
    def token(self) -> None:
        # Flask-Dance's storage in the web session minds if there is none.
        with contextlib.suppress(KeyError):
            self.storage.delete(self)
        self.teardown_session()

    # --- logging in ------------------------------------------------------------------------------------

    @property
    def _logins(self) -> str:
        return f"{self.name}_oauth_logins"

    def _login_session(self) -> Any:
        session = self.session
        session.redirect_uri = self.redirect_uri or flask.url_for(".authorized", _external=True)
        return session

    def login(self) -> Any:
        """Send the visitor to TikTok; with ``?disable_auto_auth=1`` to where they can choose an account."""
        _refuse_head()
        session, wish = self._login_session(), flask.request.args.get("disable_auto_auth") == "1"
        url, state = session.authorization_url(**{"disable_auto_auth": "1"} if wish else {})
        # Pairs, oldest first: Flask would sort a dict.
        begun = [*flask.session.get(self._logins, ()), [state, session.code_verifier]]
        flask.session[self._logins] = begun[-REMEMBERED_LOGINS:]
        oauth_before_login.send(self, url=url)
        return flask.redirect(url)

    def authorized(self) -> Any:
        """Take the visitor back from TikTok."""
        _refuse_head()
        session = self._login_session()
        # A stranger's, unless this visitor began a login with it.
        state, begun = flask.request.args.get("state", ""), dict(flask.session.get(self._logins, ()))
        try:
            token = session.fetch_token(
                # The route knows the path, and a proxy may have changed the host.
                authorization_response=f"?{flask.request.query_string.decode('latin-1')}",
                state=state if state in begun else "",
                code_verifier=begun.get(state),
            )
        except StoreError as error:
            # The code is not spent, and the page can be reloaded.
            return self._failed(error)
        except OAuth2Error as error:
            self._finish(state)
            return self._failed(error)
        self._finish(state)
        try:
            answers = [answer for _, answer in oauth_authorized.send(self, token=token)]
        except (TikTokOAuthError, requests.RequestException) as error:
            return self._failed(error)
        return _response_in(answers) or self._keep_login(token, answers)

    def _finish(self, state: str) -> None:
        """Forget a login: each state is good for one answer."""
        begun = flask.session.pop(self._logins, [])
        if others := [login for login in begun if login[0] != state]:
            flask.session[self._logins] = others

    def _keep_login(self, token: Mapping[str, Any], answers: list[Any]) -> Any:
        """Keep a token, unless one of the handlers has, and lead the visitor on."""
        if not any(answer is False for answer in answers):
            try:
                self.token = token
            except Exception as error:  # noqa: BLE001 - a storage of the application's may raise anything
                return self._failed(error)
        onward = flask.url_for(self.redirect_to) if self.redirect_to else "/"
        return flask.redirect(self.redirect_url or onward)

    def _failed(self, error: Exception) -> Any:
        """Tell the log, `oauth_error` and the visitor that a login has failed."""
        has_words = isinstance(error, (OAuth2Error, TikTokOAuthError))
        log.warning("a login with TikTok failed: %s", error if has_words else reason_of(error))
        # Whoever is told now sees the visitor without a token that is not kept.
        self.teardown_session()
        answers = oauth_error.send(
            self,
            error=getattr(error, "error", None) or UNAVAILABLE,
            error_description=getattr(error, "description", ""),
            error_uri=None,
        )
        if response := _response_in(answer for _, answer in answers):
            return response
        wait = retry_after(error)
        words = escape(_what_to_do(error, wait.get("Retry-After")))
        page = _PAGE.format(words=words, login=escape(flask.url_for(".login")))
        return page, status_of(error), {**_HEADERS, **wait}

    # --- webhooks --------------------------------------------------------------------------------------

    def webhook(self) -> Any:
        """Take a webhook: forget who has removed the app, and tell `webhook_received`."""
        app = self._client_id or "", self.client_secret
        return "", take(flask.request.headers, _body(), *app, self.store, self._tell)

    def _tell(self, event: WebhookEvent) -> None:
        webhook_received.send(self, event=event)


def _refuse_head() -> None:
    """Refuse a HEAD, which Flask adds to GET: it would spend a code, or begin a login that nobody sees."""
    if flask.request.method == "HEAD":
        flask.abort(405, valid_methods=["GET"])


def _body() -> bytes:
    """Return the body as it came; of one that is too large, as much as shows it."""
    if (flask.request.content_length or BODY_CAP + 1) <= BODY_CAP:
        # Which Flask keeps, if something of the application's has read it before.
        return flask.request.get_data()
    return read_body(flask.request.stream.read)


def _response_in(answers: Iterable[Any]) -> Any:
    """Return the response that one of the handlers of a signal wants the visitor to see."""
    kinds = (Response, flask.current_app.response_class)
    return next((answer for answer in answers if isinstance(answer, kinds)), None)


def _what_to_do(error: Any, wait: str | None) -> str:
    """Return what to tell a visitor whose login has failed. It is text, and may quote a stranger's."""
    if needs_a_new_login(error):
        return reason_for_visitors(error)
    return f"This does not work just now. Please try again {f'in {wait} seconds' if wait else 'later'}."
