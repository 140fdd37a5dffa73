"""TikTok's OAuth surfaces, as data: where they are and how they differ from RFC 6749."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

#: What a surface sends: the name in RFC 6749 (or 7009) -> the name on the wire. What is not listed
#: is not sent. None sends whatever there is, under its own name.
Parameters = Mapping[str, str] | None


# Sessions ask for it at every load of a token.
@functools.lru_cache(maxsize=64)
def _canonical(url: str) -> str:
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    is_usual = parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme))
    return f"{parts.scheme}://{host}" + ("" if is_usual else f":{parts.port}") + parts.path


# Without `eq`: writing that method is half of what importing this module costs.
@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Platform:
    """One OAuth surface of TikTok. Fields are named after RFC 8414 where it has a name.

    A surface is one value of this class; nothing else in the package asks which surface it is.

    An absolute expiry, such as Shop's, is a lifetime renamed to ``expires_at`` or ``refresh_expires_at`` by
    `reply_names`.
    """

    name: str

    # Where it is.
    authorization_endpoint: str
    token_endpoint: str
    #: If None, tokens of this surface cannot be refreshed (unless the session has an auto_refresh_url).
    refresh_endpoint: str | None = None
    #: If None, this surface revokes nothing.
    revocation_endpoint: str | None = None
    #: What tells a name of the user (``data.user.display_name``) to who may see ``user.info.basic``.
    userinfo_endpoint: str | None = None
    qr_code_endpoint: str | None = None
    qr_status_endpoint: str | None = None
    #: What a session puts before a path, as in ``session.get("/v2/user/info/")``. If None, it takes whole
    #: URLs only.
    api_base: str | None = None
    #: What a short path of the API, such as ``user/info``, stands for.
    api_path: str = "/{}/"
    #: API calls bear a signature, such as `tiktok_oauth_session.shop_signature.ShopSignature` writes.
    api_calls_are_signed: bool = False
    #: The hosts (``host`` or ``host:port``) that may be shown an access token.
    api_hosts: tuple[str, ...] = ()
    #: The hosts that are reached over plain http, where anybody on the way reads every secret; for a fake
    #: in a container beside one's own. Loopback addresses need no such word.
    insecure_hosts: tuple[str, ...] = ()

    # How a request is written.
    authorization_parameters: Parameters = field(default=None, hash=False)
    #: What a login cannot begin without, in RFC 6749's names or, where it has none, this surface's.
    required_for_authorization: tuple[str, ...] = ()
    token_parameters: Parameters = field(default=None, hash=False)
    refresh_parameters: Parameters = field(default=None, hash=False)
    client_credentials_parameters: Parameters = field(default=None, hash=False)
    revocation_parameters: Parameters = field(default=None, hash=False)
    qr_code_parameters: Parameters = field(default=None, hash=False)
    qr_status_parameters: Parameters = field(default=None, hash=False)
    #: RFC 6749's grant_type -> this surface's.
    grant_types: Mapping[str, str] = field(default_factory=dict, hash=False)
    token_method: Literal["POST", "GET"] = "POST"
    parameter_placement: Literal["form", "query", "json"] = "form"
    token_endpoint_auth_method: Literal["client_secret_post", "client_secret_basic"] = "client_secret_post"
    scope_separator: str = ","
    #: The scopes asked for when nobody says which.
    default_scope: tuple[str, ...] = ()
    code_challenge_encoding: Literal["hex", "base64url"] = "hex"
    #: A loopback redirect URI makes PKCE compulsory.
    loopback_needs_pkce: bool = False
    #: As far as is known, no loopback address may be registered as a redirect URI; a command waits at none.
    https_redirect_uris_only: bool = False

    # How a reply is read.
    #: False where a token reply names no user, so that a store's account needs a name of the caller's own.
    tells_open_id: bool = True
    #: This surface's name of a token field -> Login Kit's.
    reply_names: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: This surface's error number -> RFC 6749's error code.
    error_codes: Mapping[int, str] = field(default_factory=dict, hash=False)

    # How an API call shows its token, and how the API says that it is dead.
    #: ``header``, or ``parameter``, which is ``access_token`` in the JSON body, if any, else in the query.
    access_token_placement: Literal["header", "parameter"] = "header"
    access_token_header: str = "Authorization"
    access_token_prefix: str = "Bearer "
    invalid_token_codes: tuple[str | int, ...] = ()
    #: False where the API answers HTTP 200 to a dead token as well.
    api_errors_by_status: bool = True

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, Platform) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.token_endpoint))

    def __repr__(self) -> str:
        """Show which surface it is, and where."""
        return f"<{type(self).__name__} {self.name!r} at {self.token_endpoint}>"

    @property
    def issuer(self) -> str:
        """Who issues its tokens, which is the token endpoint. A stored token goes to nobody else."""
        return _canonical(self.token_endpoint)

    @property
    def parameters_keyword(self) -> str:
        """The keyword of requests that takes its parameters."""
        return {"form": "data", "query": "params", "json": "json"}[self.parameter_placement]

    def at(self, base_url: str, *, insecure: bool = False) -> Platform:
        """Return the same surface on another base URL, such as a fake or a proxy.

        Args:
            base_url: Scheme, host and port, with or without a path in front of TikTok's own.
            insecure: Accept plain http to this host; see `insecure_hosts`.

        Raises:
            ValueError: There is an @ in it: a user or a password, which every log and store that names the
                address would tell.
        """
        base = base_url.rstrip("/")
        if "@" in base:
            # Crash reporters send variables away.
            del base_url, base
            raise ValueError("The base URL has to be without user and password, and an @ in its path is %40.")
        host = urlsplit(base).netloc

        def moved(url: str | None) -> str | None:
            parts = urlsplit(url or "")
            return url and base + parts.path + (parts.query and f"?{parts.query}")

        changed: dict[str, Any] = {
            each.name: moved(getattr(self, each.name))
            for each in dataclasses.fields(self)
            if each.name.endswith("_endpoint") or each.name == "api_base"
        }
        insecure_hosts = (host,) if insecure else ()
        return dataclasses.replace(self, api_hosts=(host,), insecure_hosts=insecure_hosts, **changed)


def _same(*names: str) -> dict[str, str]:
    """Return parameters that keep their RFC 6749 name; the client id is TikTok's client_key."""
    return {name: name for name in names} | {"client_id": "client_key"}


