"""What a developer registers with TikTok, and the rules TikTok applies to it.

Sources:
    https://developers.tiktok.com/doc/login-kit-web
    https://developers.tiktok.com/doc/login-kit-desktop
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from .checks import LIFETIME, STATUS, check

Rotation = Literal["hard", "grace", "none"]

SCOPES = (
    "user.info.basic",
    "user.info.profile",
    "user.info.stats",
    "video.list",
    "video.publish",
    "video.upload",
)
REDIRECT_URIS = (
    "https://app.example/callback/",
    "http://127.0.0.1:*/callback/",
    "http://localhost:*/callback/",
)
LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
MAX_REDIRECT_URIS = 10
MAX_REDIRECT_URI_CHARS = 511

_ANY_PORT = ":*/"
_TIMES = (
    "access_lifetime",
    "refresh_lifetime",
    "client_token_lifetime",
    "code_lifetime",
    "qr_lifetime",
    "grace_period",
)


def is_loopback(redirect_uri: str) -> bool:
    """Tell whether a redirect URI is a desktop app's, which makes PKCE compulsory."""
    return urlsplit(redirect_uri).hostname in LOOPBACK_HOSTS


def check_registrable(redirect_uri: str) -> None:
    """Refuse what the developer portal would not let anybody register.

    Raises:
        ValueError: The URI breaks a rule of its platform.
    """
    parts = urlsplit(redirect_uri.replace(_ANY_PORT, ":1/"))
    loopback = parts.hostname in LOOPBACK_HOSTS
    rules = {
        f"be at most {MAX_REDIRECT_URI_CHARS} characters long": len(redirect_uri) <= MAX_REDIRECT_URI_CHARS,
        "have no query and no fragment": "?" not in redirect_uri and "#" not in redirect_uri,
        "have a port (or *) on a loopback host": not loopback or parts.port is not None,
        "be https, or http on a loopback host": parts.scheme == "https"
        or (loopback and parts.scheme == "http"),
        "use * as the port of a loopback host only": loopback or "*" not in redirect_uri,
    }
    broken = [rule for rule, kept in rules.items() if not kept]
    if broken:
        raise ValueError(f"redirect URI {redirect_uri!r} must {' and '.join(broken)}")


@dataclass(frozen=True)
class App:
    """A registered app: its credentials, redirect URIs and approved scopes."""

    client_key: str
    client_secret: str
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        """Apply the rules of the developer portal."""
        if not self.client_key:
            raise ValueError("a client key has at least one character")
        if not all(self.scopes):
            raise ValueError("a scope has at least one character")
        if not 1 <= len(self.redirect_uris) <= MAX_REDIRECT_URIS:
            raise ValueError(f"an app has 1 to {MAX_REDIRECT_URIS} redirect URIs")
        for redirect_uri in self.redirect_uris:
            check_registrable(redirect_uri)

    def __repr__(self) -> str:
        """Show the app without its secret."""
        return f"<App {self.client_key}>"

    def knows_secret(self, client_secret: str) -> bool:
        """Compare a client secret with the registered one."""
        return hmac.compare_digest(client_secret.encode(), self.client_secret.encode())

    def registered(self, redirect_uri: str) -> bool:
        """Match a redirect URI byte for byte; only a registered ``*`` port is any number."""
        return any(
            re.fullmatch(re.escape(known).replace(r":\*/", r":\d{1,5}/"), redirect_uri)
            for known in self.redirect_uris
        )

    def registered_domain(self, redirect_uri: str) -> bool:
        """Match only the host, as the legacy surface did."""
        host = urlsplit(redirect_uri).hostname
        return host in {urlsplit(known).hostname for known in self.redirect_uris}

    def web_redirect_uri(self) -> str | None:
        """Return the redirect URI that TikTok itself picks when a call cannot name one."""
        return next((uri for uri in self.redirect_uris if not is_loopback(uri)), None)


@dataclass(frozen=True)
class Policy:
    """How this TikTok behaves where its documentation leaves a choice; lifetimes are in seconds."""

    access_lifetime: float
    refresh_lifetime: float
    client_token_lifetime: float
    code_lifetime: float
    qr_lifetime: float
    rotation: Rotation
    grace_period: float
    reuse_revokes: bool
    error_status: int
    revoke_body: bytes
    strict: bool

    def __post_init__(self) -> None:
        """Catch a misspelt rotation mode, and what is no length of time or no HTTP status."""
        if self.rotation not in ("hard", "grace", "none"):
            raise ValueError(f"rotation must be 'hard', 'grace' or 'none', not {self.rotation!r}")
        for name in _TIMES:
            check(name, getattr(self, name), LIFETIME)
        check("error_status", self.error_status, STATUS)
