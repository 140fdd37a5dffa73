"""What is found out about a store before anything is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli.stores.encrypted import EncryptedToken

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore


def require_no_encrypted_token(store: TokenStore, client_key: str | None = None) -> None:
    """Find out by one account whether a store is an encrypted one, before anything is done to many.

    Raises:
        StoreError: It is, and nobody has given a key; or it cannot say which accounts it has.
    """
    for key in store.keys(client_key):
        try:
            store.load(key)
        except EncryptedToken:
            raise
        except StoreError:
            # A damaged token says nothing about the others.
            continue
        return
