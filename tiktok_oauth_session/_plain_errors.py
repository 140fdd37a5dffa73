"""The errors of this package that are no errors of oauthlib's: see `tiktok_oauth_session.errors`.

Apart, because importing oauthlib is most of what reading a token from a store would cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiktok_oauth_session._plain_text import plain

if TYPE_CHECKING:
    import requests

    from tiktok_oauth_session.tokens import TikTokToken


#: Characters of a message at most. What it quotes is capped where it is written, so that what to do is seen.
_MESSAGE_CAP = 2_000


class TikTokOAuthError(Exception):
    """Superclass of all errors of this package; never raised itself.

    The message says what happened and what to do next, and holds no secret. In whatever text of others it
    quotes, what a terminal or a log would obey is replaced by its escape.
    """

    #: The error code, which is RFC 6749's where TikTok uses or means one, else TikTok's own.
    error: str | None = None
    #: TikTok's own words, or those of a stranger who came to a redirect URI; one line, capped, with every
    #: secret that was sent blotted out. It is text, never HTML.
    description: str = ""
    #: What TikTok's support asks for.
    log_id: str | None
    #: TikTok's number for the error, on surfaces that have one.
    error_code: int | None
    #: The HTTP status of the reply; None when there was none.
    status_code: int | Any  # Any, not None: the stubs of OAuth2Error say int
    #: Seconds after which it is worth asking again, if that is known.
    retry_after: float | None
    #: The reply, where there was one. Its ``request`` holds secrets; do not log it.
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
        retry_after: float | None = None,
        response: requests.Response | None = None,
    ) -> None:
        # OAuth2Error, where it is a base, sets attributes that its own methods read.
        super().__init__()
        self.args: tuple[Any, ...] = (plain(message, _MESSAGE_CAP),)
        if error is not None:
            self.error = plain(error)
        self.description = plain(description)
        self.log_id = plain(log_id) if log_id else log_id
        self.error_code = error_code
        self.status_code = status_code
        self.retry_after = retry_after
        self.response = response

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes without the response, whose request holds secrets."""
        return _rebuild, (type(self), self.args, self._evidence())

    def _evidence(self) -> dict[str, Any]:
        """Return the attributes, without the response."""
        return {**self.__dict__, "response": None}


class APIError(TikTokOAuthError):
    """An API reply that says no, or that is not TikTok's envelope at all."""


class WebhookError(TikTokOAuthError):
    """A request that came as a webhook is not to be believed.

    Its ``error`` is ``signature_missing``, ``signature_malformed``, ``signature_mismatch``,
    ``signature_expired``, ``invalid_body``, ``client_mismatch`` or ``replayed``.
    """

    @property
    def answer(self) -> int:
        """The HTTP status to answer with, such as 401, or 200 to a replay, which need not come again."""
        return {"invalid_body": 400, "client_mismatch": 400, "replayed": 200}.get(self.error or "", 401)


class StoreError(TikTokOAuthError):
    """The token store failed, or what it holds is damaged."""


class StoreConflict(StoreError):
    """``save(replacing=…)`` found another refresh token, or none: nothing was written."""


class TokenNotSaved(StoreError):
    """TikTok issued a new token and it could not be saved.

    After a refresh the old refresh token is spent; while this process lives, it goes on trying to save the
    new one, and so does the next call before anything else. A token_updater that failed is told again by the
    next call. After a login, or if the process is about to end, save `token` yourself: nothing else holds it.
    """

    #: The new token, the only copy outside this process's memory.
    token: TikTokToken | None

    def __init__(self, message: str = "", *, token: TikTokToken | None = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.token = token


def _rebuild(cls: type[TikTokOAuthError], args: tuple[Any, ...], state: dict[str, Any]) -> TikTokOAuthError:
    exception = cls(*args)
    exception.__dict__.update(state)
    return exception
