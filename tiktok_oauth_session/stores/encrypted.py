"""Tokens encrypted at rest, in any store."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager

try:
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet
except ImportError as _missing:
    raise ImportError(
        "EncryptedStore needs cryptography: pip install tiktok-oauth-session[crypto]"
    ) from _missing

from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.errors import StoreConflict, StoreError
from tiktok_oauth_session.stores import TokenStore, check_replacing
from tiktok_oauth_session.stores.envelope import Unreadable, opened, written
from tiktok_oauth_session.tokens import ENCRYPTED, AccountKey, TikTokToken

log: logging.Logger = logging.getLogger(__name__)

#: What stays readable, so that the inner store can tell what expires next.
READABLE = ("open_id", "expires_at", "refresh_expires_at")
#: How often a compare-and-swap looks again when the stored token was merely written anew.
SWAP_TRIES = 10


class EncryptedStore(TokenStore):
    """Keeps tokens in another store, encrypted (Fernet: AES-128-CBC and HMAC-SHA256).

    The inner store sees the account's key, when its tokens expire, and a ciphertext of everything. The
    ciphertext is bound to its account: copied to another one, it is refused. In the refresh token's
    place stands a random text, new with every refresh token. The inner store's own compare-and-swap works
    on that; no digest of the refresh token is kept, and no key has to outlive a rotation.

    Rotating keys: give the new key first and the old ones after it, on every machine; call `rotate`
    once; then leave the old ones out.

    Encrypting a store that is in use: wrap it with ``accept_plain=True`` everywhere, call `rotate`,
    then leave ``accept_plain`` out. Until what the inner store wrote before is overwritten (a log that
    is appended to, free pages, backups), the old tokens can be read there; a refresh makes them useless.

    Args:
        store: Where to keep the encrypted tokens.
        keys: One key or several, as `cryptography.fernet.Fernet.generate_key` makes them. The first
            encrypts, all decrypt.
        accept_plain: Whether a token that is not encrypted is handed out. By default it is refused:
            otherwise whoever can write to the inner store, and has no key, could plant one.

    Raises:
        ValueError: There is no key, or one of them is none.
    """

    @without_variables
    def __init__(
        self, store: TokenStore, keys: str | bytes | Iterable[str | bytes], *, accept_plain: bool = False
    ) -> None:
        fernets = _fernets([keys] if isinstance(keys, (str, bytes)) else list(keys))
        self._store = store
        self._first, self._all = fernets[0], MultiFernet(fernets)
        self._accept_plain = accept_plain
        self.any_thread: bool = store.any_thread
        self.lock_is_certain: bool = store.lock_is_certain

    def __repr__(self) -> str:
        """Show where, and no key."""
        return f"{type(self).__name__}({self._store!r})"

    # --- the contract ------------------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        """The inner store's."""
        return self._store.identity

    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return the account's token.

        Raises:
            StoreError: The inner store failed, or none of the keys fits, or the token is another account's or
                is not encrypted at all.
        """
        key = AccountKey(*key)
        sealed = self._store.load(key)
        return None if sealed is None else self._opened(key, sealed)

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Keep the account's token.

        Raises:
            StoreConflict: Another token is stored.
            StoreError: It could not be written; or, with `replacing`, what is stored could not be read.
        """
        key = AccountKey(*key)
        new = self._sealed(key, token)
        if replacing is None:
            self._store.save(key, new)
            return
        for _ in range(SWAP_TRIES):
            stored = self._store.load(key)
            check_replacing(key, None if stored is None else self._opened(key, stored), replacing)
            if stored is not None and ENCRYPTED in stored and token.refresh_token == replacing:
                # So that the inner store sees what this is: notes about the same token.
                new["refresh_token"] = stored.refresh_token
            try:
                self._store.save(key, new, replacing=_stand_in(stored))
            except StoreConflict as conflict:
                # Another token, or the same one written anew: the next look tells.
                newer = conflict
            else:
                return
        raise newer

    def delete(self, key: AccountKey) -> None:
        """Forget the account."""
        self._store.delete(key)

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude everybody whom the inner store's lock excludes."""
        return self._store.lock(key)

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Exclude them, unless somebody is in already."""
        return self._store.try_lock(key, timeout=timeout)

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the accounts, those that no key fits included."""
        return self._store.keys(client_key)

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts that expire, soonest first."""
        return self._store.expiring(before)

    def refresh_expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the accounts whose refresh token expires, soonest first."""
        return self._store.refresh_expiring(before)

    # --- keys --------------------------------------------------------------------------------------

    def require_writable(self, client_key: str) -> None:
        """Find out whether the inner store could keep a token."""
        self._store.require_writable(client_key)

    @without_variables
    def rotate(self) -> int:
        """Encrypt again, with the first key, whatever is not encrypted with it.

        Waits for each account's lock. What is cut short can be called again.

        Returns:
            How many tokens were encrypted again.

        Raises:
            StoreError: Some could not be; the text names them. All others were.
        """
        rotated, failures = 0, []
        for key in list(self._store.keys()):
            try:
                rotated += self._rotate(key)
            except StoreError as failure:
                log.warning("the token of %s was not encrypted again: %s", plain(key.open_id), failure)
                failures.append(key.open_id)
        if failures:
            raise StoreError(
                f"{rotated} tokens were encrypted again and {len(failures)} could not be. Keep the older "
                f"keys, mend these accounts and call again: {', '.join(failures)}."
            )
        return rotated

    def _rotate(self, key: AccountKey) -> bool:
        with self._store.lock(key):
            stored = self._store.load(key)
            if stored is None or self._is_sealed_with_the_first(stored):
                return False
            new = self._sealed(key, self._opened(key, stored))
            self._store.save(key, new, replacing=stored.refresh_token)
            return True

    # --- sealing -----------------------------------------------------------------------------------

    def _sealed(self, key: AccountKey, token: TikTokToken) -> TikTokToken:
        document = written(key, token).encode()
        readable = {name: token[name] for name in READABLE if name in token}
        if token.refresh_token:
            readable["refresh_token"] = f"encrypted.{secrets.token_hex(16)}"
        return TikTokToken(readable, **{ENCRYPTED: self._first.encrypt(document).decode()})

    def _opened(self, key: AccountKey, sealed: TikTokToken) -> TikTokToken:
        if ENCRYPTED in sealed:
            return self._decrypted(key, sealed)
        if self._accept_plain:
            return sealed
        raise StoreError(
            f"The token of {key.open_id} is not encrypted. If it was saved before the store was wrapped, "
            "wrap it with accept_plain=True and call rotate(); otherwise find out who wrote it."
        )

    def _decrypted(self, key: AccountKey, sealed: TikTokToken) -> TikTokToken:
        try:
            document = self._all.decrypt(_ciphertext(sealed))
        except InvalidToken:
            raise StoreError(
                f"The token of {key.open_id} was encrypted with none of the keys given, or is damaged. Add "
                "the key that it was written with to the end of `keys`; if that is lost, the user has to log "
                "in again."
            ) from None
        try:
            return opened(document, key=key, mend="the user has to log in again")[1]
        except Unreadable as error:
            raise StoreError(f"What is encrypted as the token of {key.open_id} {error}.") from None

    def _is_sealed_with_the_first(self, stored: TikTokToken) -> bool:
        try:
            self._first.decrypt(_ciphertext(stored))
        except InvalidToken:
            return False
        return True


def _fernets(keys: list[str | bytes]) -> list[Fernet]:
    if not keys:
        raise ValueError("EncryptedStore needs a key: make one with Fernet.generate_key().")
    fernets = []
    for number, key in enumerate(keys, start=1):
        try:
            fernets.append(Fernet(key))
        except (ValueError, TypeError):
            # From None: nothing of the key is in the traceback.
            raise ValueError(
                f"Key number {number} is no Fernet key. Make one with Fernet.generate_key()."
            ) from None
    return fernets


def _ciphertext(sealed: TikTokToken) -> bytes:
    """Return what to decrypt; nothing that can be, if that is no text."""
    ciphertext = sealed.get(ENCRYPTED)
    return ciphertext.encode("utf-8", "replace") if isinstance(ciphertext, str) else b""


def _stand_in(stored: TikTokToken | None) -> str | None:
    return None if stored is None else stored.refresh_token
