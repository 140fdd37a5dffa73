"""Everything this package raises.

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
    └── StoreError                  the place where tokens are kept failed
        ├── StoreConflict           a compare-and-swap found another token
        └── TokenNotSaved           holds the new token that could not be saved

Existing ``except`` clauses keep working: what oauthlib or requests would have raised is a base class.
`NoReply` lives in `tiktok_oauth_session.exchange`, so that this module does not import requests.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from oauthlib.oauth2 import (
    InvalidGrantError,
    MismatchingStateError,
    OAuth2Error,
    TokenExpiredError,
)
from oauthlib.oauth2.rfc6749 import errors as oauthlib_errors

if TYPE_CHECKING:
    import requests

    from tiktok_oauth_session.tokens import TikTokToken


class TikTokOAuthError(Exception):
    """Superclass of all errors of this package; never raised itself.

    The message says what happened and what to do next, and holds no secret.
    """

    #: The error code: RFC 6749's where TikTok uses or means one, else TikTok's own.
    error: str | None = None
    #: TikTok's own words, with every secret that was sent blotted out.
    description: str = ""
    #: What TikTok's support asks for.
    log_id: str | None
    #: TikTok's number for the error, on surfaces that have one.
    error_code: int | None
    #: The HTTP status of the reply; None when there was none.
    status_code: int | Any  # Any, not None: the stubs of OAuth2Error say int
    #: The reply, where there was one. Its ``request`` holds secrets: do not log it.
    response: requests.Response | None

    def __init__(
        self,
        message: str = "",
        *,
        error: str | None = None,
        description: str = "",
        log_id: str | None = None,
        error_code: int | None = None,
        status_code: int | None = None,
        response: requests.Response | None = None,
    ) -> None:
        # OAuth2Error, where it is a base, sets attributes that its own methods read.
        super().__init__()
        self.args = (message,)
        if error is not None:
            self.error = error
        self.description = description
        self.log_id = log_id
        self.error_code = error_code
        self.status_code = status_code
        self.response = response

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes without the response, whose request holds secrets."""
        state = {name: value for name, value in self.__dict__.items() if name != "response"}
        return _rebuild, (*_family(type(self)), self.args, {**state, "response": None})


class AuthorizationError(TikTokOAuthError, OAuth2Error):
    """The authorization response is no usable consent: refused, forged, or without a code."""


class StateMismatch(AuthorizationError, MismatchingStateError):
    """The authorization response does not carry the ``state`` of a login that was begun here."""

    error = "mismatching_state"


class TokenError(TikTokOAuthError, OAuth2Error):
    """The token endpoint gave no token, whatever shape its refusal had.

    Where oauthlib has a class for the error code, the instance is of that class too, so that
    ``except InvalidGrantError`` keeps working.
    """


class ReauthorizationRequired(TokenError, InvalidGrantError):
    """Only a new login brings this connection back."""

    error = "invalid_grant"


class TokenExpired(ReauthorizationRequired, TokenExpiredError):
    """The access token has expired and the session holds nothing to refresh it with."""

    error = "token_expired"


class RevocationError(TikTokOAuthError, OAuth2Error):
    """TikTok did not revoke the token; session and store still hold it."""


class APIError(TikTokOAuthError):
    """An API reply that says no, or that is not TikTok's envelope at all."""


class StoreError(TikTokOAuthError):
    """The token store failed, or what it holds is damaged."""


class StoreConflict(StoreError):
    """``save(replacing=…)`` found another refresh token, or none: nothing was written."""


class TokenNotSaved(StoreError):
    """TikTok issued a new token and it could not be saved. The old refresh token is spent.

    While this process lives, the next call saves it again before anything else. If the process is
    about to end, save `token` yourself: nothing else holds it.
    """

    #: The new token, the only copy outside this process's memory.
    token: TikTokToken | None

    def __init__(self, message: str = "", *, token: TikTokToken | None = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.token = token


#: oauthlib's classes by RFC 6749 error code.
_OAUTHLIB_CLASSES: dict[str, type[OAuth2Error]] = {
    cls.error: cls
    for cls in vars(oauthlib_errors).values()
    if isinstance(cls, type) and issubclass(cls, OAuth2Error) and isinstance(cls.error, str)
}


@functools.cache
def _class_for(base: type[TikTokOAuthError], error: str | None) -> type[TikTokOAuthError]:
    """Return `base`, joined with oauthlib's class for `error` where there is one."""
    theirs = _OAUTHLIB_CLASSES.get(error or "")
    if theirs is None or issubclass(base, theirs):
        return base
    return type(base.__name__, (base, theirs), {"__doc__": base.__doc__, "__module__": base.__module__})


def _family(cls: type[TikTokOAuthError]) -> tuple[type[TikTokOAuthError], str | None]:
    """Take apart what `_class_for` joined; the joined class itself cannot be pickled by name."""
    base: Any = cls.__bases__[0]
    # Not only oauthlib's classes are second bases, and requests' have no code.
    error = getattr(cls.__bases__[-1], "error", None)
    if len(cls.__bases__) == 2 and _class_for(base, error) is cls:  # noqa: PLR2004 - ours and theirs
        return base, error
    return cls, None


def _rebuild(
    base: type[TikTokOAuthError], error: str | None, args: tuple[Any, ...], state: dict[str, Any]
) -> TikTokOAuthError:
    exception = _class_for(base, error)(*args)  # type: ignore[arg-type]  # mypy mistakes the class for an instance
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
    joined = _class_for(base, error)  # type: ignore[arg-type]  # mypy mistakes the class for an instance
    return joined(message, error=error, **evidence)


def reason_of(failure: BaseException) -> str:
    """Return why something failed: the words of errors of ours, which hold no secret, or else its kind."""
    return str(failure) if isinstance(failure, StoreError) else type(failure).__name__
