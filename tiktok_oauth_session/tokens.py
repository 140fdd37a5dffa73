"""A token, and the arithmetic of its expiry."""

from __future__ import annotations

import enum
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tiktok_oauth_session._plain_errors import StoreError

#: Seconds before expiry from which one caller refreshes while the others go on.
ADVISORY_WINDOW_S = 600.0
#: Seconds before expiry from which everyone waits for the refresh.
MANDATORY_WINDOW_S = 60.0
#: A window is never more than this part of the token's own lifetime, so that a token of one
#: minute is not refreshed at every request.
ADVISORY_PART = 1 / 8
MANDATORY_PART = 1 / 60

#: Marks: what is written beside a stored token about its refreshes, for everybody who shares the store.
#: `tiktok_oauth_session._connection.marks` reads and writes them.
#:
#: Which refresh token the other marks are about (the beginning of a SHA-256 digest).
MARKS_OF = "refresh_marks_of"
#: When the refresh token was sent last (Unix time, seconds), by which process, and for how many seconds from
#: then on that request may be under way; absent once it is known to have ended.
REFRESH_STARTED_AT = "refresh_started_at"
REFRESH_STARTED_BY = "refresh_started_by"
REFRESH_MAY_LAST_S = "refresh_may_last_s"
#: How often the refresh token has been sent without anybody learning what came of it.
REFRESH_TRIES = "refresh_tries"
#: Why only a new login helps: no worker asks again.
REFRESH_ERROR = "refresh_error"
#: Since when (Unix time, seconds), for how many seconds and after which error nobody asks again.
REFRESH_PAUSED_AT = "refresh_paused_at"
REFRESH_PAUSE_S = "refresh_pause_s"
REFRESH_PAUSED_AFTER = "refresh_paused_after"
#: When a refused access token led to this token (Unix time, seconds), and for how many seconds from then on
#: another refusal does not lead to the next.
REFUSED_AT = "refresh_forced_at"
REFUSED_PAUSE_S = "refresh_forced_pause_s"

_MARKS = (
    MARKS_OF,
    REFRESH_STARTED_AT,
    REFRESH_STARTED_BY,
    REFRESH_MAY_LAST_S,
    REFRESH_TRIES,
    REFRESH_ERROR,
    REFRESH_PAUSED_AT,
    REFRESH_PAUSE_S,
    REFRESH_PAUSED_AFTER,
    REFUSED_AT,
    REFUSED_PAUSE_S,
)
#: When a token was issued whose lifetime nobody told (Unix time, seconds).
ISSUED_AT = "issued_at"
#: What `tiktok_oauth_session.stores.encrypted` has in a token's place.
ENCRYPTED = "encrypted"
#: Which platform issued a token that a store holds (`Platform.issuer`).
ISSUER = "issuer"

_LIFETIMES = ("expires_in", "expires_at", "refresh_expires_in", "refresh_expires_at")
_NUMBERS = frozenset(
    {
        *_LIFETIMES,
        ISSUED_AT,
        REFRESH_STARTED_AT,
        REFRESH_MAY_LAST_S,
        REFRESH_TRIES,
        REFRESH_PAUSED_AT,
        REFRESH_PAUSE_S,
        REFUSED_AT,
        REFUSED_PAUSE_S,
    }
)


#: A scope among others, with commas or spaces between them.
_SCOPE = re.compile(r"[^\s,]+")
#: Seconds: no time is later, and no larger integer is looked at as a number.
_LARGEST = 10**15


class AccountKey(NamedTuple):
    """Which connection: one app and one of its users.

    TikTok's ``open_id`` is unique within an app only, hence the pair.
    Source: https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info
    """

    client_key: str
    open_id: str


class Freshness(enum.IntEnum):
    """How urgent a refresh is."""

    FRESH = 0
    ADVISORY = 1
    MANDATORY = 2
    EXPIRED = 3


