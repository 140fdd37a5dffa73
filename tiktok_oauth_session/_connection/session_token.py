"""The token as a session holds it: whose it is, where it goes, and what it was granted."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from requests_oauthlib import OAuth2Session

from tiktok_oauth_session._connection.process_memory import Updater, memory
from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session.errors import StoreConflict, StoreError, TokenNotSaved, reason_of
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import ENCRYPTED, ISSUER, AccountKey, TikTokToken, split_scopes

if TYPE_CHECKING:
    from tiktok_oauth_session.platforms import Platform

    _Base = OAuth2Session
else:
    # Cooperative: whichever OAuth2Session comes after it in the subclass.
    _Base = object

log = logging.getLogger(__name__)


class SessionTokenMixin(_Base):
    """Holds the token of one account, of a store or of nobody but this session."""

    # What the parent has and its stubs leave out.
    _client: Any
    token_updater: Updater | None

    platform: Platform
    store: TokenStore | None
    #: Under which key the store has the account: what the caller said, or else whose token it is.
    _open_id: str | None
    #: Whether the caller said it: then it stays so, whatever a reply says.
    _open_id_is_given: bool = False
    #: The property, if any, that a framework's session, such as Flask-Dance's, has in place of the parent's
    #: `token`. In a tuple, or looking it up would ask it.
    _framework_token: tuple[Any, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Look once for a framework's token."""
        super().__init_subclass__(**kwargs)
        found = [
            vars(each).get("token") for each in cls.__mro__ if each not in (SessionTokenMixin, OAuth2Session)
        ]
        cls._framework_token = tuple(each for each in found if hasattr(each, "__set__"))[:1]

    @property
    def token(self) -> TikTokToken:
        """The token as this session last saw it; assigning one hands it to the store, deleting it does not.

        Where a framework's session stands beside this class, its token counts.

        Raises:
            StoreError: The store failed, or the token is another platform's.
        """
        if self.store is not None and not self._client.token and (key := self._key()):
            # Also after a logout: somebody may have logged in again.
            stored = self.store.load(key)
            if stored is not None:
                self._use(stored)
        token: Any = super().token if self._framework_token else self._client.token
        return token  # type: ignore[no-any-return]  # a framework's is what it is

    @token.setter
    def token(self, value: Mapping[str, Any] | None) -> None:
        token = TikTokToken(value)
        if not token and not self._client.token:
            # As every session begins.
            self._client.token = token
            return
        try:
            self._require_own(token)
            if token and self.store is not None and (key := self._key(token)):
                token = TikTokToken(token, issuer=self.platform.issuer)
                self.store.save(key, token)
                memory().forget(self.store, key)
        except BaseException:
            # Crash reporters would show what the caller's dict holds.
            value = None
            raise
        self._use(token)

    @token.deleter
    def token(self) -> None:
        """Forget it here; a store is asked again."""
        self._let_client_use(TikTokToken())
        for beside in self._framework_token:
            # As it does where it has looked up none.
            with contextlib.suppress(AttributeError, KeyError):
                beside.__delete__(self)

    @property
    def open_id(self) -> str | None:
        """Whose token it is, by the `open_id` that the session was given, or else TikTok's id of the user."""
        return self._open_id

    @property
    def granted_scopes(self) -> list[str]:
        """The scopes that the user granted, which may be fewer than asked."""
        return self._own_token().scopes

    @property
    def missing_scopes(self) -> list[str]:
        """The scopes that were asked for and not granted; empty while nobody is logged in."""
        token = self._own_token()
        return [scope for scope in split_scopes(self.scope) if scope not in token.scopes] if token else []

    @property
    def authorized(self) -> bool:
        """Whether there is an access token; not whether it is still alive."""
        return bool(self._own_token().access_token)

    def _own_token(self) -> TikTokToken:
        """Return the token, also where a framework's session keeps it as a plain dict."""
        token: Any = self.token
        return token if isinstance(token, TikTokToken) else TikTokToken(token)

    def _use(self, token: TikTokToken) -> None:
        """Let the session use a token, and nothing of the one before."""
        self._require_own(token)
        self._let_client_use(token)
        for beside in self._framework_token:
            # A framework that only reads its own takes none.
            with contextlib.suppress(AttributeError):
                beside.__set__(self, token)
        if token.open_id and not self._open_id_is_given:
            self._open_id = token.open_id

    def _require_own(self, token: TikTokToken) -> None:
        """Refuse a token that another platform has issued, or that is encrypted."""
        if ISSUER in token or ENCRYPTED in token:
            token.require_issuer(self.platform.issuer)

    def _let_client_use(self, token: TikTokToken) -> None:
        client = self._client
        client.access_token = client.refresh_token = None
        client.expires_in = client._expires_at = None  # noqa: SLF001 - oauthlib never clears it
        client.token = token
        client.populate_token_attributes(token)

    def _key(self, token: TikTokToken | None = None) -> AccountKey | None:
        """Return under which key the store has the account; None if nobody knows yet."""
        told = token.open_id if token and not self._open_id_is_given else None
        open_id = told or self._open_id
        return AccountKey(self.client_id or "", open_id) if open_id else None

    # --- beginning with a token --------------------------------------------------------------------

    def _begin_with(self, store: TokenStore, token: TikTokToken) -> None:
        """Begin with a token, unless the store knows a newer one of this account."""
        self._require_own(token)
        token = TikTokToken(token, issuer=self.platform.issuer)
        key = self._key(token)
        if key:
            self._use(_stored_or(store, token, key))
        elif token.refresh_token:
            self._begin_unnamed(store, token)
        else:
            self._use(token)

    # --- a token that does not say whose it is -----------------------------------------------------

    def _begin_unnamed(self, store: TokenStore, token: TikTokToken) -> None:
        """Begin with a token that does not say whose it is, as requests-oauthlib's documents.

        Until a reply tells, all processes that were given it find each other under the refresh token's
        digest. Afterwards the account's open_id stands there.
        """
        stored = _stored_or(store, token, _unnamed_key(self.client_id, token))
        if stored.open_id:
            named = store.load(AccountKey(self.client_id or "", stored.open_id))
            self._open_id = stored.open_id
            # Without a refresh token it only says whose it was: they have logged out.
            stored = named or (stored if stored.refresh_token else TikTokToken())
        self._use(stored)
        if not self._open_id:
            self._unnamed = _unnamed_key(self.client_id, token)

    _unnamed: AccountKey | None = None

    def _name(self, store: TokenStore, new: TikTokToken) -> TikTokToken:
        """Put a token that has just told whose it is under its account's key."""
        unnamed, self._unnamed = self._unnamed, None
        key = AccountKey(self.client_id or "", new.open_id or "")
        if not new.access_token:
            # Somebody who was given the same document has done it.
            return store.load(key) or new
        if unnamed is None or not new.open_id:
            return new
        try:
            stored = _stored_or(store, new, key)
            with contextlib.suppress(StoreConflict):
                store.save(unnamed, TikTokToken(open_id=new.open_id), replacing=new.refresh_token)
        except StoreError as error:
            # It is safe where it is.
            log.warning("the token of %s has not found its place yet: %s", plain(new.open_id), error)
            self._unnamed = unnamed
            return new
        return stored

    # --- a new login -------------------------------------------------------------------------------

    def _require_writable_store(self) -> None:
        """Find out about a store that cannot be written, or not by whose token, while nothing is spent."""
        if self.store is not None:
            if not (self.platform.tells_open_id or self._open_id):
                raise ValueError(
                    f"{self.platform.name} does not say whose token it issues: pass `open_id=`, any name of "
                    "your own for the account."
                )
            self.store.require_writable(self.client_id or "")

    def _keep_login(self, token: TikTokToken) -> TikTokToken:
        """Hand the token of a new login to the store, then use it.

        Raises:
            TokenNotSaved: It could not be saved, or is another user's.
        """
        try:
            if self.store is not None:
                key = self._key(token)
                if key is None:
                    raise ValueError("the reply holds no open_id to keep it under")  # noqa: TRY301 - becomes the cause
                self._require_same_user(self.store, key, token)
                token = TikTokToken(token, issuer=self.platform.issuer)
                # Without the lock: a refresh that is under way finds at its save that this token has come.
                self.store.save(key, token)
                memory().forget(self.store, key)
        except TokenNotSaved:
            raise
        except Exception as failure:
            raise TokenNotSaved(
                "TikTok issued a token and it could not be saved: save the `token` of this error, or let the "
                f"user log in again. ({reason_of(failure)})",
                token=token,
            ) from failure
        self._use(token)
        return token

    def _require_same_user(self, store: TokenStore, key: AccountKey, token: TikTokToken) -> None:
        if not self._open_id_is_given or token.open_id in (None, key.open_id):
            return
        stored = store.load(key)
        if stored is not None and stored.open_id and stored.open_id != token.open_id:
            came, there = plain(token.open_id or ""), plain(stored.open_id)
            raise TokenNotSaved(
                f"Another user logged in ({came}) than the one whose account {plain(key.open_id)} is "
                f"({there}); nothing was saved. Delete the account first if it changes hands.",
                token=token,
            )


def _stored_or(store: TokenStore, token: TikTokToken, key: AccountKey) -> TikTokToken:
    """Return what the store holds of an account; a token that it holds from now on, if there is none."""
    with store.lock(key):
        stored = store.load(key)
        if stored is None:
            store.save(key, token)
    return token if stored is None else stored


def _unnamed_key(client_key: str | None, token: TikTokToken) -> AccountKey:
    digest = hashlib.sha256((token.refresh_token or "").encode("utf-8", "surrogatepass")).hexdigest()
    return AccountKey(client_key or "", f"refresh-token:{digest[:32]}")
