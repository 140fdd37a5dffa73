"""TikTok's dialect of OAuth 2: what is sent, and how it is spelled.

The client says what oauthlib asks a client for (authorize URL, challenge, token placement,
revocation); the hooks say what requests-oauthlib asks hooks for (token requests and replies).
Both read the `Platform`; neither knows which surface it is.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from oauthlib.common import add_params_to_uri
from oauthlib.oauth2 import Client, TokenExpiredError, WebApplicationClient

from tiktok_oauth_session._http.allowed_hosts import require_secure
from tiktok_oauth_session._http.redaction import SECRET_PARAMETERS
from tiktok_oauth_session._http.reply_body import json_object
from tiktok_oauth_session._http.transport import TOKEN_HEADERS
from tiktok_oauth_session._oauth.responses import read_reply, token_fields
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.errors import RevocationError, TokenError
from tiktok_oauth_session.platforms import LOGIN_KIT, Parameters, Platform
from tiktok_oauth_session.tokens import TikTokToken, split_scopes

if TYPE_CHECKING:
    import requests
    from requests_oauthlib import OAuth2Session

_Session = TypeVar("_Session", bound="OAuth2Session")


class TikTokClient(WebApplicationClient):
    """oauthlib's web application client, speaking TikTok.

    Args:
        client_id: The client key.
        platform: The surface to speak to.
        **kwargs: As for `oauthlib.oauth2.WebApplicationClient`.
    """

    # What the parent has and its stubs leave out.
    _expires_at: float | None

    def __init__(self, client_id: str | None, *, platform: Platform = LOGIN_KIT, **kwargs: Any) -> None:
        super().__init__(client_id, **kwargs)  # type: ignore[arg-type]  # oauthlib itself takes None
        self.platform = platform

    @classmethod
    def of(cls, client: Client, platform: Platform) -> Client:
        """Return a copy of a plain web application client that speaks TikTok; any other one as it is."""
        if type(client) is not WebApplicationClient:
            return client
        speaking = cls.__new__(cls)
        vars(speaking).update(vars(client), platform=platform)
        return speaking

    @without_variables
    def prepare_request_uri(
        self,
        uri: str,
        redirect_uri: str | None = None,
        scope: object = None,
        state: str | None = None,
        code_challenge: str | None = None,
        code_challenge_method: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Return the authorize URL.

        Raises:
            ValueError: A secret was to become part of the URL.

        Source: https://developers.tiktok.com/doc/login-kit-web
        """
        require_secure(uri, self.platform.insecure_hosts)
        if exposed := sorted(SECRET_PARAMETERS.intersection(kwargs)):
            raise ValueError(f"{', '.join(exposed)} must not be part of a URL that a browser is sent to.")
        asked = split_scopes(self.scope if scope is None else scope)
        ours = {
            "client_id": self.client_id,
            "response_type": "code",
            "scope": self.platform.scope_separator.join(asked) or None,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": code_challenge,
            "code_challenge_method": code_challenge_method if code_challenge else None,
        }
        names = self.platform.authorization_parameters
        written = _written(names, ours) | {(names or {}).get(k, k): v for k, v in kwargs.items()}
        parts = urlsplit(uri)
        kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in written]
        page = urlunsplit(parts._replace(query=urlencode(kept)))
        return str(add_params_to_uri(page, list(written.items())))

    @without_variables
    def create_code_challenge(self, code_verifier: str, code_challenge_method: str | None = None) -> str:
        """Return the PKCE challenge: on TikTok the *hex* SHA-256 of the verifier.

        Raises:
            ValueError: The method is another than ``S256``, the only one that TikTok takes.

        Source: https://developers.tiktok.com/doc/login-kit-desktop (read 2026-05)
        """
        if code_challenge_method != "S256":
            raise ValueError("TikTok takes the code_challenge_method S256 only.")
        if self.platform.code_challenge_encoding == "base64url":
            return str(super().create_code_challenge(code_verifier, code_challenge_method))
        self.code_challenge: str = hashlib.sha256(code_verifier.encode("ascii")).hexdigest()
        return self.code_challenge

    @without_variables
    def parse_request_uri_response(self, uri: str, state: str | None = None) -> dict[str, str]:
        """Read the callback, as a plain OAuth2Session asks for it.

        Raises:
            AuthorizationError: It holds no code, or not the state.
        """
        from tiktok_oauth_session._oauth.authorization_response import (
            authorization_code,
            matching_state,
            parse_authorization_response,
        )

        answer = parse_authorization_response(uri)
        matching_state(answer.get("state"), [state] if state else [])
        self.code: str = authorization_code(answer)
        return answer

    @without_variables
    def parse_request_body_response(  # type: ignore[override]  # a dict as oauthlib's, of our class
        self, body: str, scope: object = None, **kwargs: Any
    ) -> TikTokToken:
        """Read a token reply, as a plain OAuth2Session asks for it.

        A user who grants fewer scopes than asked is logged in: that is no warning and no error.

        Raises:
            TokenError: It is a refusal, or no token that anybody can read.
        """
        # The stand-in holds what a reply is judged by; the hook has flattened the body by now.
        reply: Any = _Body(body)
        token = TikTokToken.from_reply(token_fields(reply), requested_at=time.time(), previous=self.token)
        self.token: TikTokToken = token
        self.populate_token_attributes(token)
        return token

    @without_variables
    def add_token(
        self,
        uri: str,
        http_method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        token_placement: str | None = None,
        **kwargs: Any,
    ) -> tuple[str, dict[str, str], Any]:
        """Show the access token where this surface wants to see it.

        Raises:
            TokenExpiredError: It has expired.
            TokenError: It fits into no header.
            ValueError: There is none.
        """
        require_secure(uri, self.platform.insecure_hosts)
        access_token = self.token.get("access_token") or self.access_token
        if not access_token:
            raise ValueError("Missing access token.")
        if self._expires_at and self._expires_at <= time.time():
            raise TokenExpiredError
        headers = dict(headers or {})
        if self.platform.access_token_placement == "parameter":
            return str(add_params_to_uri(uri, [("access_token", access_token)])), headers, body
        headers[self.platform.access_token_header] = header_with(self.platform, access_token)
        return uri, headers, body

    @without_variables
    def prepare_token_revocation_request(  # type: ignore[override]  # parameters, not a written body
        self,
        revocation_url: str,
        token: str,
        token_type_hint: str | None = None,
        body: str = "",
        **kwargs: Any,
    ) -> tuple[str, dict[str, str], dict[str, str]]:
        """Return URL, headers and parameters of a revocation.

        Args:
            revocation_url: Where to send it.
            token: The access token.
            token_type_hint: Not sent: TikTok documents no such parameter.
            body: Not sent, for the same reason.
            **kwargs: ``client_secret`` and ``open_id``.

        Raises:
            RevocationError: Something is missing that this surface documents.

        Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
        """
        require_secure(revocation_url, self.platform.insecure_hosts)
        names = self.platform.revocation_parameters
        known = {"client_id": self.client_id, "token": token, **kwargs}
        missing = [_spoken(name) for name in names or () if not known.get(name)]
        if missing:
            raise RevocationError(f"{self.platform.name} needs {' and '.join(missing)} to revoke a token.")
        return revocation_url, dict(TOKEN_HEADERS), _written(names, known)

    def prepare_qr_request(
        self, url: str, names: Parameters, **fields: str | None
    ) -> tuple[str, dict[str, str], dict[str, str]]:
        """Return URL, headers and parameters of a request about a QR code.

        Args:
            url: Where to send it.
            names: What this surface documents for it: ``qr_code_parameters`` or ``qr_status_parameters``.
            **fields: Whatever there is; what is not documented is not sent.

        Source: https://developers.tiktok.com/doc/login-kit-qr-code-authorization
        """
        require_secure(url, self.platform.insecure_hosts)
        headers = _headers_for(self.platform, TOKEN_HEADERS)
        return url, headers, _written(names, {"client_id": self.client_id, **fields})