class TikTokToken(dict[str, Any]):
    """A token as TikTok issued it, with absolute expiry times. A dict, so it is JSON as it stands.

    Items, all optional but the first: ``access_token``, ``refresh_token``, ``open_id``, ``scope``
    (comma-separated), ``token_type``, ``expires_in`` (seconds, as issued), ``expires_at`` (Unix time,
    seconds), ``refresh_expires_in``, ``refresh_expires_at``; ``issued_at`` where TikTok told no lifetime; and
    in a store, ``issuer`` and what is known of its refreshes (``refresh_…``).

    Its repr shows no secret. The dict is a copy: changing the one it was made from changes nothing.
    """

    def __init__(self, token: Mapping[str, Any] | None = None, /, **items: Any) -> None:
        super().__init__(token or {}, **items)
        for name in _NUMBERS.intersection(self):
            if type(self[name]) is not int or abs(self[name]) > _LARGEST:
                number = _number(self.pop(name))
                if number is not None:
                    self[name] = number

    @classmethod
    def from_reply(
        cls,
        reply: Mapping[str, Any],
        *,
        requested_at: float,
        previous: Mapping[str, Any] | None = None,
    ) -> TikTokToken:
        """Make a token of a token reply.

        Args:
            reply: The fields of the reply, in the names of RFC 6749 and Login Kit.
            requested_at: When the request was sent (Unix time, seconds). Lifetimes count from before the
                request, so that the token is never believed to live longer than it does.
            previous: The token that was refreshed. What the reply leaves out is taken from it
                (RFC 6749 section 6 allows a reply without a refresh token), but no lifetime that
                belongs to a token that is gone.
        """
        told = cls({k: v for k, v in reply.items() if v is not None and (k, v) != ("refresh_token", "")})
        for name in _LIFETIMES:
            # A lifetime of nothing is none: the token was issued to be used.
            if name in told and told[name] <= (requested_at if name.endswith("_at") else 0):
                del told[name]
        if isinstance(told.get("scope"), list):
            told["scope"] = ",".join(split_scopes(told["scope"]))
        kept = {k: v for k, v in (previous or {}).items() if k not in (*_LIFETIMES[:2], ISSUED_AT, *_MARKS)}
        if told.get("refresh_token", kept.get("refresh_token")) != kept.get("refresh_token"):
            kept = {k: v for k, v in kept.items() if k not in _LIFETIMES}
        token = cls({**kept, **told})
        for lifetime, expiry in (_LIFETIMES[:2], _LIFETIMES[2:]):
            if lifetime in told and expiry not in told:
                token[expiry] = int(requested_at) + told[lifetime]
            elif expiry in told and lifetime not in told:
                token[lifetime] = told[expiry] - int(requested_at)
        if token.expires_at is None:
            token[ISSUED_AT] = int(requested_at)
        return token

    @property
    def access_token(self) -> str | None:
        """What API calls show."""
        return self.get("access_token") or None

    @property
    def refresh_token(self) -> str | None:
        """What buys the next access token; TikTok replaces it at every refresh."""
        return self.get("refresh_token") or None

    @property
    def open_id(self) -> str | None:
        """The user, as this app knows them."""
        return self.get("open_id") or None

    @property
    def scopes(self) -> list[str]:
        """The granted scopes."""
        return split_scopes(self.get("scope"))

    @property
    def expires_at(self) -> float | None:
        """When the access token dies (Unix time, seconds), or None if nobody said."""
        return self.get("expires_at")

    @property
    def issued_at(self) -> float | None:
        """When the access token was asked for (Unix time, seconds), or None if that is not known."""
        if self.expires_at is None or "expires_in" not in self:
            return self.get(ISSUED_AT)
        return self.expires_at - float(self["expires_in"])

    def freshness(self, now: float | None = None) -> Freshness:
        """Tell how urgent a refresh is.

        A token that was issued without a lifetime is used until TikTok refuses it, as is one that
        cannot be refreshed. One of which nobody knows when it was issued is taken for expired, and so is one
        that holds no access token.

        Args:
            now: Unix time in seconds; the clock's, if None.
        """
        expires_at = self.get("expires_at")
        if not self.get("access_token"):
            return Freshness.EXPIRED
        if expires_at is None:
            is_old = bool(self.get("refresh_token")) and ISSUED_AT not in self
            return Freshness.EXPIRED if is_old else Freshness.FRESH
        left = expires_at - (time.time() if now is None else now)
        lifetime = max(self.get("expires_in", math.inf), 0)
        if left <= 0:
            return Freshness.EXPIRED
        if left <= min(MANDATORY_WINDOW_S, lifetime * MANDATORY_PART):
            return Freshness.MANDATORY
        if left <= min(ADVISORY_WINDOW_S, lifetime * ADVISORY_PART):
            return Freshness.ADVISORY
        return Freshness.FRESH

    def is_good_for_long(self) -> bool:
        """Tell whether no window of any length has begun, which is quicker than `freshness`."""
        left: float = self.get("expires_at", 0.0) - time.time()
        return left > ADVISORY_WINDOW_S and bool(self.get("access_token"))

    def marked(self, **marks: Any) -> TikTokToken:
        """Return this token with other marks: those given, and no older ones."""
        return TikTokToken({k: v for k, v in self.items() if k not in _MARKS}, **marks)

    def require_issuer(self, issuer: str) -> None:
        """Refuse to go to anybody but who issued it. A token that does not say goes to everybody.

        Args:
            issuer: Who is about to be shown it.

        Raises:
            StoreError: Somebody else issued it, or it is encrypted.
        """
        if ENCRYPTED in self:
            raise StoreError(
                f"The token of {self.open_id} is encrypted: nothing was sent. Wrap the store in "
                "EncryptedStore, with its keys."
            )
        own = self.get(ISSUER, issuer)
        if own != issuer:
            raise StoreError(
                f"The token of {self.open_id} was issued by {own}, and this session talks to {issuer}: "
                "nothing was sent. Use the platform that issued it, or log in there, with another store."
            )

    def __repr__(self) -> str:
        """Show what helps and no secret."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self._shown())
        return f"<{type(self).__name__} {shown}>" if self else f"<{type(self).__name__}: none>"

    __str__ = __repr__

    def _shown(self) -> list[tuple[str, object]]:
        return [(k, self[k]) for k in ("open_id", "scope", "expires_at", *_MARKS[1:]) if k in self]

    def __sentry_repr__(self) -> str:
        """Show Sentry's reports of variables no more, which else walk every mapping."""
        return repr(self)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """Show rich's tracebacks and pretty printer no more."""
        yield from self._shown()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the dict it is."""
        return type(self), (dict(self),)


def split_scopes(scope: object) -> list[str]:
    """Return scopes as a list.

    Args:
        scope: A list, or one string with commas or spaces between scopes, or None.
    """
    if scope is None:
        return []
    if isinstance(scope, (list, tuple, set, frozenset)):
        # oauthlib makes a list of one element of TikTok's commas.
        scope = ",".join(map(str, scope))
    return _SCOPE.findall(str(scope))


def _number(value: object) -> int | float | None:
    """Read a number, of seconds or of tries, however it was written; None if it is none.

    A whole number comes back as int: JSON readers of other languages expect one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number
