"""TikTok OAuth for `requests`: sessions whose connections stay alive.

::

    from tiktok_oauth_session import FileStore, TikTokOAuth2Session, unwrap

    options = {"client_secret": client_secret, "redirect_uri": redirect_uri, "store": FileStore("tokens")}
    login = TikTokOAuth2Session(client_key, **options)
    url, state = login.authorization_url()  # the user goes there, and comes back
    token = login.fetch_token(authorization_response=input(url))

    session = TikTokOAuth2Session(client_key, **options, open_id=token["open_id"])
    user = unwrap(session.get("/v2/user/info/?fields=open_id,display_name"))["user"]

- `TikTokOAuth2Session` is a `requests.Session`. Its token is refreshed when that is due, once for all who
  share the store, and is in the store before it is used.
- `unwrap` takes an API reply out of TikTok's envelope. What can go wrong is in `tiktok_oauth_session.errors`.
- `FileStore` and `MemoryStore` keep tokens; so do `tiktok_oauth_session.stores.sql.SQLStore`,
  `tiktok_oauth_session.stores.redis.RedisStore`, and around any of them
  `tiktok_oauth_session.stores.encrypted.EncryptedStore`.
- `LOGIN_KIT` (v2), `LOGIN_KIT_V1`, `BUSINESS`, `BUSINESS_ADVERTISER`, `SHOP` and `SHOP_US` are TikTok's OAuth
  surfaces, each a `Platform`; `Platform.at` gives the same one elsewhere, such as on a fake.
- `tiktok_oauth_session.keepalive.keep_alive` refreshes accounts that nobody calls for.
- `tiktok_oauth_session.contrib` has logins for Flask, Django, Starlette and FastAPI, and tokens for httpx2.
- `tiktok_oauth_session.testing.FakeTikTok` is a TikTok for tests; the command ``tiktok-oauth`` serves it.

Documentation: https://tiktok-oauth-session.readthedocs.io/en/stable/
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

# The public names, once: type checkers read these lines, and `_public_names` reads what Python made of them.
# They are imported when they are first used, so that a script that only reads a token from a store does not
# wait for requests.
if TYPE_CHECKING:
    from tiktok_oauth_session._http.oauth_request import NoReply as NoReply
    from tiktok_oauth_session._oauth.responses import unwrap as unwrap
    from tiktok_oauth_session.compliance import tiktok_compliance_fix as tiktok_compliance_fix
    from tiktok_oauth_session.errors import (
        APIError as APIError,
        AuthorizationError as AuthorizationError,
        ReauthorizationRequired as ReauthorizationRequired,
        RevocationError as RevocationError,
        StateMismatch as StateMismatch,
        StoreError as StoreError,
        TikTokOAuthError as TikTokOAuthError,
        TokenError as TokenError,
        TokenNotSaved as TokenNotSaved,
    )
    from tiktok_oauth_session.platforms import (
        BUSINESS as BUSINESS,
        BUSINESS_ADVERTISER as BUSINESS_ADVERTISER,
        LOGIN_KIT as LOGIN_KIT,
        LOGIN_KIT_V1 as LOGIN_KIT_V1,
        SHOP as SHOP,
        SHOP_US as SHOP_US,
        Platform as Platform,
    )
    from tiktok_oauth_session.revocation import revoke_token as revoke_token
    from tiktok_oauth_session.session import TikTokOAuth2Session as TikTokOAuth2Session
    from tiktok_oauth_session.stores import MemoryStore as MemoryStore, TokenStore as TokenStore
    from tiktok_oauth_session.stores.file import FileStore as FileStore
    from tiktok_oauth_session.tokens import AccountKey as AccountKey, TikTokToken as TikTokToken

# Not the source, which frozen programs are shipped without.
_code = sys._getframe().f_code  # noqa: SLF001 - as `warnings` and `logging` look for their caller


def _public_names() -> dict[str, str]:
    """Return in which module each public name is."""
    import dis

    found, module = {}, ""
    for instruction in dis.get_instructions(_code):
        if instruction.opname == "IMPORT_NAME":
            module = instruction.argval
        elif instruction.opname == "IMPORT_FROM" and module.startswith(f"{__name__}."):
            found[instruction.argval] = module
    return found


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_public_names())
    # Names like this are asked for by whoever looks a module over.
    module = None if name.startswith("__") else _public_names().get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_public_names()})
