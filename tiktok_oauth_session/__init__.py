"""TikTok OAuth for `requests`: sessions whose connections stay alive."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiktok_oauth_session._oauth.responses import unwrap
    from tiktok_oauth_session.compliance import tiktok_compliance_fix
    from tiktok_oauth_session.errors import (
        APIError,
        AuthorizationError,
        ReauthorizationRequired,
        RevocationError,
        StoreError,
        TikTokOAuthError,
        TokenError,
        TokenNotSaved,
    )
    from tiktok_oauth_session.platforms import LOGIN_KIT, LOGIN_KIT_V1, Platform
    from tiktok_oauth_session.revocation import revoke_token
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.stores import MemoryStore, TokenStore
    from tiktok_oauth_session.stores.file import FileStore
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

__all__ = [
    "LOGIN_KIT",
    "LOGIN_KIT_V1",
    "APIError",
    "AccountKey",
    "AuthorizationError",
    "FileStore",
    "MemoryStore",
    "Platform",
    "ReauthorizationRequired",
    "RevocationError",
    "StoreError",
    "TikTokOAuth2Session",
    "TikTokOAuthError",
    "TikTokToken",
    "TokenError",
    "TokenNotSaved",
    "TokenStore",
    "revoke_token",
    "tiktok_compliance_fix",
    "unwrap",
]

#: Where each public name lives. They are imported when they are first used, so that a script that
#: only reads a token from a store does not wait for requests.
_HOMES = {
    "compliance": ("tiktok_compliance_fix",),
    "errors": (
        "APIError",
        "AuthorizationError",
        "ReauthorizationRequired",
        "RevocationError",
        "StoreError",
        "TikTokOAuthError",
        "TokenError",
        "TokenNotSaved",
    ),
    "platforms": ("LOGIN_KIT", "LOGIN_KIT_V1", "Platform"),
    "_oauth.responses": ("unwrap",),
    "revocation": ("revoke_token",),
    "session": ("TikTokOAuth2Session",),
    "stores": ("MemoryStore", "TokenStore"),
    "stores.file": ("FileStore",),
    "tokens": ("AccountKey", "TikTokToken"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
