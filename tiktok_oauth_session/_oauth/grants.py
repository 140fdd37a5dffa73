"""The token requests: each grant's parameters, hooks, request, hooks, verdict.

`requests_oauthlib.OAuth2Session` does this in `fetch_token` and `refresh_token`, and would log the
secrets, follow redirects, forget the old token first and pass the caller's request arguments on.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import parse_qsl

import requests
from oauthlib.oauth2 import LegacyApplicationClient
from requests.auth import HTTPBasicAuth

from tiktok_oauth_session._http.allowed_hosts import require_secure
from tiktok_oauth_session._http.deadline import deadline_of
from tiktok_oauth_session._http.oauth_request import OAuthRequest, post
from tiktok_oauth_session._http.redaction import secrets_in
from tiktok_oauth_session._http.transport import TOKEN_HEADERS, Transport
from tiktok_oauth_session._oauth.responses import read_reply, token_fields
from tiktok_oauth_session.errors import TokenError
from tiktok_oauth_session.tokens import TikTokToken

if TYPE_CHECKING:
    from tiktok_oauth_session._oauth.pending_logins import Consent
    from tiktok_oauth_session.platforms import Platform


log = logging.getLogger(__name__)


class Granted(Protocol):
    """What a grant needs of the session that asks for it, beside being a `requests.Session`."""

    platform: Platform
    client_secret: str | None
    # requests-oauthlib's own, which its stubs type more narrowly than it does, or leave out.
    client_id: Any
    redirect_uri: Any
    scope: Any
    auto_refresh_kwargs: Any
    compliance_hook: Any
    _client: Any


def basic_credentials(platform: Platform, client_id: str | None, secret: str | None) -> HTTPBasicAuth | None:
    """Return HTTP Basic credentials for a refresh; None on TikTok, which wants them in the body."""
    if platform.token_endpoint_auth_method == "client_secret_basic" and client_id and secret:
        return HTTPBasicAuth(client_id, secret)
    return None


def exchange_code(
    session: Granted,
    url: str,
    consent: Consent,
    transport: Transport,
    *,
    client_secret: str | None,
    include_client_id: bool | None,
    method: str | None,
    in_query: bool,
    headers: Mapping[str, str] | None,
    parameters: dict[str, Any],
) -> TikTokToken:
    """Exchange a code for a token (or whatever grant oauthlib's client of the session stands for).

    Raises:
        TokenError: There came none.
    """
    parameters = {k: v for k, v in parameters.items() if v is not None}
    client = session._client  # noqa: SLF001 - requests-oauthlib has no public name for it
    method = (method or session.platform.token_method).upper()
    _require_sendable(session.platform, client, client_secret, method, parameters)
    transport, in_body = _authenticated(
        session, transport, client_secret, include_client_id=include_client_id
    )
    if in_body and client_secret is not None:
        parameters["client_secret"] = client_secret
    body = client.prepare_request_body(
        code=consent.code,
        redirect_uri=parameters.pop("redirect_uri", session.redirect_uri),
        include_client_id=in_body,
        **parameters,
    )
    request: dict[str, Any] = {"params" if in_query or method == "GET" else "data": _pairs(body)}
    sent_headers: Mapping[str, str] = headers or TOKEN_HEADERS
    for hook in session.compliance_hook["access_token_request"]:
        url, sent_headers, request = hook(url, sent_headers, request)
    token = _token_from(session, method, url, sent_headers, request, transport)
    if consent.scopes and "scope" not in token:
        token["scope"] = consent.scopes
    return token


def _require_sendable(
    platform: Platform, client: Any, secret: str | None, method: str, parameters: Mapping[str, Any]
) -> None:
    """Find out what is missing before the code is spent."""
    if "client_secret" in (platform.token_parameters or ()) and not secret:
        raise TokenError(
            "The code cannot be exchanged without the app's secret: pass `client_secret=`.",
            error="invalid_client",
        )
    if isinstance(client, LegacyApplicationClient):
        for needed in ("username", "password"):
            if needed not in parameters:
                raise ValueError(f"LegacyApplicationClient needs the parameter {needed}.")
    if method not in ("POST", "GET"):
        raise ValueError("The method must be POST or GET.")


def _authenticated(
    session: Granted,
    transport: Transport,
    secret: str | None,
    *,
    include_client_id: bool | None,
) -> tuple[Transport, bool]:
    """Decide where the app's credentials go: TikTok takes them in the body.

    Elsewhere the caller decides as with `requests_oauthlib.OAuth2Session.fetch_token`.
    """
    if session.platform.token_endpoint_auth_method == "client_secret_post":
        return transport, True
    if transport.auth is None and include_client_id is not True and session.client_id:
        basic = HTTPBasicAuth(session.client_id, secret or "")
        return transport._replace(auth=basic), bool(include_client_id)
    return transport, bool(include_client_id)


class RefreshGrant:
    """What spends refresh tokens for a session.

    Args:
        session: The session.
        url: The endpoint.
        secret: The app's secret.
        transport: How to reach the endpoint.
        headers: The request's headers; the usual ones, if None.
        body: Parameters to add, form-encoded.
        extra: More of them.
    """

    def __init__(
        self,
        session: Granted,
        url: str,
        secret: str | None,
        transport: Transport,
        *,
        headers: Mapping[str, str] | None = None,
        body: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._session, self._url, self._secret, self._transport = session, url, secret, transport
        self._headers, self._body, self._extra = headers or TOKEN_HEADERS, body, extra or {}
        digest = hashlib.sha256((secret or "").encode("utf-8", "surrogatepass")).hexdigest()
        #: The app, for which TikTok's verdict on its credentials counts.
        self.app = (url, session.client_id, digest)
        self.deadline_s = deadline_of(transport.timeout)

    def prepare(self, spent: TikTokToken) -> PreparedRefresh:
        """Make the request that spends a refresh token.

        Raises:
            InsecureTransportError: It would travel unencrypted.
        """
        session, platform, url = self._session, self._session.platform, self._url
        require_secure(url, platform.insecure_hosts)
        parameters = {"scope": session.scope, **session.auto_refresh_kwargs, **self._extra}
        if platform.token_endpoint_auth_method == "client_secret_post" and self._secret:
            parameters.setdefault("client_secret", self._secret)
        written = session._client.prepare_refresh_body(  # noqa: SLF001 - requests-oauthlib has no public name for it
            body=self._body, refresh_token=spent.refresh_token, **parameters
        )
        headers: Mapping[str, str] = self._headers
        for hook in session.compliance_hook["refresh_token_request"]:
            url, headers, written = hook(url, headers, written)
        # Here, too: a hook may have led elsewhere.
        require_secure(url, platform.insecure_hosts)
        fields = {platform.parameters_keyword: _pairs(written)}
        request = OAuthRequest(
            cast("requests.Session", session), platform.token_method, url, headers, fields, self._transport
        )
        return PreparedRefresh(session, request, spent, _secrets(url, fields))


class PreparedRefresh:
    """One refresh token's request, ready to be sent.

    Args:
        session: Whose hooks read the reply.
        request: The request.
        spent: The token that it spends.
        secrets: The secrets in it.
    """

    def __init__(
        self, session: Granted, request: OAuthRequest, spent: TikTokToken, secrets: list[str]
    ) -> None:
        self._session, self._request, self._spent, self._secrets = session, request, spent, secrets
        # Before the request: a lifetime counted from here never ends too late.
        self._requested_at = time.time()
        self.deadline_s = request.deadline_s

    @property
    def seconds_left(self) -> float:
        """Seconds until it is given up."""
        return self._request.seconds_left

    def ready(self) -> AbstractContextManager[Callable[[], requests.Response]]:
        """Lend what sends it, once what that takes is there."""
        return self._request.ready()

    @property
    def is_under_way(self) -> bool:
        """Whether nobody knows yet what becomes of it."""
        return self._request.is_under_way

    def late_reply(self, seconds: float) -> requests.Response | None:
        """Return the reply of a request whose sending was interrupted, if one comes in so many seconds."""
        return self._request.late_reply(seconds)

    def read(self, response: requests.Response, keep: Callable[[TikTokToken], object]) -> TikTokToken:
        """Return the token in the reply.

        Args:
            response: The reply.
            keep: Takes the token before the user's hooks, which may fail, see the reply.

        Raises:
            TokenError: There is none in it.
        """
        own: TikTokToken | None = None
        refusal: TokenError | None = None
        try:
            own = self._token_in(read_reply(self._session.platform, response))
            keep(own)
        except TokenError as error:
            refusal = error
        try:
            for hook in self._session.compliance_hook["refresh_token_response"]:
                response = hook(response)
            return self._token_in(response)
        except Exception as error:  # noqa: BLE001 - a hook of the user's may raise anything
            if own is None:
                raise refusal or error from None
            log.error(  # noqa: TRY400 - the error's own words may hold a secret
                "a refresh_token_response hook failed (%s); TikTok's reply is used as it came",
                type(error).__name__,
            )
            return own

    def _token_in(self, response: requests.Response) -> TikTokToken:
        fields = token_fields(response, sent=self._secrets)
        return TikTokToken.from_reply(fields, requested_at=self._requested_at, previous=self._spent)


def client_credentials(session: Granted, transport: Transport) -> TikTokToken:
    """Fetch a token for the app itself.

    Raises:
        TokenError: There came none, or this surface has none.
        InsecureTransportError: It would travel unencrypted.
    """
    if session.platform.client_credentials_parameters == {}:
        raise TokenError(f"{session.platform.name} has no client tokens.", error="unsupported_grant_type")
    fields = {
        "client_id": session.client_id,
        "client_secret": session.client_secret,
        "grant_type": "client_credentials",
    }
    url, headers = session.platform.token_endpoint, dict(TOKEN_HEADERS)
    request: dict[str, Any] = {"data": fields}
    for hook in session.compliance_hook["access_token_request"]:
        url, headers, request = hook(url, headers, request)
    method = session.platform.token_method
    return _token_from(session, method, url, headers, request, transport, may_replay=True)


def _token_from(
    session: Granted,
    method: str,
    url: str,
    headers: Mapping[str, str],
    request: dict[str, Any],
    transport: Transport,
    *,
    may_replay: bool = False,
) -> TikTokToken:
    # Here, too: a hook may have led elsewhere.
    require_secure(url, session.platform.insecure_hosts)
    # Before the request: a lifetime counted from here never ends too late.
    requested_at = time.time()
    requests_session = cast("requests.Session", session)
    response = post(requests_session, method, url, headers, request, transport, may_replay=may_replay)
    for hook in session.compliance_hook["access_token_response"]:
        response = hook(response)
    fields = token_fields(response, sent=_secrets(url, request))
    return TikTokToken.from_reply(fields, requested_at=requested_at)


def _secrets(url: str, request: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the secrets of a request, which its reply may quote."""
    in_query = secrets_in(dict(parse_qsl(url.partition("?")[2])))
    return in_query + [secret for fields in request.values() for secret in secrets_in(fields)]


def _pairs(body: str) -> dict[str, str]:
    return dict(parse_qsl(body, keep_blank_values=True))
