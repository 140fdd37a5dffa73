"""What every framework's route does with a webhook: which status, and who is told what."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.errors import StoreError, WebhookError
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.webhooks import Headers, WebhookEvent, forget, verify

log: logging.Logger = logging.getLogger(__name__)

#: Bytes of a body at most. TikTok's have some hundred.
BODY_CAP = 1 << 20


def read_body(read: Callable[[int], bytes]) -> bytes:
    """Read a body, or as much of it as shows that it is too large.

    Args:
        read: Reads at most so many bytes, and none only at the end.
    """
    body = bytearray()
    while len(body) <= BODY_CAP and (more := read(BODY_CAP + 1 - len(body))):
        body.extend(more)
    return bytes(body)


@without_variables
def take(
    headers: Headers,
    body: bytes,
    client_key: str,
    client_secret: str,
    store: TokenStore | None,
    tell: Callable[[WebhookEvent], object],
) -> int:
    """Forget who has removed the app, tell the application, and return the HTTP status to answer.

    TikTok sends again what is not answered with 200.

    Args:
        headers: The request's headers.
        body: Its body, as it was received.
        client_key: The app's client key: what is signed with its secret may be about no other.
        client_secret: The app's secret.
        store: Where accounts are forgotten; None where only the application can.
        tell: Tells the application of an event, whatever it is.

    Raises:
        ValueError: The secret is empty.
    """
    if len(body) > BODY_CAP:
        return _refused(413, "its body has more than a mebibyte")
    try:
        event = verify(headers, body, client_secret, client_key=client_key)
    except WebhookError as error:
        return _refused(error.answer, error)
    try:
        if store is not None:
            forget(store, event)
    except StoreError as error:
        log.error("a webhook could not be taken just now: %s", error)  # noqa: TRY400 - it says what is wrong
        return 503
    except ValueError as error:
        return _refused(400, error)
    return _told(event, tell)


def _refused(status: int, why: object) -> int:
    log.warning("a webhook was refused: %s", why)
    return status


def _told(event: WebhookEvent, tell: Callable[[WebhookEvent], object]) -> int:
    """Tell the application, in a frame that holds no secret: its errors may be sent away with variables."""
    try:
        tell(event)
    except Exception:
        log.exception("what the application does with a webhook failed")
        return 500
    return 200
