"""The authorization request, and the answer to it: the half of the session that logs in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from oauthlib.oauth2 import WebApplicationClient

from tiktok_oauth_session._http.allowed_hosts import is_loopback, require_secure
from tiktok_oauth_session._http.transport import Transport
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.errors import AuthorizationError
from tiktok_oauth_session.platforms import Platform
from tiktok_oauth_session.tokens import TikTokToken

if TYPE_CHECKING:
    from requests_oauthlib import OAuth2Session as _Base

    # What only logins need is imported by them.
    from tiktok_oauth_session._oauth.pending_logins import Consent, PendingLogins
else:
    # Cooperative: whichever OAuth2Session comes after it in the subclass.
    _Base = object

log = logging.getLogger(__name__)

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
    _told_not_compared = False

    #: Hands the token of a new login to whoever keeps it, then uses it.
    _keep_login: Callable[[TikTokToken], TikTokToken]
    #: Finds out whether that will be possible.
    _require_writable_store: Callable[[], None]

    # --- logging in --------------------------------------------------------------------------------

    @property
    def code_verifier(self) -> str | None:
        """The PKCE verifier of the login that was begun last; None once that is finished.

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

    def _require_registered(self, url: str | None, given: Mapping[str, Any]) -> None:
        """Refuse to send a user to a page that can only show an error."""
        known = {
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope,
            **given,
        }
        # A link with a query was copied from TikTok's portal, which has put in what is registered.
        page = url or self.platform.authorization_endpoint
        for name in () if "?" in page else self.platform.required_for_authorization:
            if not known.get(name):
                said = "client_key" if name == "client_id" else name
                where = (
                    "" if name in known else " to authorization_url(), or the link that TikTok's portal shows"
                )
                raise ValueError(
                    f"A login needs the {said} that is registered for your app: pass `{said}=`{where}."
                )
        names = self.platform.authorization_parameters
        if names is not None and "code_challenge" not in names and self._needs_pkce():
            raise ValueError(f"{self.platform.name} knows no PKCE: leave `pkce=` out.")

    @without_variables
    def authorization_url(
        self, url: str | None = None, state: str | None = None, **kwargs: Any
    ) -> tuple[str, str]:
        """Begin a login.

        Several may be begun before one is finished: each state remembers its own PKCE verifier.

        Args:
            url: The authorize page; the platform's, if None. Of a link that was copied from TikTok's portal,
                what is in its query stays, but for the state and whatever this session has itself.
            state: A state of one's own; a new random one, if None.
            **kwargs: More parameters for the page, such as ``disable_auto_auth=1``, which always shows it.

        Returns:
            The URL to send the user to, and the state. A web application keeps the state (and
            `code_verifier`, if it uses PKCE) in the user's web session.

        Raises:
            ValueError: Something is missing that is registered for the app, such as its redirect URI; or a
                secret was to become part of the URL; or the platform knows no PKCE, which was asked for; or
                ``code_challenge_method`` is another than ``S256``, such as ``plain``, which protects nothing.

        Source: https://developers.tiktok.com/doc/login-kit-web
        """
        self._require_registered(url, kwargs)
        if kwargs.get("code_challenge_method", "S256") != "S256":
            raise ValueError("TikTok takes the code_challenge_method S256 only.")
        if "code_challenge" in kwargs:
            # Without a method it would count as plain: https://www.rfc-editor.org/rfc/rfc7636#section-4.3
            kwargs["code_challenge_method"] = "S256"
        state = state or self.new_state()
        # From here on it is among the pending logins, and is used once.
        self._state = None
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

    @without_variables
    def fetch_token(
        self,
        token_url: str | None = None,
        code: str | None = None,
        authorization_response: Any = None,
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
        """Finish a login: exchange the code for a token, and hand the token to the store.

        The session's old token keeps working until the new one is safe.

        Args:
            token_url: The endpoint; the platform's, if None.
            code: The code, percent-encoded or not, in place of the callback. There is no state to compare
                then, so that a log line says what to pass to have it compared. Beside a callback it has to be
                that one's.
            authorization_response: The callback: the whole URL that the user came back to, as text or as
                whatever `str` makes it of (a framework's URL), or its path and query, or its query string.
                The state in it is compared, and so are host and path, where it has them, with the redirect
                URI's.
            state: The state that the login was begun with, which `authorization_url` returned, where another
                session began it. Only with `authorization_response`.
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
            AuthorizationError: The user refused; or the callback holds no code, repeats a parameter, or came
                to another address than the redirect URI; or the login's verifier is not known here.
            TokenError: TikTok gave no token for the code.
            TokenNotSaved: It gave one that could not be saved.
            InsecureTransportError: The endpoint is plain http to another machine; or so is the callback, and
                the redirect URI is not https.
            ValueError: Neither `code` nor `authorization_response`, `code` alone with `state`, or a `code`
                that is not the callback's.
            StoreError: The store cannot be written; the code is not spent, and this call can be made again.

        Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
        """
        from tiktok_oauth_session._oauth.grants import exchange_code

        url = token_url or self.platform.token_endpoint
        require_secure(url, self.platform.insecure_hosts)
        redirect_uri = kwargs.get("redirect_uri", self.redirect_uri)
        consent = self._consent(code, authorization_response, state, code_verifier, redirect_uri)
        # After a stranger's callback was refused, and while this one can still come again.
        self._require_writable_store()
        self._logins().finish(consent)
        kwargs.update(self._proof_of(consent, code_verifier))
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

    def _proof_of(self, consent: Consent, code_verifier: str | None) -> dict[str, str]:
        """Return the parameter that proves who began a login with PKCE; none for one without.

        Raises:
            AuthorizationError: The verifier is not known here.
        """
        if verifier := code_verifier or consent.code_verifier:
            if verifier == self._code_verifier:
                self._code_verifier = None
            return {"code_verifier": verifier}
        if self._needs_pkce() and self._is_code_grant():
            raise AuthorizationError(
                "This login uses PKCE and was begun elsewhere: pass the `code_verifier` of the session "
                "that began it."
            )
        return {}

    def _consent(
        self,
        code: str | None,
        response: object,
        state: object,
        code_verifier: str | None,
        redirect_uri: str | None,
    ) -> Consent:
        callback = "" if response is None else str(response)
        if not callback:
            return self._consent_by_code(code, state, code_verifier)
        consent = self._logins_and_known_state().match(callback, state=state, redirect_uri=redirect_uri)
        # requests-oauthlib sends the code, and compares no state then.
        if code and consent.code not in (code, unquote(code)):
            raise ValueError("The `code` is not the one in `authorization_response`: pass the latter alone.")
        return consent

    def _consent_by_code(self, code: str | None, state: object, code_verifier: str | None) -> Consent:
        from tiktok_oauth_session._oauth.authorization_response import decode_code
        from tiktok_oauth_session._oauth.pending_logins import Consent

        # A code that the caller gave to oauthlib's client is another that comes without a state.
        code = decode_code(code) if code else getattr(self._client, "code", None)
        if not code and self._is_code_grant():
            raise ValueError("Please supply either code or authorization_response parameters.")
        if not code:
            return Consent("")
        if state is not ...:
            raise ValueError(
                "A code has no state in it to compare `state` with, and a state that is compared with itself "
                "proves nothing: pass the whole callback as `authorization_response`, with `state`."
            )
        self._tell_not_compared()
        consent = self._logins().match_code(code, code_verifier)
        return consent._replace(code_verifier=consent.code_verifier or self._code_verifier)

    def _is_code_grant(self) -> bool:
        return isinstance(self._client, WebApplicationClient)

    def _logins_and_known_state(self) -> PendingLogins:
        """Return the pending logins, that of the state among them which a constructor or a framework set."""
        logins, state = self._logins(), self._state
        if isinstance(state, str) and state and not logins.is_open(state):
            logins.begin(state, None)
        self._state = None
        return logins

    def _tell_not_compared(self) -> None:
        if not self._told_not_compared:
            log.warning(
                "the state of this login was not compared, because fetch_token got its code alone: pass "
                "authorization_response= (the whole callback) and state= (what authorization_url() "
                "returned), or anybody can log a visitor in with a code of their own"
            )
        self._told_not_compared = True
