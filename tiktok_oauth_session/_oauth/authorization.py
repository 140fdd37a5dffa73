"""The half of the session that logs in, and the token that comes of it."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from oauthlib.oauth2 import WebApplicationClient
from requests.adapters import HTTPAdapter

from tiktok_oauth_session._connection.token_source import Updater, forget_failures
from tiktok_oauth_session._http.allowed_hosts import is_loopback, require_secure
from tiktok_oauth_session._http.oauth_request import TOKEN_TIMEOUT_S, Transport
from tiktok_oauth_session._oauth.grants import client_credentials, exchange_code
from tiktok_oauth_session._oauth.pending_logins import Consent, PendingLogins
from tiktok_oauth_session._process import after_fork_in_child
from tiktok_oauth_session.compliance import tiktok_compliance_fix
from tiktok_oauth_session.errors import (
    AuthorizationError,
    StateMismatch,
    StoreError,
    TokenNotSaved,
    reason_of,
)
from tiktok_oauth_session.platforms import LOGIN_KIT, Platform
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey, Freshness, TikTokToken, split_scopes

if TYPE_CHECKING:
    from requests_oauthlib import OAuth2Session as _Base

    from tiktok_oauth_session.qr import QRLogin
else:
    # Cooperative: whichever OAuth2Session comes after it in the subclass.
    _Base = object

#: Characters of a PKCE verifier: RFC 7636 and TikTok allow 43 to 128.
CODE_VERIFIER_LENGTH = 64


class _InOrder(collections.OrderedDict[Callable[..., Any], None]):
    """Compliance hooks in the order they were registered; requests-oauthlib's set has none."""

    def add(self, hook: Callable[..., Any]) -> None:
        self[hook] = None