#: Login Kit v2, the current surface.
#: Source: https://developers.tiktok.com/doc/login-kit-web,
#: https://developers.tiktok.com/doc/login-kit-desktop and
#: https://developers.tiktok.com/doc/oauth-user-access-token-management
LOGIN_KIT = Platform(
    name="Login Kit v2",
    authorization_endpoint="https://www.tiktok.com/v2/auth/authorize/",
    token_endpoint="https://open.tiktokapis.com/v2/oauth/token/",
    refresh_endpoint="https://open.tiktokapis.com/v2/oauth/token/",
    revocation_endpoint="https://open.tiktokapis.com/v2/oauth/revoke/",
    userinfo_endpoint="https://open.tiktokapis.com/v2/user/info/",
    qr_code_endpoint="https://open.tiktokapis.com/v2/oauth/get_qrcode/",
    qr_status_endpoint="https://open.tiktokapis.com/v2/oauth/check_qrcode/",
    api_base="https://open.tiktokapis.com",
    api_path="/v2/{}/",
    api_hosts=("open.tiktokapis.com",),
    authorization_parameters=_same(
        "response_type",
        "scope",
        "redirect_uri",
        "state",
        "disable_auto_auth",
        "code_challenge",
        "code_challenge_method",
    ),
    token_parameters=_same("client_secret", "code", "grant_type", "redirect_uri", "code_verifier"),
    refresh_parameters=_same("client_secret", "grant_type", "refresh_token"),
    client_credentials_parameters=_same("client_secret", "grant_type"),
    revocation_parameters=_same("client_secret", "token"),
    qr_code_parameters=_same("scope", "state"),
    qr_status_parameters=_same("client_secret", "token"),
    required_for_authorization=("client_id", "redirect_uri"),
    default_scope=("user.info.basic",),
    loopback_needs_pkce=True,
    # Source: https://developers.tiktok.com/doc/tiktok-api-v2-error-handling
    invalid_token_codes=("access_token_invalid",),
)