class _Body:
    """A reply of which only the text is known."""

    status_code = 200
    headers: Mapping[str, str] = {}

    def __init__(self, text: str) -> None:
        self.text = text
        self.content = text.encode()


def add_token_to_json(platform: Platform, body: object, access_token: str) -> dict[str, Any] | None:
    """Return a JSON body that shows the token; None where it goes elsewhere."""
    if platform.access_token_placement == "parameter" and isinstance(body, dict):
        return {**body, "access_token": access_token}
    return None


def header_with(platform: Platform, access_token: str) -> str:
    """Return the header that shows the token.

    Raises:
        TokenError: It fits into no header. (requests' own error would quote it.)
    """
    if not (access_token.isascii() and access_token.isprintable() and access_token == access_token.strip()):
        raise TokenError(
            "The access token fits into no header: there is a line break, a space at an end, or a character "
            "beyond ASCII in it. TikTok issues none like that: look at how it was kept.",
            error="invalid_token",
        )
    return platform.access_token_prefix + access_token


def shows_token(platform: Platform, request: requests.PreparedRequest, access_token: str) -> bool:
    """Tell whether a request shows this token."""
    if platform.access_token_placement == "header":
        return (
            request.headers.get(platform.access_token_header) == platform.access_token_prefix + access_token
        )
    query = dict(parse_qsl(urlsplit(request.url or "").query))
    return access_token in (query.get("access_token"), _json_body(request).get("access_token"))


