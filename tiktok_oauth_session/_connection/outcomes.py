"""How a refresh may end without a token, and what that allows."""

from __future__ import annotations

import time

from tiktok_oauth_session._http.oauth_request import BUSY, NoReply
from tiktok_oauth_session.errors import TokenError
from tiktok_oauth_session.tokens import REFRESH_STARTED_AT, REFRESH_TRIES, TikTokToken

#: Seconds between the one replay of an unclear refresh and the next, if that got no reply either; doubled
#: each time. An outage must not cost the account, nor may its refresh token be sent at every call.
REPLAY_PAUSE_S = 5.0
#: Seconds between two replays at most, and so between the end of an outage and the account's return.
REPLAY_PAUSE_CAP_S = 900.0

#: Refusals that say that the refresh was not carried out (RFC 6749 section 5.2).
_CLEAR = (
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
)
#: Replies that leave open whether it was; so does every other HTTP 5xx.
_UNCLEAR = ("internal_error", "invalid_response", "missing_token", "server_error", "unknown_error")
_SERVER_ERROR = 500


def is_unclear(error: TokenError) -> bool:
    """Tell whether the refresh may have been carried out although it failed."""
    if isinstance(error, NoReply):
        return error.sent
    if error.error in _CLEAR or error.status_code in BUSY:
        return False
    return error.error in _UNCLEAR or (error.status_code or 0) >= _SERVER_ERROR


def tries_of(token: TikTokToken) -> int:
    """Return how often the refresh token may have been spent already; 0 if its last outcome is known."""
    return max(int(token.get(REFRESH_TRIES, 1)), 1) if REFRESH_STARTED_AT in token else 0


def replay_in(token: TikTokToken) -> float:
    """Return how many seconds an unclear refresh has to wait for its next replay; 0 if it is due.

    The first one is due as soon as the access token is dead.
    """
    replays = tries_of(token) - 1
    if replays < 1:
        return 0.0
    pause = min(REPLAY_PAUSE_S * 2.0 ** min(replays - 1, 32), REPLAY_PAUSE_CAP_S)
    left: float = token[REFRESH_STARTED_AT] + pause - time.time()
    # More than the pause: the clock was set back, or another machine's is ahead.
    return left if 0 < left <= pause else 0.0