#: The legacy Login Kit, with parameters in the query of a POST, replies wrapped in ``data``.
#: Source: https://developers.tiktok.com/bulletin/migration-guidance-oauth-v1
LOGIN_KIT_V1 = Platform(
    name="Login Kit v1",
    authorization_endpoint="https://www.tiktok.com/auth/authorize/",
    token_endpoint="https://open-api.tiktok.com/oauth/access_token/",
    refresh_endpoint="https://open-api.tiktok.com/oauth/refresh_token/",
    revocation_endpoint="https://open-api.tiktok.com/oauth/revoke/",
    qr_code_endpoint="https://open-api.tiktok.com/v0/oauth/get_qrcode",
    qr_status_endpoint="https://open-api.tiktok.com/v0/oauth/check_qrcode",
    api_base="https://open-api.tiktok.com",
    api_hosts=("open-api.tiktok.com",),
    authorization_parameters=_same("response_type", "scope", "redirect_uri", "state"),
    required_for_authorization=("client_id", "redirect_uri"),
    token_parameters=_same("client_secret", "code", "grant_type"),
    refresh_parameters=_same("grant_type", "refresh_token"),
    client_credentials_parameters={},
    revocation_parameters={"open_id": "open_id", "token": "access_token"},
    qr_code_parameters=_same("scope", "state") | {"redirect_uri": "next"},
    qr_status_parameters=_same("scope", "token") | {"redirect_uri": "next"},
    parameter_placement="query",
    default_scope=("user.info.basic",),
    access_token_placement="parameter",
    api_errors_by_status=False,
    reply_names={"redirect_url": "redirect_uri"},
    # Source: https://developers.tiktok.com/doc/mobile-sdk-error-handling-android (legacy table)
    invalid_token_codes=(2190002, 2190008),
    error_codes={
        10002: "invalid_request",
        10003: "invalid_client",
        10004: "invalid_scope",
        10005: "invalid_request",
        10006: "invalid_request",
        10007: "invalid_grant",
        10008: "invalid_request",
        10009: "invalid_request",
        10010: "invalid_grant",
        10011: "invalid_client",
        10012: "unauthorized_client",
        10013: "invalid_client",
        10014: "invalid_client",
        10015: "unauthorized_client",
        2100004: "temporarily_unavailable",
        2190002: "invalid_grant",
        2190008: "invalid_grant",
    },
)

_BUSINESS_API = "https://business-api.tiktok.com/open_api/v1.3"

#: TikTok API for Business, for the holder of a TikTok account. The client key is the app's id.
#: Source: https://github.com/tiktok/tiktok-business-api-sdk (its tiktok_code.py for errors) and
#: https://github.com/sns-sdks/python-tiktok
BUSINESS = Platform(
    name="TikTok for Business",
    authorization_endpoint="https://www.tiktok.com/v2/auth/authorize",
    token_endpoint=f"{_BUSINESS_API}/tt_user/oauth2/token/",
    refresh_endpoint=f"{_BUSINESS_API}/tt_user/oauth2/refresh_token/",
    revocation_endpoint=f"{_BUSINESS_API}/tt_user/oauth2/revoke/",
    api_base=_BUSINESS_API,
    api_hosts=("business-api.tiktok.com",),
    authorization_parameters=_same("response_type", "scope", "redirect_uri", "state", "disable_auto_auth"),
    required_for_authorization=("client_id", "redirect_uri", "scope"),
    token_parameters={
        "client_id": "client_id",
        "client_secret": "client_secret",
        "code": "auth_code",
        "grant_type": "grant_type",
        "redirect_uri": "redirect_uri",
    },
    refresh_parameters={
        "client_id": "client_id",
        "client_secret": "client_secret",
        "grant_type": "grant_type",
        "refresh_token": "refresh_token",
    },
    client_credentials_parameters={},
    revocation_parameters={
        "client_id": "client_id",
        "client_secret": "client_secret",
        "token": "access_token",
    },
    parameter_placement="json",
    https_redirect_uris_only=True,
    reply_names={"refresh_token_expires_in": "refresh_expires_in"},
    # Beware: 40100 is a rate limit here.
    error_codes={
        40000: "invalid_request",
        40002: "invalid_request",
        40100: "rate_limit_exceeded",
        40103: "invalid_grant",
        40107: "invalid_grant",
        40108: "unsupported_grant_type",
        40110: "invalid_grant",
        40113: "unauthorized_client",
        40132: "rate_limit_exceeded",
        50000: "server_error",
        50002: "server_error",
        60001: "temporarily_unavailable",
        61000: "rate_limit_exceeded",
        # Of what lies behind it, and of its databases.
        **dict.fromkeys(range(51000, 52205), "server_error"),
    },
    access_token_header="Access-Token",
    access_token_prefix="",
    invalid_token_codes=(40102, 40104, 40105),
    api_errors_by_status=False,
)

