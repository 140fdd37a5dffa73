"""What TikTok knows: its users, the codes and tokens it has issued, and what becomes of them.

Nothing here speaks HTTP and nothing here locks; both are the callers' part.

Sources:
    https://developers.tiktok.com/doc/oauth-user-access-token-management
    https://developers.tiktok.com/docs/en/oauth-refresh-a-user-access-token
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from .app import App, Policy, is_loopback
from .checks import TEXT, check
from .grants import (
    CODE_LIFETIMES_S,
    SCOPES_OF_SURFACE,
    Code,
    QRCode,
    Reason,
    Refused,
    TokenSet,
    make_token,
    make_tokens,
)
from .users import User

_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")
_ISSUING_S = 0.01  # between issuing and describing a token, so that a new one shows its full lifetime


class TikTok:
    """TikTok's memory for one app, and the rules that change it."""

    def __init__(
        self, app: App, policy: Policy, clock: Callable[[], float] | None, users: tuple[User, ...]
    ) -> None:
        self.app = app
        self.policy = policy
        self._clock = clock
        self._first_users = users or (User.make(None, "Fake User", 3),)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the app and its first users; the clock shows real time again."""
        self.offset_s: float = 0.0
        self.users: dict[str, User] = {user.open_id: user for user in self._first_users}
        self.codes: dict[str, Code] = {}
        self.qr_codes: dict[str, QRCode] = {}
        self.by_access: dict[str, TokenSet] = {}
        self.by_refresh: dict[str, TokenSet] = {}
        self.client_tokens: dict[str, float] = {}
        self.reuse_attempts: int = 0
        self.warnings: list[str] = []
        self.changes: int = 0
        self._log_ids = itertools.count(1)
        self.log_id: str = ""

    def now(self) -> float:
        """Return Unix seconds on TikTok's clock."""
        # Looked up at each call, so that a frozen time.time moves this clock as well.
        return (self._clock or time.time)() + self.offset_s

    def begin_request(self) -> str:
        """Return a new `log_id` in TikTok's format: UTC time, machine, running number."""
        moment = time.strftime("%Y%m%d%H%M%S", time.gmtime(self.now()))
        self.log_id = f"{moment}010113006207{next(self._log_ids):08X}"
        return self.log_id

    def tolerate(self, what: str) -> None:
        """Note what is not documented, and what TikTok is not known to refuse.

        Raises:
            Refused: This TikTok is a strict one.
        """
        if self.policy.strict:
            raise Refused(Reason.MALFORMED, what)
        if what not in self.warnings:
            self.warnings.append(what)

    def put_user(
        self, open_id: str | None, display_name: str | None, videos: int | Iterable[Mapping[str, Any]] | None
    ) -> User:
        """Add a user, or change the one who has this open_id, in what is not None."""
        known = self.users.get(open_id) if isinstance(open_id, str) else None
        name = display_name or (known.display_name if known else "Another User")
        user = User.make(open_id, name, 3 if videos is None else videos)
        if known:
            kept = known.videos if videos is None else user.videos
            user = replace(user, union_id=known.union_id, videos=kept)
        self.users[user.open_id] = user
        return user

    def user(self, who: User | str | None) -> User:
        """Return a user by object or open_id; None means the first one.

        Raises:
            KeyError: No such user.
            ValueError: That is no open_id.
        """
        if who is None:
            return next(iter(self.users.values()))
        open_id = who.open_id if isinstance(who, User) else who
        check("open_id", open_id, TEXT)
        return self.users[open_id]

    def check_client(self, client_key: str, client_secret: str | None = None) -> None:
        """Refuse a wrong client key, or a wrong secret where one is needed."""
        known_secret = client_secret is None or self.app.knows_secret(client_secret)
        if client_key != self.app.client_key or not known_secret:
            raise Refused(Reason.CLIENT)

    def check_scopes(self, scope: str) -> tuple[str, ...]:
        """Return the scopes of a comma-separated list, each once; an unapproved one is refused."""
        scopes = tuple(dict.fromkeys(scope.split(",")))
        if not set(scopes) <= set(self.app.scopes):
            raise Refused(Reason.SCOPE)
        return scopes

    def scopes_of(self, surface: str) -> tuple[str, ...]:
        """Return all that the app may be granted on a surface."""
        return SCOPES_OF_SURFACE.get(surface, self.app.scopes)

    def issue_code(
        self,
        user: User,
        scopes: Iterable[str],
        redirect_uri: str,
        *,
        surface: str = "v2",
        challenge: str | None = None,
        redirect_uri_optional: bool = False,
    ) -> str:
        """Return a new authorization code; like real ones it needs percent-encoding in a URL."""
        code = f"{secrets.token_urlsafe(48)}*0!5413"
        expires_at = self.now() + CODE_LIFETIMES_S.get(surface, self.policy.code_lifetime)
        self.codes[code] = Code(
            user, tuple(scopes), redirect_uri, expires_at, surface, challenge, redirect_uri_optional
        )
        self.changes += 1
        return code

    def redeem_code(
        self, code: str, redirect_uri: str | None, verifier: str | None, *, surface: str = "v2"
    ) -> TokenSet:
        """Exchange a code, once, under the conditions it was issued for."""
        known = self.codes.get(code)
        # An account holder of Business consents on Login Kit's page.
        if known is None or known.spent or known.surface != ("v2" if surface == "business" else surface):
            raise Refused(Reason.CODE)
        if self.now() >= known.expires_at:
            raise Refused(Reason.CODE_EXPIRED)
        if surface in ("v2", "business"):
            self._check_redirect_uri(known, redirect_uri)
        if surface == "v2":
            self._check_verifier(known, verifier)
        if surface == "business" and known.challenge is not None:
            self.tolerate("a code_challenge, whose verifier TikTok for Business cannot be told")
        known.spent = True
        return self.issue(known.user, known.scopes, surface="v2" if surface == "v1" else surface)

    @staticmethod
    def _check_redirect_uri(code: Code, redirect_uri: str | None) -> None:
        if redirect_uri is None and not code.redirect_uri_optional:
            raise Refused(Reason.MISSING, "redirect_uri")
        if redirect_uri not in (None, code.redirect_uri):
            raise Refused(Reason.REDIRECT_URI)

    def _check_verifier(self, code: Code, verifier: str | None) -> None:
        if code.challenge is None:
            if verifier is not None:
                self.tolerate("code_verifier without a code_challenge")
            return
        if verifier is None:
            raise Refused(Reason.MISSING, "code_verifier")
        # Hex, not base64url: https://developers.tiktok.com/doc/login-kit-desktop (read 2026-05)
        digest, is_usual = hashlib.sha256(verifier.encode()), _VERIFIER.fullmatch(verifier)
        is_hex = digest.hexdigest() == code.challenge
        if is_hex and is_usual:
            return
        # Of desktop apps it is known that TikTok compares the hex digest.
        as_the_rfc = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
        may_be_the_rfcs = not is_loopback(code.redirect_uri) and code.challenge == as_the_rfc
        if self.policy.strict or not (is_hex or may_be_the_rfcs):
            raise Refused(Reason.VERIFIER)
        if not is_hex:
            self.tolerate("a code_challenge in base64url, which desktop apps may not send")
        if not is_usual:
            self.tolerate("a code_verifier that is not 43 to 128 unreserved characters")

    def issue(
        self,
        user: User,
        scopes: Iterable[str],
        *,
        surface: str = "v2",
        refresh_token: str | None = None,
        refresh_expires_at: float | None = None,
    ) -> TokenSet:
        """Issue an access token, and a refresh token unless one is to be kept."""
        now, (access_token, new_refresh_token) = self.now(), make_tokens(surface)
        tokens = TokenSet(
            user,
            tuple(scopes),
            access_token,
            math.inf if surface == "advertiser" else now + self.policy.access_lifetime,
            refresh_token or new_refresh_token,
            refresh_expires_at or now + self.policy.refresh_lifetime,
            surface,
        )
        self.by_access[tokens.access_token] = tokens
        if tokens.refresh_token:
            self.by_refresh[tokens.refresh_token] = tokens
        self.changes += 1
        return tokens

    def refresh(self, refresh_token: str, *, surface: str = "v2") -> TokenSet:
        """Spend a refresh token, as far as the rotation policy spends it."""
        known = self.by_refresh.get(refresh_token)
        if known is None or known.surface != surface:
            raise Refused(Reason.REFRESH_TOKEN)
        if known.successor is not None:
            return self._reuse(known, known.successor)
        if known.revoked:
            raise Refused(Reason.REFRESH_TOKEN)
        if self.now() >= known.refresh_expires_at:
            raise Refused(Reason.REFRESH_TOKEN_EXPIRED)
        keep = self.policy.rotation == "none"
        renewed = self.issue(
            known.user,
            known.scopes,
            surface=surface,
            refresh_token=refresh_token if keep else None,
            # Elsewhere the end of what was granted stays where it is.
            refresh_expires_at=None if surface == "v2" else known.refresh_expires_at,
        )
        if not keep:
            known.spent_at, known.successor = self.now(), renewed
        return renewed

    def _reuse(self, spent: TokenSet, successor: TokenSet) -> TokenSet:
        self.reuse_attempts += 1
        in_grace = self.now() < spent.spent_at + self.policy.grace_period
        usable = not successor.revoked and successor.successor is None
        if self.policy.rotation == "grace" and in_grace and usable:
            return successor
        if self.policy.reuse_revokes:
            self.disconnect(spent.user.open_id, spent.surface)
        raise Refused(Reason.REFRESH_TOKEN)

    def issue_client_token(self) -> str:
        """Issue a token for the app itself."""
        token = make_token("clt.", "5361")
        self.client_tokens[token] = self.now() + self.policy.client_token_lifetime
        self.changes += 1
        return token

    def disconnect(self, open_id: str, surface: str | None = None) -> None:
        """End a user's connection with the app: every token of theirs dies, on one surface or on all."""
        for tokens in [*self.by_access.values(), *self.by_refresh.values()]:
            if tokens.user.open_id == open_id and surface in (None, tokens.surface):
                tokens.revoked = True
        self.changes += 1

    def bearer(self, access_token: str | None, *, surface: str = "v2") -> TokenSet:
        """Return the grant behind an access token that works."""
        known = self.by_access.get(access_token or "")
        if known is None or known.revoked or known.surface != surface:
            # A client token is a good token, but no user ever granted it anything.
            alive = surface == "v2" and self.now() < self.client_tokens.get(access_token or "", 0.0)
            raise Refused(Reason.SCOPE if alive else Reason.TOKEN)
        if self.now() >= known.access_expires_at:
            raise Refused(Reason.TOKEN_EXPIRED)
        # As they are by now.
        known.user = self.users[known.user.open_id]
        return known

    def is_alive(self, token: str) -> bool:
        """Tell whether TikTok would still accept an access, refresh or client token."""
        now = self.now()
        if token in self.by_refresh:
            known = self.by_refresh[token]
            return not known.revoked and known.successor is None and now < known.refresh_expires_at
        if token in self.by_access:
            known = self.by_access[token]
            return not known.revoked and now < known.access_expires_at
        return now < self.client_tokens.get(token, 0.0)

    def describe(self, tokens: TokenSet) -> dict[str, Any]:
        """Return what there is of the seven documented fields; lifetimes are the seconds that remain."""
        now = self.now()
        told: dict[str, Any] = {"access_token": tokens.access_token}
        if tokens.refresh_token:
            told |= {
                "expires_in": max(0, int(tokens.access_expires_at - now + _ISSUING_S)),
                "open_id": tokens.user.open_id,
                "refresh_expires_in": max(0, int(tokens.refresh_expires_at - now + _ISSUING_S)),
                "refresh_token": tokens.refresh_token,
            }
        return told | {"scope": ",".join(tokens.scopes), "token_type": "Bearer"}
