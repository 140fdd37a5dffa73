"""What TikTok issues (codes, tokens, QR codes), and the reasons for which it refuses to."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum

from .users import User

#: What those who authorize an app are asked for where the app's own settings say it, and not the page's URL.
SCOPES_OF_SURFACE = {
    "advertiser": ("4", "15"),
    "shop": ("seller.authorization.info", "seller.product.basic"),
}
#: Seconds that an authorization code lives where that is known.
#: Source: the authorization overview, version 202407, of https://partner.tiktokshop.com/docv2 and, for
#: advertisers, https://github.com/bububa/tiktok-business
CODE_LIFETIMES_S = {"advertiser": 3600.0, "shop": 1800.0}


class Reason(Enum):
    """Why a request is refused; each surface has its own words and numbers for it."""

    CLIENT = "client"
    CODE = "code"
    CODE_EXPIRED = "code_expired"
    FIELD_SCOPE = "field_scope"
    GRANT_TYPE = "grant_type"
    MALFORMED = "malformed"
    MISSING = "missing"
    MISSING_SECRET = "missing_secret"
    MISSING_TOKEN = "missing_token"
    REDIRECT_URI = "redirect_uri"
    REFRESH_TOKEN = "refresh_token"
    REFRESH_TOKEN_EXPIRED = "refresh_token_expired"
    SCOPE = "scope"
    SIGN = "sign"
    TIMESTAMP = "timestamp"
    TOKEN = "token"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_OWNER = "token_owner"
    VERIFIER = "verifier"


class Refused(Exception):
    """A request that TikTok refuses, with a detail for the developer who reads the reply."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value, detail)
        self.reason = reason
        self.detail = detail


@dataclass
class Code:
    """An authorization code; `redirect_uri` is optional in the exchange of a QR login's code."""

    user: User
    scopes: tuple[str, ...]
    redirect_uri: str
    expires_at: float
    surface: str = "v2"
    challenge: str | None = None
    redirect_uri_optional: bool = False
    spent: bool = False


@dataclass
class TokenSet:
    """The tokens of one grant or refresh; times are Unix seconds.

    Both of Login Kit's surfaces take the tokens of ``v2``. An advertiser's access token has no end, and no
    refresh token.
    """

    user: User
    scopes: tuple[str, ...]
    access_token: str
    access_expires_at: float
    refresh_token: str
    refresh_expires_at: float
    surface: str = "v2"
    revoked: bool = False
    spent_at: float = 0.0
    successor: TokenSet | None = None


@dataclass
class QRCode:
    """A login by QR code, from its first display to the collected code."""

    scopes: tuple[str, ...]
    redirect_uri: str
    state: str | None
    expires_at: float
    surface: str
    status: str = "new"
    ticket: str = ""
    code: str = ""
    user: User | None = None
    granted: tuple[str, ...] = ()


def make_token(prefix: str, ending: str) -> str:
    """Return a new token of Login Kit's looks."""
    # Real ones hold characters that a careless encoder breaks.
    return f"{prefix}{secrets.token_urlsafe(24)}*{secrets.token_urlsafe(6)}!{ending}"


def make_tokens(surface: str) -> tuple[str, str]:
    """Return an access token and a refresh token that look like a surface's."""
    if surface == "advertiser":
        return secrets.token_hex(20), ""
    if surface == "shop":
        return f"ROW_{secrets.token_urlsafe(48)}", f"ROW_{secrets.token_urlsafe(36)}"
    return make_token("act.", "5259"), make_token("rft.", "5294")
