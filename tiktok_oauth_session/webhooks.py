"""TikTok's webhooks: whether a request is TikTok's, what it says, and forgetting who has removed the app.

Source: https://developers.tiktok.com/doc/webhooks-verification
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tiktok_oauth_session._plain_errors import WebhookError
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey

#: Where TikTok's signature is. The names of headers have no case.
SIGNATURE_HEADER = "TikTok-Signature"
#: A user, TikTok, or the app itself has ended a connection.
AUTHORIZATION_REMOVED = "authorization.removed"
#: Seconds that an event may be older than now, or newer. TikTok names none.
TOLERANCE_S = 300.0

_TIME = re.compile("[0-9]{1,12}")
_SIGNATURE = re.compile("[0-9a-fA-F]{64}")
#: What JSON may have in an event's fields.
_TYPES = ((str,), (str,), (str, type(None)), (int,), (dict,))

#: Notes a signature until a time (Unix time, seconds); tells whether it was not noted yet.
IsNew = Callable[[str, float], bool]


class WebhookEvent(NamedTuple):
    """What TikTok says has happened."""

    #: TikTok's name for it, such as ``authorization.removed``.
    event: str
    #: The app's.
    client_key: str
    #: Whose event it is (``user_openid``); None where it is nobody's.
    open_id: str | None
    #: When it happened (Unix time, seconds).
    create_time: int
    #: What else there is to say of it, such as ``{"reason": 1}``.
    content: Mapping[str, Any]


class SeenSignatures:
    """Remembers the signatures that this process has seen, for as long as they are valid."""

    def __init__(self) -> None:
        self._lock, self._until = threading.Lock(), dict[str, float]()

    def __call__(self, signature: str, until: float) -> bool:
        """Note a signature; tell whether it is new.

        Args:
            signature: The signature.
            until: Until when it is valid (Unix time, seconds).
        """
        now = time.time()
        with self._lock:
            self._until = {each: end for each, end in self._until.items() if end >= now}
            is_new = signature not in self._until
            self._until[signature] = until
        return is_new


@without_variables
def verify(
    headers: Mapping[str, str],
    body: bytes,
    client_secret: str,
    *,
    tolerance: float = TOLERANCE_S,
    is_new: IsNew | None = None,
) -> WebhookEvent:
    """Return the event of a request that TikTok has signed.

    Args:
        headers: The request's headers.
        body: Its body, as it was received: not decoded, not parsed.
        client_secret: The app's secret, which is the key of the signature.
        tolerance: Seconds that its time may differ from now.
        is_new: Refuses what was received before, such as `SeenSignatures`, or a function on what all
            machines share. TikTok sends an event again until it is answered with 200, so a program has to
            take an event twice anyway.

    Raises:
        WebhookError: It is not signed by TikTok, too old, not new, or not as TikTok documents it; its
            ``error`` says which.

    Source: https://developers.tiktok.com/doc/webhooks-verification
    """
    sent_at, signature = _signed(headers)
    signed = f"{sent_at}.".encode() + body
    expected = hmac.new(client_secret.encode(), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature.lower()):
        raise WebhookError(
            "The webhook's signature is not that of this body and this client secret. It is of the body as "
            "it was received, byte for byte.",
            error="signature_mismatch",
        )
    age = time.time() - int(sent_at)
    if not abs(age) <= tolerance:
        when = "ago" if age > 0 else "from now"
        raise WebhookError(
            f"The webhook was signed {abs(age):.0f} s {when}, and {tolerance:g} s are tolerated.",
            error="signature_expired",
        )
    if is_new is not None and not is_new(signature.lower(), int(sent_at) + tolerance):
        raise WebhookError("This webhook was received before: answer it with 200.", error="replayed")
    return _event(body)


def forget(store: TokenStore, event: WebhookEvent) -> bool:
    """Delete the account whose connection has ended, if that is what an event says.

    Waits for a refresh that is under way. An account whose token was issued after the event stays, since its
    user has logged in again: TikTok may deliver an event days late.

    Args:
        store: Where the account is.
        event: What `verify` has returned.

    Returns:
        Whether an account was deleted.

    Raises:
        StoreError: It could not be deleted, or its lock could not be had.

    Source: https://developers.tiktok.com/doc/webhooks-events
    """
    if event.event != AUTHORIZATION_REMOVED or not event.open_id:
        return False
    key = AccountKey(event.client_key, event.open_id)
    with store.lock(key):
        token = store.load(key)
        if token is None or (token.issued_at or 0) > event.create_time:
            return False
        store.delete(key)
    return True


def _signed(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return when a request was signed, and its signature.

    Raises:
        WebhookError: It has no signature, or none that can be read.
    """
    values = [value for name, value in headers.items() if name.lower() == SIGNATURE_HEADER.lower()]
    if not values:
        raise WebhookError(f"There is no {SIGNATURE_HEADER} header.", error="signature_missing")
    parts = [part.strip().partition("=") for part in ",".join(values).split(",")]
    times = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == "s"]
    if (
        len(times) == len(signatures) == 1
        and _TIME.fullmatch(times[0])
        and _SIGNATURE.fullmatch(signatures[0])
    ):
        return times[0], signatures[0]
    raise WebhookError(
        f"The {SIGNATURE_HEADER} header is not t=<seconds>,s=<signature>.", error="signature_malformed"
    )


def _event(body: bytes) -> WebhookEvent:
    """Read a body.

    Raises:
        WebhookError: It is not as TikTok documents it.
    """
    try:
        said: Any = json.loads(body)
        # A string with JSON in it.
        content: Any = json.loads(said.get("content") or "{}")
        event = WebhookEvent(
            said["event"], said["client_key"], said.get("user_openid"), said["create_time"], content
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        event = None
    if event is None or not all(type(each) in types for each, types in zip(event, _TYPES, strict=True)):
        raise WebhookError("The webhook's body is not as TikTok documents it.", error="invalid_body")
    return event
