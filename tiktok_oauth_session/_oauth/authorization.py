"""The authorization request, and the answer to it: the half of the session that logs in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from oauthlib.oauth2 import WebApplicationClient

from tiktok_oauth_session._http.allowed_hosts import is_loopback, require_secure
from tiktok_oauth_session._http.transport import Transport
from tiktok_oauth_session.errors import AuthorizationError, StateMismatch
from tiktok_oauth_session.platforms import Platform
from tiktok_oauth_session.tokens import TikTokToken

if TYPE_CHECKING:
    from requests_oauthlib import OAuth2Session as _Base

    # What only logins need is imported by them.
    from tiktok_oauth_session._oauth.pending_logins import Consent, PendingLogins
else:
    # Cooperative: whichever OAuth2Session comes after it in the subclass.
    _Base = object

#: Characters of a PKCE verifier: RFC 7636 and TikTok allow 43 to 128.
CODE_VERIFIER_LENGTH = 64


class AuthorizationMixin(_Base):
    """Logs in: authorize URL, code, token."""

    # What the parent has and its stubs leave out.
    _client: Any
    _pkce: str | None
    compliance_hook: Any

    platform: Platform
    client_secret: str | None
    token_timeout: Any
    _pending_logins: PendingLogins | None = None
    _code_verifier: str | None = None

    #: Hands the token of a new login to whoever keeps it, then uses it.
    _keep_login: Callable[[TikTokToken], TikTokToken]
    #: Finds out whether that will be possible.
    _require_writable_store: Callable[[], None]

    # --- logging in --------------------------------------------------------------------------------

    @property
    def code_verifier(self) -> str | None:
        """The PKCE verifier of the login that was begun last.

        Keep it beside the state where another process finishes the login.
        """
        return self._code_verifier

    def _logins(self) -> PendingLogins:
        # Made when the first login begins: most sessions begin none.
        if self._pending_logins is None:
            from tiktok_oauth_session._oauth.pending_logins import PendingLogins

            self._pending_logins = PendingLogins()
        return self._pending_logins

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
        self._logins().begin(state, verifier)
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
            StoreError: The store cannot be written; the code is not spent, and this call can be made again.

        Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
        """
        from tiktok_oauth_session._oauth.grants import exchange_code

        self._require_writable_store()
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
        return self._keep_login(token)

    def _consent(self, code: str | None, response: str | None, state: object) -> Consent:
        from tiktok_oauth_session._oauth.pending_logins import Consent

        on_client = getattr(self._client, "code", None)
        if not code and not response:
            if on_client or not isinstance(self._client, WebApplicationClient):
                # A code that the caller gave to oauthlib's client, or a grant that has none.
                return Consent(on_client or "")
            raise ValueError("Please supply either code or authorization_response parameters.")
        try:
            consent = self._logins().finish(
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
