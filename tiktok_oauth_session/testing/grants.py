"""What TikTok issues (codes, tokens, QR codes), and the reasons for which it refuses to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .users import User


class Reason(Enum):
    """Why a request is refused; each surface has its own words and numbers for it."""

    CLIENT = "client"
    CODE = "code"
    FIELD_SCOPE = "field_scope"
    GRANT_TYPE = "grant_type"
    MALFORMED = "malformed"
    MISSING = "missing"
    MISSING_SECRET = "missing_secret"
    REDIRECT_URI = "redirect_uri"
    REFRESH_TOKEN = "refresh_token"
    SCOPE = "scope"
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
    """The tokens of one grant or refresh; times are Unix seconds."""

    user: User
    scopes: tuple[str, ...]
    access_token: str
    access_expires_at: float
    refresh_token: str
    refresh_expires_at: float
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
