"""The token requests: each grant's parameters, hooks, request, hooks, verdict.

`requests_oauthlib.OAuth2Session` does this in `fetch_token` and `refresh_token`, and would log the
secrets, follow redirects, forget the old token first and pass the caller's request arguments on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import parse_qsl

import requests
from oauthlib.oauth2 import LegacyApplicationClient
from requests.auth import HTTPBasicAuth

from tiktok_oauth_session._http.allowed_hosts import require_secure
from tiktok_oauth_session._http.oauth_request import Transport, post
from tiktok_oauth_session._http.redaction import secrets_in
from tiktok_oauth_session._oauth.responses import token_fields
from tiktok_oauth_session.compliance import TOKEN_HEADERS
from tiktok_oauth_session.errors import TokenError
from tiktok_oauth_session.tokens import TikTokToken

if TYPE_CHECKING:
    from tiktok_oauth_session._oauth.pending_logins import Consent
    from tiktok_oauth_session.platforms import Platform


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
    if "client_secret" in (session.platform.token_parameters or ()) and not client_secret:
        # Before the code is spent.
        raise TokenError(
            "The code cannot be exchanged without the app's secret: pass `client_secret=`.",
            error="invalid_client",
        )
    if isinstance(client, LegacyApplicationClient):
        for needed in ("username", "password"):
            if needed not in parameters:
                raise ValueError(f"LegacyApplicationClient needs the parameter {needed}.")
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
    method = (method or session.platform.token_method).upper()
    if method not in ("POST", "GET"):
        raise ValueError("The method must be POST or GET.")
    request: dict[str, Any] = {"params" if in_query or method == "GET" else "data": _pairs(body)}
    sent_headers: Mapping[str, str] = headers or TOKEN_HEADERS
    for hook in session.compliance_hook["access_token_request"]:
        url, sent_headers, request = hook(url, sent_headers, request)
    token = _token_from(session, "access_token_response", method, url, sent_headers, request, transport)
    if consent.scopes and "scope" not in token:
        token["scope"] = consent.scopes
    return token


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
        return Transport(**{**vars(transport), "auth": basic}), bool(include_client_id)
    return transport, bool(include_client_id)


def refresh(
    session: Granted,
    url: str,
    spent: TikTokToken,
    secret: str | None,
    transport: Transport,
    *,
    may_replay: bool = False,
    headers: Mapping[str, str] | None = None,
    body: str = "",
    extra: Mapping[str, Any] | None = None,
) -> TikTokToken:
    """Spend a refresh token on a new token.

    Raises:
        TokenError: There came none.
    """
    require_secure(url)
    parameters = {"scope": session.scope, **session.auto_refresh_kwargs, **(extra or {})}
    if session.platform.token_endpoint_auth_method == "client_secret_post" and secret:
        parameters.setdefault("client_secret", secret)
    written = session._client.prepare_refresh_body(  # noqa: SLF001 - requests-oauthlib has no public name for it
        body=body, refresh_token=spent.refresh_token, **parameters
    )
    sent_headers: Mapping[str, str] = headers or TOKEN_HEADERS
    for hook in session.compliance_hook["refresh_token_request"]:
        url, sent_headers, written = hook(url, sent_headers, written)
    method, placement = session.platform.token_method, session.platform.parameter_placement
    place = {"json": "json", "form": "data", "query": "params"}[placement]
    request = {place: _pairs(written)}
    return _token_from(
        session,
        "refresh_token_response",
        method,
        url,
        sent_headers,
        request,
        transport,
        may_replay=may_replay,
        previous=spent,
    )


def client_credentials(session: Granted, transport: Transport) -> TikTokToken:
    """Fetch a token for the app itself.

    Raises:
        TokenError: There came none, or this surface has none.
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
    return _token_from(
        session, "access_token_response", method, url, headers, request, transport, may_replay=True
    )


def _token_from(
    session: Granted,
    response_hooks: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    request: dict[str, Any],
    transport: Transport,
    *,
    may_replay: bool = False,
    previous: TikTokToken | None = None,
) -> TikTokToken:
    # Before the request: a lifetime counted from here never ends too late.
    requested_at = time.time()
    secrets = secrets_in(dict(parse_qsl(url.partition("?")[2])))
    secrets += [secret for fields in request.values() for secret in secrets_in(fields)]
    http = cast("requests.Session", session)
    response = post(http, method, url, headers, request, transport, may_replay=may_replay)
    for hook in session.compliance_hook[response_hooks]:
        response = hook(response)
    return TikTokToken.from_reply(
        token_fields(response, sent=secrets), requested_at=requested_at, previous=previous
    )


def _pairs(body: str) -> dict[str, str]:
    return dict(parse_qsl(body, keep_blank_values=True))
