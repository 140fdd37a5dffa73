"""What becomes of connections, told to whoever watches them: a function, the log, OpenTelemetry."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session.errors import reason_of
from tiktok_oauth_session.tokens import AccountKey

log: logging.Logger = logging.getLogger(__name__)

EventName = Literal["refreshed", "refresh_failed", "needs_login", "revoked"]


class ConnectionEvent(NamedTuple):
    """What has become of a connection. No secret is in it.

    Attributes:
        name: ``"refreshed"``: TikTok issued a new token, and it is saved. ``"refresh_failed"``: TikTok was
            asked, or was about to be, and there is no new token that is safe; see `reason`.
            ``"needs_login"``: TikTok has just refused the refresh token, and only a new login helps.
            ``"revoked"``: the application has ended the connection.
        account: Which one; None if it has no store and nobody knows whose it is.
        reason: Why it failed: an error code of TikTok's; or ``"no_reply"``, ``"invalid_response"``,
            ``"another_open_id"`` (TikTok's answer was another user's token), ``"store"`` (the place where
            tokens are kept), the class of whatever else was raised; None if it succeeded.
        seconds: How long it took, from its beginning until the new token was saved.
    """

    name: EventName
    account: AccountKey | None
    reason: str | None
    seconds: float


#: Called with every event.
OnEvent = Callable[[ConnectionEvent], object]

_WORDS = {
    "refreshed": "was refreshed",
    "refresh_failed": "could not be refreshed",
    "needs_login": "needs a login",
    "revoked": "was revoked",
}


def tell(event: ConnectionEvent, on_event: OnEvent | None) -> None:
    """Tell whoever watches. What an `on_event` raises is a log line: the event has happened all the same."""
    account, reason = event.account, event.reason
    log.info(
        "the connection of %s %s%s, in %.3f s",
        plain(account.open_id) if account else "an unknown account",
        _WORDS[event.name],
        f" ({reason})" if reason else "",
        event.seconds,
        extra={
            "tiktok_event": event.name,
            "tiktok_client_key": account and account.client_key,
            "tiktok_open_id": account and account.open_id,
            "tiktok_reason": reason,
            "tiktok_seconds": event.seconds,
        },
    )
    _measure(event)
    if on_event is None:
        return
    try:
        on_event(event)
    except Exception as failure:  # noqa: BLE001 - a function of the user's may raise anything
        log.warning("on_event failed: %s", reason_of(failure))


def _measure(event: ConnectionEvent) -> None:
    instruments = _instruments()
    if instruments is None:
        return
    events, seconds = instruments
    # Not the account: a hundred thousand of them would be as many time series.
    attributes: dict[str, str] = {"tiktok_oauth.event": event.name}
    if event.reason:
        attributes["error.type"] = event.reason
    events.add(1, attributes)
    seconds.record(event.seconds, attributes)


@functools.cache
def _instruments() -> tuple[Any, Any] | None:
    """Return OpenTelemetry's counter and histogram of events; None where it is not installed."""
    try:
        from opentelemetry.metrics import get_meter
    except ImportError:
        return None
    meter = get_meter("tiktok_oauth_session")
    return (
        meter.create_counter(
            "tiktok_oauth.connection.events", unit="{event}", description="What became of connections."
        ),
        meter.create_histogram(
            "tiktok_oauth.connection.duration", unit="s", description="How long it took them."
        ),
    )
