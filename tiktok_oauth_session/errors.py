"""The errors of this package.

::

    TikTokOAuthError
    ├── AuthorizationError          (also an OAuth2Error) the user did not come back with a usable code
    │   └── StateMismatch           (also a MismatchingStateError)
    ├── TokenError                  (also an OAuth2Error) the token endpoint gave no token
    │   ├── NoReply                 (also a requests.ConnectionError) nobody knows what it answered
    │   └── ReauthorizationRequired (also an InvalidGrantError) only a new login helps
    │       └── TokenExpired        (also a TokenExpiredError) and there is nothing to refresh it with
    ├── RevocationError             TikTok did not revoke
    ├── APIError                    an API reply that says no, as `unwrap` reads it
    ├── WebhookError                a request that came as a webhook is not to be believed
    └── StoreError                  the place where tokens are kept failed
        ├── StoreConflict           a compare-and-swap found another token
        └── TokenNotSaved           holds the new token that could not be saved

Existing ``except`` clauses keep working: what oauthlib or requests would have raised is a base class.
`NoReply` lives in `tiktok_oauth_session._http.oauth_request`, so that this module does not import requests.
"""

from __future__ import annotations

import functools
from typing import Any

from oauthlib.oauth2 import (
    InvalidGrantError,
    MismatchingStateError,
    OAuth2Error,
    TokenExpiredError,
)
from oauthlib.oauth2.rfc6749 import errors as oauthlib_errors

from tiktok_oauth_session._plain_errors import (
    APIError,
    StoreConflict,
    StoreError,
    TikTokOAuthError,
    TokenNotSaved,
    WebhookError,
)

__all__ = [
    "APIError",
    "AuthorizationError",
    "ReauthorizationRequired",
    "RevocationError",
    "StateMismatch",
    "StoreConflict",
    "StoreError",
    "TikTokOAuthError",
    "TokenError",
    "TokenExpired",
    "TokenNotSaved",
    "WebhookError",
    "new_error",
    "reason_of",
]


class AuthorizationError(TikTokOAuthError, OAuth2Error):
    """The authorization response is no usable consent: refused, forged, or without a code."""


class StateMismatch(AuthorizationError, MismatchingStateError):
    """The authorization response does not carry the ``state`` of a login that was begun here."""

    error: str = "mismatching_state"


class TokenError(TikTokOAuthError, OAuth2Error):
    """The token endpoint gave no token, whatever shape its refusal had.

    Where oauthlib has a class for the error code, the instance is of that class too, so that
    ``except InvalidGrantError`` keeps working.
    """


class ReauthorizationRequired(TokenError, InvalidGrantError):
    """Only a new login brings this connection back."""

    error: str = "invalid_grant"


class TokenExpired(ReauthorizationRequired, TokenExpiredError):
    """The access token has expired and the session holds nothing to refresh it with."""

    error: str = "token_expired"


class RevocationError(TikTokOAuthError, OAuth2Error):
    """TikTok did not revoke the token; session and store still hold it."""


#: oauthlib's classes by RFC 6749 error code.
_OAUTHLIB_CLASSES: dict[str, type[OAuth2Error]] = {
    cls.error: cls
    for cls in vars(oauthlib_errors).values()
    if isinstance(cls, type) and issubclass(cls, OAuth2Error) and isinstance(cls.error, str)
}


def _class_for(base: type[TikTokOAuthError], error: str | None) -> type[TikTokOAuthError]:
    """Return `base`, joined with oauthlib's class for `error` where there is one."""
    theirs = _OAUTHLIB_CLASSES.get(error or "")
    if theirs is None or issubclass(base, theirs):
        return base
    return _joined(base, theirs)  # type: ignore[arg-type]  # mypy mistakes a class for an instance


# By classes, of which there are few: an error code may be any stranger's text.
@functools.cache
def _joined(base: type[TikTokOAuthError], theirs: type[OAuth2Error]) -> type[TikTokOAuthError]:
    def reduce(self: TikTokOAuthError) -> tuple[Any, ...]:
        # By what it was joined of: the joined class has no name that could be imported.
        return _rebuild, (base, theirs.error, self.args, self._evidence())

    named = {"__doc__": base.__doc__, "__module__": base.__module__, "__reduce__": reduce}
    return type(base.__name__, (base, theirs), named)


def _rebuild(
    base: type[TikTokOAuthError], error: str | None, args: tuple[Any, ...], state: dict[str, Any]
) -> TikTokOAuthError:
    exception = _class_for(base, error)(*args)
    exception.__dict__.update(state)
    return exception


def new_error(base: type[TikTokOAuthError], message: str, *, error: str, **evidence: Any) -> TikTokOAuthError:
    """Make an error of ours that oauthlib's own handlers catch as well.

    Args:
        base: Which of our classes it is.
        message: What happened and what to do next.
        error: The error code.
        **evidence: The other attributes of `TikTokOAuthError`.
    """
    return _class_for(base, error)(message, error=error, **evidence)


def reason_of(failure: BaseException) -> str:
    """Return why something failed: the words of errors of ours, which hold no secret, or else its kind."""
    return str(failure) if isinstance(failure, StoreError) else type(failure).__name__