def take_token_off(platform: Platform, request: requests.PreparedRequest) -> None:
    """Take the access token off a request, wherever this surface wants to see it."""
    if platform.access_token_placement == "header":
        request.headers.pop(platform.access_token_header, None)
        return
    parts, body = urlsplit(request.url or ""), _json_body(request)
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if name != "access_token"]
    if kept != query:
        request.url = urlunsplit(parts._replace(query=urlencode(kept)))
    if body.pop("access_token", None) is not None:
        request.prepare_body(None, None, json=body)


def _json_body(request: requests.PreparedRequest) -> dict[str, Any]:
    return (json_object(request.body) if isinstance(request.body, bytes) else None) or {}


def _spoken(name: str) -> str:
    """Return what users of TikTok call a parameter."""
    return "client_key" if name == "client_id" else name


def _written(names: Parameters, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a surface documents, under its own names."""
    there = {name: value for name, value in fields.items() if value is not None}
    return there if names is None else {names[k]: v for k, v in there.items() if k in names}


def _token_parameters(platform: Platform, fields: Mapping[str, Any]) -> dict[str, Any]:
    grant = fields.get("grant_type")
    names = {
        "refresh_token": platform.refresh_parameters,
        "client_credentials": platform.client_credentials_parameters,
    }.get(str(grant), platform.token_parameters)
    return _written(names, {**fields, "grant_type": platform.grant_types.get(str(grant), grant)})


# --- hooks -----------------------------------------------------------------------------------------


class _Hook(functools.partial[Any]):
    """A hook with its client, platform and secret, which it does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self.func.__name__} for {type(self.args[0]).__name__}>"


def write_token_request(
    client: Client,
    platform: Platform,
    client_secret: str | None,
    url: str,
    headers: Mapping[str, str],
    request: Mapping[str, Any],
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Spell a code exchange the way its surface documents it (an ``access_token_request`` hook)."""
    fields = {
        "client_id": client.client_id if platform.token_parameters is not None else None,
        "client_secret": client_secret,
        **(request.get("data") or request.get("params") or {}),
    }
    placed = {
        "query": "params",
        "json": "json",
        "form": "params" if "params" in request else "data",
    }
    parameters = _token_parameters(platform, fields)
    return url, _headers_for(platform, headers), {placed[platform.parameter_placement]: parameters}


def write_refresh_request(
    client: Client,
    platform: Platform,
    client_secret: str | None,
    url: str,
    headers: Mapping[str, str],
    body: str,
) -> tuple[str, dict[str, str], str]:
    """Spell a refresh the way its surface documents it (a ``refresh_token_request`` hook)."""
    fields = {
        "client_id": client.client_id if platform.refresh_parameters is not None else None,
        "client_secret": client_secret,
        **dict(parse_qsl(body, keep_blank_values=True)),
    }
    parameters = _token_parameters(platform, fields)
    headers = _headers_for(platform, headers)
    if platform.parameter_placement == "query":
        return str(add_params_to_uri(url, list(parameters.items()))), headers, ""
    return url, headers, urlencode(parameters)


def _headers_for(platform: Platform, headers: Mapping[str, str]) -> dict[str, str]:
    if platform.parameter_placement == "form":
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() != "content-type"}


@without_variables
def tiktok_compliance_fix(
    session: _Session, *, platform: Platform = LOGIN_KIT, client_secret: str | None = None
) -> _Session:
    """Teach a plain `requests_oauthlib.OAuth2Session` TikTok's dialect.

    That gives names, scopes, challenge and replies. What keeps a connection alive (one refresh for
    all, pauses, stores, guarded hosts, quiet logs) is `TikTokOAuth2Session`.

    Args:
        session: The session; call its ``fetch_token`` with ``include_client_id=True``, or it adds an
            HTTP Basic header that TikTok does not document.
        platform: The surface to speak to.
        client_secret: The secret, needed for refreshes, which a plain session sends without it.

    Returns:
        The same session.
    """
    untyped: Any = session  # the stubs leave out the client and the request hooks
    untyped._client = TikTokClient.of(untyped._client, platform)  # noqa: SLF001 - as its own fixes do
    for kind, hook in dialect_hooks(untyped._client, platform, client_secret).items():  # noqa: SLF001 - see above
        untyped.register_compliance_hook(kind, hook)
    return session


def dialect_hooks(
    client: Client, platform: Platform, client_secret: str | None = None
) -> dict[str, Callable[..., Any]]:
    """Return the compliance hooks of a surface, by their kind."""
    # By position: a partial with keywords keeps a dict for them.
    bound = (client, platform, client_secret)
    read = _Hook(read_reply, platform)
    return {
        "access_token_request": _Hook(write_token_request, *bound),
        "refresh_token_request": _Hook(write_refresh_request, *bound),
        "access_token_response": read,
        "refresh_token_response": read,
    }
