"""Stores that an application keeps encrypted (`tiktok_oauth_session.stores.encrypted`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli.exits import EXIT_USAGE, Stop, extra_missing

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

STORE_KEYS = "TIKTOK_OAUTH_STORE_KEYS"
#: What an encrypted token has, and no other. Not imported: cryptography may not be installed.
ENCRYPTED = "encrypted"


class EncryptedToken(StoreError):
    """A token is encrypted, and nobody has given a key."""


def readable(store: TokenStore) -> TokenStore:
    """Return a store that opens what is encrypted, or that refuses it if nobody has given a key.

    What stands in an encrypted refresh token's place would otherwise be sent to TikTok as one.

    Raises:
        Stop: What was given is no key, or needs an extra.
    """
    keys = [key.strip() for key in os.environ.get(STORE_KEYS, "").split(",") if key.strip()]
    if not keys:
        return _refusing(store)
    try:
        from tiktok_oauth_session.stores.encrypted import EncryptedStore
    except ImportError as error:
        raise extra_missing("crypto", f"This store needs {error.name}.") from None
    try:
        return EncryptedStore(store, keys)
    except ValueError as error:
        raise Stop(f"{STORE_KEYS}: {error}", EXIT_USAGE) from None


def _refusing(store: TokenStore) -> TokenStore:
    load = store.load

    def load_plain(key: AccountKey) -> TikTokToken | None:
        token = load(key)
        if token is not None and ENCRYPTED in token:
            raise EncryptedToken(
                f"The token of {key[1]} is encrypted: give the keys of the application that keeps it in "
                f"{STORE_KEYS}."
            )
        return token

    store.load = load_plain  # type: ignore[method-assign]  # as a subclass of each kind of store would
    return store