#: TikTok API for Business, for an advertiser (the Marketing API): one token that lives until it is revoked,
#: and a reply that names advertisers and no user.
#: Source: https://github.com/tiktok/tiktok-business-api-sdk
BUSINESS_ADVERTISER = dataclasses.replace(
    BUSINESS,
    name="TikTok for Business (advertiser)",
    authorization_endpoint="https://business-api.tiktok.com/portal/auth",
    token_endpoint=f"{_BUSINESS_API}/oauth2/access_token/",
    refresh_endpoint=None,
    revocation_endpoint=f"{_BUSINESS_API}/oauth2/revoke_token/",
    authorization_parameters={"client_id": "app_id", "redirect_uri": "redirect_uri", "state": "state"},
    required_for_authorization=("client_id", "redirect_uri"),
    token_parameters={"client_id": "app_id", "client_secret": "secret", "code": "auth_code"},
    refresh_parameters={},
    revocation_parameters={"client_id": "app_id", "client_secret": "secret", "token": "access_token"},
    tells_open_id=False,
    reply_names={},
)

#: TikTok Shop, for a seller outside the United States. The client key is the app key; the login's page wants
#: the service id instead, and the redirect URI is the one that the app has registered.
#: Source: https://partner.tiktokshop.com/docv2/page/authorization-overview-202407
SHOP = Platform(
    name="TikTok Shop",
    authorization_endpoint="https://services.tiktokshop.com/open/authorize",
    token_endpoint="https://auth.tiktok-shops.com/api/v2/token/get",
    refresh_endpoint="https://auth.tiktok-shops.com/api/v2/token/refresh",
    api_base="https://open-api.tiktokglobalshop.com",
    api_path="/{}",
    api_calls_are_signed=True,
    api_hosts=("open-api.tiktokglobalshop.com",),
    authorization_parameters={"service_id": "service_id", "state": "state"},
    required_for_authorization=("service_id",),
    token_parameters={
        "client_id": "app_key",
        "client_secret": "app_secret",
        "code": "auth_code",
        "grant_type": "grant_type",
    },
    refresh_parameters={
        "client_id": "app_key",
        "client_secret": "app_secret",
        "grant_type": "grant_type",
        "refresh_token": "refresh_token",
    },
    client_credentials_parameters={},
    grant_types={"authorization_code": "authorized_code"},
    token_method="GET",
    parameter_placement="query",
    reply_names={
        "access_token_expire_in": "expires_at",
        "refresh_token_expire_in": "refresh_expires_at",
        "granted_scopes": "scope",
    },
    error_codes={
        36004001: "invalid_grant",
        36004004: "invalid_grant",
        36004005: "invalid_grant",
        36009002: "rate_limit_exceeded",
        36009007: "server_error",
        98001004: "invalid_request",
    },
    access_token_header="x-tts-access-token",
    access_token_prefix="",
    invalid_token_codes=(105001, 105002),
    api_errors_by_status=False,
)

#: TikTok Shop, for a seller in the United States. TikTok's pages name two hosts for the login's page; where
#: this one does not answer, pass the link that the portal shows to `authorization_url`.
#: Source: https://partner.tiktokshop.com/docv2/page/authorization-overview-202407
SHOP_US = dataclasses.replace(
    SHOP,
    name="TikTok Shop (US)",
    authorization_endpoint="https://services.tiktokshops.us/open/authorize",
)

#: The surfaces, by their constants' names as the command line spells them, such as ``business-advertiser``.
BY_NAME: Mapping[str, Platform] = {
    name.lower().replace("_", "-"): value
    for name, value in list(globals().items())
    if isinstance(value, Platform)
}