class AuthorizingMixin(_Base):
    """Logs in: authorize URL, code, token."""

    # What the parent has and its stubs leave out.
    _client: Any
    _pkce: str | None
    compliance_hook: Any

    def __init__(
        self,
        client_key: str | None = None,
        *,
        client_id: str | None = None,
        client: Any = None,
        client_secret: str | None = None,
        scope: str | Iterable[str] | None = None,
        redirect_uri: str | None = None,
        token: Mapping[str, Any] | None = None,
        token_updater: Updater | None = None,
        store: TokenStore | None = None,
        open_id: str | None = None,
        platform: Platform = LOGIN_KIT,
        pkce: str | None = None,
        api_hosts: Iterable[str] = (),
        token_timeout: float | tuple[float, float] = TOKEN_TIMEOUT_S,
        **parent_kwargs: Any,
    ) -> None:
        if pkce not in (None, "S256"):
            raise ValueError(f'pkce={pkce!r}: TikTok knows "S256" only (None: where TikTok requires it).')
        if client_key and client_id and client_key != client_id:
            raise ValueError("client_key and client_id are two names of one thing; they differ.")
        self.platform = platform
        self.client_secret = client_secret
        self.store = store
        self.api_hosts = (api_hosts,) if isinstance(api_hosts, str) else tuple(api_hosts)
        self.token_timeout = token_timeout
        self._open_id = open_id
        self._code_verifier: str | None = None
        self._logins = PendingLogins()
        self._client_token_guard = threading.Lock()
        key: Any = client_key or client_id  # None will do, whatever oauthlib's stubs say
        super().__init__(
            client_id=key,
            client=client or WebApplicationClient(key),
            scope=scope,
            redirect_uri=redirect_uri,
            token_updater=token_updater,
            pkce=pkce,
            **parent_kwargs,
        )
        if not split_scopes(self.scope) and platform.default_scope:
            self._scope = list(platform.default_scope)
        self.compliance_hook = {kind: _InOrder() for kind in self.compliance_hook}
        tiktok_compliance_fix(self, platform=platform)
        after_fork_in_child(self, AuthorizingMixin._leave_connections)
        if token:
            self._seed(TikTokToken(token))

    def _leave_connections(self) -> None:
        """In a forked child: the parent goes on talking over its connections."""
        for adapter in self.adapters.values():
            if isinstance(adapter, HTTPAdapter):
                # A new pool: closing the old one would wait for a lock that a thread of the parent may hold.
                pooled: Any = adapter  # its stubs leave out how it is pickled
                pooled.__setstate__(pooled.__getstate__())
        self._client_token_guard = threading.Lock()

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"A {type(self).__name__} cannot be copied or pickled: two copies of one refresh token log the "
            "user out. Make another session with the same store= and open_id= instead."
        )

    # --- the token ---------------------------------------------------------------------------------

    @property
    def token(self) -> TikTokToken:
        """The token as this session last saw it; assigning one hands it to the store."""
        if self.store is not None and not self._client.token and (key := self._key()):
            # Also after a logout: somebody may have logged in again.
            stored = self.store.load(key)
            if stored is not None:
                self._hold(stored)
        token: TikTokToken = self._client.token
        return token

    @token.setter
    def token(self, value: Mapping[str, Any] | None) -> None:
        token = TikTokToken(value)
        key = self._key(token)
        if token and self.store is not None and key:
            self.store.save(key, token)
            forget_failures(self.store, key)
        self._hold(token)

    def _own_token(self) -> TikTokToken:
        """Return the token, also where a framework's session keeps it as a plain dict."""
        token: Any = self.token
        return token if isinstance(token, TikTokToken) else TikTokToken(token)

    def _hold(self, token: TikTokToken) -> None:
        """Let the session use a token, and nothing of the one before."""
        client = self._client
        client.access_token = client.refresh_token = None
        client.expires_in = client._expires_at = None  # noqa: SLF001 - oauthlib never clears it
        client.token = token
        client.populate_token_attributes(token)
        if token.open_id:
            self._open_id = token.open_id

    def _seed(self, token: TikTokToken) -> None:
        """Begin with a token, unless the store knows a newer one of this account."""
        key = self._key(token)
        if self.store is not None and key:
            with self.store.lock(key):
                stored = self.store.load(key)
                if stored is None:
                    self.store.save(key, token)
                else:
                    token = stored
        self._hold(token)

    def _place(self, token: TikTokToken, spent: TikTokToken) -> TikTokToken:
        """Put a refreshed token into the store, unless the store has gone on without it.

        Returns:
            The token that the store holds afterwards.

        Raises:
            TokenNotSaved: It could not be put there.
        """
        key = self._key(token)
        if self.store is None or key is None:
            return token
        try:
            with self.store.lock(key):
                stored = self.store.load(key)
                if stored is not None and stored.refresh_token != spent.refresh_token:
                    return stored
                self.store.save(key, token)
        except StoreError as failure:
            raise TokenNotSaved(
                "TikTok issued a new token and it could not be saved: mend the store and call again in this "
                f"process, or save the `token` of this error. ({reason_of(failure)})",
                token=token,
            ) from failure
        return token

    def _keep(self, token: TikTokToken) -> TikTokToken:
        """Hand the token of a new login to store and updater, then use it."""
        try:
            if self.store is not None:
                key = self._key(token)
                if key is None:
                    raise ValueError("the reply holds no open_id to keep it under")  # noqa: TRY301 - becomes the cause
                # Without the lock: a refresh that is under way finds at its save that this token has come.
                self.store.save(key, token)
                forget_failures(self.store, key)
            if self.token_updater:
                self.token_updater(TikTokToken(token))
        except Exception as failure:
            raise TokenNotSaved(
                "TikTok issued a token and it could not be saved: save the `token` of this error, or let the "
                f"user log in again. ({reason_of(failure)})",
                token=token,
            ) from failure
        self._hold(token)
        return token

    def _key(self, token: TikTokToken | None = None) -> AccountKey | None:
        open_id = (token.open_id if token else None) or self._open_id
        return AccountKey(self.client_id or "", open_id) if open_id else None

    @property
    def open_id(self) -> str | None:
        """Whose token it is: TikTok's id of the user within this app."""
        return self._open_id

    @property
    def granted_scopes(self) -> list[str]:
        """The scopes that the user granted, which may be fewer than asked."""
        return self._own_token().scopes

    @property
    def missing_scopes(self) -> list[str]:
        """The scopes that were asked for and not granted; empty while nobody is logged in."""
        token = self._own_token()
        return [scope for scope in split_scopes(self.scope) if scope not in token.scopes] if token else []

    @property
    def authorized(self) -> bool:
        """Whether there is an access token; not whether it is still alive."""
        return bool(self.token and self.access_token)

    # --- logging in --------------------------------------------------------------------------------

    @property
    def code_verifier(self) -> str | None:
        """The PKCE verifier of the login that was begun last.

        Keep it beside the state where another process finishes the login.
        """
        return self._code_verifier

    def new_state(self) -> str:
        """Return a state for a new login, and remember it."""
        self._state: str | None = self.state() if callable(self.state) else self.state
        return str(self._state)

    def _needs_pkce(self) -> bool:
        loopback = self.platform.loopback_needs_pkce and is_loopback(self.redirect_uri)
        return self._pkce == "S256" or loopback

    def _require_registered(self) -> None:
        """Refuse to send a user to a page that can only show an error."""
        if self.platform.authorization_parameters is None:
            return
        for name, value in (("client_key", self.client_id), ("redirect_uri", self.redirect_uri)):
            if (
                not value
                and {"client_key": "client_id"}.get(name, name) in self.platform.authorization_parameters
            ):
                raise ValueError(f"A login needs the {name} that is registered for your app: pass `{name}=`.")

    def authorization_url(
        self, url: str | None = None, state: str | None = None, **kwargs: Any
    ) -> tuple[str, str]:
        """Begin a login.

        Several may be begun before one is finished: each state remembers its own PKCE verifier.

        Args:
            url: The authorize page; the platform's, if None.
            state: A state of one's own; a new random one, if None.
            **kwargs: More parameters for the page, such as ``disable_auto_auth=1``, which always shows it.

        Returns:
            The URL to send the user to, and the state. A web application keeps the state (and
            `code_verifier`, if it uses PKCE) in the user's web session.

        Raises:
            ValueError: There is no client key or no redirect URI, or a secret was to become part of the URL.

        Source: https://developers.tiktok.com/doc/login-kit-web
        """
        self._require_registered()
        state = state or self.new_state()
        self._state = state
        verifier = None
        if self._needs_pkce() and "code_challenge" not in kwargs:
            verifier = self._client.create_code_verifier(CODE_VERIFIER_LENGTH)
            kwargs["code_challenge"] = self._client.create_code_challenge(verifier, "S256")
            kwargs["code_challenge_method"] = "S256"
        self._code_verifier = verifier
        self._logins.begin(state, verifier)
        page = self._client.prepare_request_uri(
            url or self.platform.authorization_endpoint,
            redirect_uri=self.redirect_uri,
            scope=self.scope,
            state=state,
            **kwargs,
        )
        return page, state

    def fetch_token(
        self,
        token_url: str | None = None,
        code: str | None = None,
        authorization_response: str | None = None,
        body: str = "",
        auth: Any = None,
        username: str | None = None,
        password: str | None = None,
        method: str | None = None,
        force_querystring: bool = False,  # noqa: FBT001, FBT002 - the parent's signature
        timeout: Any = None,
        headers: Mapping[str, str] | None = None,
        verify: Any = None,
        proxies: Mapping[str, str] | None = None,
        include_client_id: bool | None = None,  # noqa: FBT001 - the parent's signature
        client_secret: str | None = None,
        cert: Any = None,
        *,
        state: Any = ...,
        code_verifier: str | None = None,
        **kwargs: Any,
    ) -> TikTokToken:
        """Finish a login: exchange the code for a token, and hand the token to store and updater.

        The session's old token keeps working until the new one is safe.

        Args:
            token_url: The endpoint; the platform's, if None.
            code: The code, percent-encoded or not. Needs `state`, too.
            authorization_response: The callback in place of the code: the whole URL that the user came
                back to.
            state: The state that `authorization_url` returned, where another session began the login.
                Beside a `code`, the state that came back with it. False: you have compared it yourself.
            code_verifier: The PKCE verifier, where another session began the login.
            body: Parameters to add, form-encoded. Only those that TikTok documents are sent.
            auth: As for `requests`; not sent unless given.
            username: For `oauthlib.oauth2.LegacyApplicationClient`, which TikTok does not know.
            password: See `username`.
            method: ``POST`` or ``GET``; the platform's, if None.
            force_querystring: Send the parameters in the query.
            timeout: Seconds, or (seconds to connect, seconds to read); `token_timeout` if None.
            headers: The request's headers, in place of the usual ones.
            verify: As for `requests`.
            proxies: As for `requests`.
            include_client_id: Means nothing on TikTok, whose client key is always sent.
            client_secret: The app's secret, if the session does not hold it.
            cert: As for `requests`.
            **kwargs: More parameters, as in `body`.

        Returns:
            The token.

        Raises:
            StateMismatch: The callback belongs to no login that was begun here.
            AuthorizationError: The user refused, or the callback holds no code.
            TokenError: TikTok gave no token for the code.
            TokenNotSaved: It gave one that could not be saved.

        Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
        """
        url = token_url or self.platform.token_endpoint
        require_secure(url)
        consent = self._consent(code, authorization_response, state)
        verifier = code_verifier or consent.code_verifier or self._verifier_of_last_login()
        if verifier:
            kwargs["code_verifier"] = verifier
        timeout = self.token_timeout if timeout is None else timeout
        token = exchange_code(
            self,
            url,
            consent,
            Transport(timeout=timeout, auth=auth, verify=verify, proxies=proxies, cert=cert),
            client_secret=self.client_secret if client_secret is None else client_secret,
            include_client_id=include_client_id,
            method=method,
            in_query=force_querystring,
            headers=headers,
            parameters={"body": body, "username": username, "password": password, **kwargs},
        )
        return self._keep(token)

    def _consent(self, code: str | None, response: str | None, state: object) -> Consent:
        on_client = getattr(self._client, "code", None)
        if not code and not response:
            if on_client or not isinstance(self._client, WebApplicationClient):
                # A code that the caller gave to oauthlib's client, or a grant that has none.
                return Consent(on_client or "")
            raise ValueError("Please supply either code or authorization_response parameters.")
        try:
            consent = self._logins.finish(
                code=code, authorization_response=response, state=state, known_state=self._state
            )
        except StateMismatch:
            # Not an answer to the login that is open here: that one can still be finished.
            raise
        except AuthorizationError:
            self._state = None
            raise
        self._state = None
        return consent

    def _verifier_of_last_login(self) -> str | None:
        if not self._needs_pkce() or not isinstance(self._client, WebApplicationClient):
            return None
        if self._code_verifier is None:
            raise AuthorizationError(
                "This login uses PKCE and was begun elsewhere: pass the `code_verifier` of the session "
                "that began it."
            )
        return self._code_verifier

    def start_qr_login(self, scope: str | Iterable[str] | None = None, state: str | None = None) -> QRLogin:
        """Begin a login by QR code: show the code that is returned, and wait for it.

        Args:
            scope: The scopes to ask for; None asks for the session's.
            state: A state of one's own; a new random one, if None.

        Returns:
            The login: ``.url`` to draw, ``.poll()`` for its status, ``.wait(timeout)`` for the token.

        Raises:
            AuthorizationError: TikTok gave no QR code.
            TokenError: No reply came.
            ValueError: This surface has no login by QR code.

        Source: https://developers.tiktok.com/doc/login-kit-qr-code-authorization
        """
        # Here: most sessions never draw one.
        from tiktok_oauth_session.qr import QRLogin

        return QRLogin(self, scope, state)

    def fetch_client_token(self) -> TikTokToken:
        """Fetch a token for the app itself (client credentials): no user, no refresh token.

        The session renews it when it expires. It is not put into the store: asking again costs nothing.

        Raises:
            TokenError: TikTok gave none.

        Source: https://developers.tiktok.com/doc/client-access-token-management
        """
        token = client_credentials(self, Transport(timeout=self.token_timeout))
        if self.token_updater:
            self.token_updater(TikTokToken(token))
        self._client_token = token.access_token
        self._hold(token)
        return token

    _client_token: str | None = None

    def _holds_client_token(self, token: TikTokToken) -> bool:
        return self._client_token is not None and token.access_token == self._client_token

    def _renewed_client_token(self, token: TikTokToken) -> TikTokToken:
        """Return another client token than one that will not do."""
        if token.freshness() is Freshness.ADVISORY:
            return token
        with self._client_token_guard:
            current = self._own_token()
            if self._holds_client_token(current) and current.access_token != token.access_token:
                # Another thread was faster.
                return current
            return self.fetch_client_token()
