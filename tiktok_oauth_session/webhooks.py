"""TikTok's webhooks: whether a request is TikTok's, what it says, and forgetting who has removed the app.

Login Kit and Business accounts sign in one way, and TikTok Shop in another.

Source: https://developers.tiktok.com/doc/webhooks-verification
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from tiktok_oauth_session._plain_errors import WebhookError
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.stores import TokenStore, required
from tiktok_oauth_session.tokens import AccountKey

#: Where TikTok's signature is. The names of headers have no case.
SIGNATURE_HEADER = "TikTok-Signature"
#: Where Shop's is.
SHOP_SIGNATURE_HEADER = "Authorization"
#: A user, TikTok, or the app itself has ended a connection.
AUTHORIZATION_REMOVED = "authorization.removed"
#: A seller of Shop's has ended a connection. The event names a shop, and no account.
SELLER_DEAUTHORIZED = "6"
#: What a seller of Shop's has authorized ends in 30 days or less.
AUTHORIZATION_EXPIRES_SOON = "7"
#: A creator of Shop's has ended a connection.
CREATOR_DEAUTHORIZED = "20"
#: Seconds that a signature may be older than now. TikTok names none. It delivers again for up to 72
#: hours what was not answered with 200, and does not say whether it signs that anew.
#: Source: https://developers.tiktok.com/doc/webhooks-overview
TOLERANCE_S = 259_200.0
#: Seconds that it may be of a time to come, by the clocks of both.
CLOCK_SKEW_S = 300.0
#: Seconds that an event of Shop's may be older than now, or newer. It says when something happened, and not
#: when it was sent, and TikTok sends it again for up to 12 hours.
SHOP_TOLERANCE_S = 86_400.0

#: Seconds that `forget` waits for an account's lock: as long as a refresh takes at most, with the usual time
#: limits, and less than the 30 that gunicorn gives to a request.
LOCK_WAIT_S = 25.0

_ENDS = (AUTHORIZATION_REMOVED, SELLER_DEAUTHORIZED, CREATOR_DEAUTHORIZED)
_TIME = re.compile("[0-9]{1,12}")
_SIGNATURE = re.compile("[0-9a-fA-F]{64}")
#: What JSON may have in an event's fields.
_TYPES = ((str,), (str,), (str, type(None)), (int,), (dict,), (str, type(None)), (str,), (float,))

#: How many events are remembered before those that are no longer valid are forgotten.
_FIRST_PURGE = 1_024


class Headers(Protocol):
    """A request's headers, as any framework has them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return names and values."""


class WebhookEvent(NamedTuple):
    """What TikTok says has happened."""

    #: TikTok's name for it, such as ``authorization.removed``; Shop's are numbers, such as ``6``.
    event: str
    #: The app's; Shop calls it the app key.
    client_key: str
    #: Whose event it is (``user_openid``, Shop's ``creator_open_id``); None where TikTok does not say.
    open_id: str | None
    #: When it happened (Unix time, seconds).
    create_time: int
    #: What else there is to say of it, such as ``{"reason": 1}``.
    content: Mapping[str, Any]
    #: The shop's id, if it is an event of a shop.
    shop_id: str | None = None
    #: What tells this delivery from others: the SHA-256 of what was signed, in hex.
    delivery_id: str = ""
    #: Until when the very same delivery could be made a second time (Unix time, seconds).
    valid_until: float = 0.0


#: Tells whether an event was dealt with before.
Seen = Callable[[WebhookEvent], object]


class SeenDeliveries:
    """Remembers which events this process has dealt with, for as long as they could come a second time.

    An event is noted when all is done that it asks for, and not when it comes: what has failed is done again
    when TikTok comes again. Two that come at the same moment may both be taken.
    """

    def __init__(self) -> None:
        self._lock, self._until, self._purged_at = threading.Lock(), dict[str, float](), _FIRST_PURGE

    def __call__(self, event: WebhookEvent) -> bool:
        """Tell whether an event was noted."""
        return event.delivery_id in self._until

    def note(self, event: WebhookEvent) -> None:
        """Remember that an event has been dealt with."""
        with self._lock:
            self._until[event.delivery_id] = event.valid_until
            if len(self._until) > self._purged_at:
                now = time.time()
                self._until = {each: end for each, end in self._until.items() if end >= now}
                self._purged_at = max(2 * len(self._until), _FIRST_PURGE)


@without_variables
def verify(
    headers: Headers,
    body: bytes,
    client_secret: str,
    *,
    client_key: str | None = None,
    tolerance: float = TOLERANCE_S,
    seen: Seen | None = None,
) -> WebhookEvent:
    """Return the event of a request that TikTok has signed.

    Args:
        headers: The request's headers.
        body: Its body, as it was received: not decoded, not parsed.
        client_secret: The app's secret, which is the key of the signature.
        client_key: Whose secret that is. If None, whoever knows the secret, such as a sandbox's, can tell of
            the users of another app that shares the store.
        tolerance: Seconds that the signature may be old, or ahead, if that is less than `CLOCK_SKEW_S`.
        seen: Tells what was dealt with before, which is refused: a `SeenDeliveries`, or something alike on
            what all machines share. Note the event there when you have dealt with it.

    Raises:
        WebhookError: It is not signed by TikTok, too old, not new, another app's, or not as TikTok documents
            it; its ``error`` says which, and its ``answer`` is what to answer.
        ValueError: The secret is empty.

    Source: https://developers.tiktok.com/doc/webhooks-verification
    """
    sent_at, signature = _signed(headers)
    signed = f"{sent_at}.".encode() + body
    _require_signature(signature, signed, client_secret)
    _require_current(int(sent_at), tolerance, ahead=min(tolerance, CLOCK_SKEW_S))
    event = _event(body, _login_kit_event)
    if client_key is not None and event.client_key != client_key:
        raise WebhookError("The webhook is of another app.", error="client_mismatch")
    return _unseen(event, signed, int(sent_at) + tolerance, seen)


@without_variables
def verify_shop(
    headers: Headers,
    body: bytes,
    app_key: str,
    app_secret: str,
    *,
    tolerance: float = SHOP_TOLERANCE_S,
    seen: Seen | None = None,
) -> WebhookEvent:
    """Return the event of a request that TikTok Shop has signed.

    Args:
        headers: The request's headers.
        body: Its body, as it was received: not decoded, not parsed.
        app_key: The app's key, which is part of what is signed.
        app_secret: The app's secret, which is the key of the signature.
        tolerance: Seconds that the time of the event may differ from now. There is no other time in it.
        seen: As for `verify`.

    Raises:
        WebhookError: As by `verify`.
        ValueError: The secret is empty.

    Source: https://partner.tiktokshop.com/docv2/page/tts-webhooks-overview
    """
    signature = _header(headers, SHOP_SIGNATURE_HEADER).strip()
    if not _SIGNATURE.fullmatch(signature):
        raise WebhookError(
            f"The {SHOP_SIGNATURE_HEADER} header is no signature of TikTok Shop's.",
            error="signature_malformed",
        )
    signed = app_key.encode() + body
    _require_signature(signature, signed, app_secret)
    event = _event(body, _shop_event)._replace(client_key=app_key)
    _require_current(event.create_time, tolerance, ahead=tolerance)
    return _unseen(event, signed, event.create_time + tolerance, seen)


def forget(store: TokenStore, event: WebhookEvent, *, open_id: str | None = None) -> bool:
    """Delete the account whose connection has ended, if that is what an event says.

    Waits `LOCK_WAIT_S` for a refresh that is under way. TikTok may deliver an event days late, so an account
    stays whose token was asked for after the event, by this machine's clock: its user has logged in again, or
    TikTok has refreshed it since.

    Args:
        store: Where the account is.
        event: What `verify` or `verify_shop` has returned.
        open_id: Under which name the store has the account, where that is not the event's `open_id`: of a
            seller, of whom the event names the shop only, and wherever accounts have names of your own.

    Returns:
        Whether an account was deleted.

    Raises:
        StoreError: It could not be deleted, or its lock could not be had: let TikTok come again.
        ValueError: A connection has ended, and nobody says whose.

    Source: https://developers.tiktok.com/doc/webhooks-events and, of Shop,
    https://partner.tiktokshop.com/docv2/page/20-creator-deauthorization
    """
    if event.event not in _ENDS:
        return False
    if not (whose := open_id or event.open_id):
        raise ValueError(f"The event {event.event} names no account: say whose it is with open_id=.")
    key = AccountKey(event.client_key, whose)
    with required(store.try_lock(key, timeout=LOCK_WAIT_S), key, timeout=LOCK_WAIT_S):
        token = store.load(key)
        if token is None or (token.issued_at or 0) > event.create_time:
            return False
        store.delete(key)
    return True


def _header(headers: Headers, wanted: str) -> str:
    """Return a header; all of them, as one, if there are more.

    Raises:
        WebhookError: There is none.
    """
    values = [value for name, value in headers.items() if name.lower() == wanted.lower()]
    if not values:
        raise WebhookError(f"There is no {wanted} header.", error="signature_missing")
    return ",".join(values)


def _signed(headers: Headers) -> tuple[str, str]:
    """Return when a request was signed, and its signature.

    Raises:
        WebhookError: It has no signature, or none that can be read.
    """
    parts = [part.strip().partition("=") for part in _header(headers, SIGNATURE_HEADER).split(",")]
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


def _require_signature(signature: str, signed: bytes, secret: str) -> None:
    """Compare a signature with the one that it should be.

    Raises:
        WebhookError: It is another.
        ValueError: The secret is empty, and everybody's.
    """
    if not secret:
        raise ValueError("The app's secret is empty: nobody can tell whose signature it is.")
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature.lower()):
        raise WebhookError(
            "The webhook's signature is not that of this app and this body. It is of the body as it was "
            "received, byte for byte.",
            error="signature_mismatch",
        )


def _require_current(sent_at: int, tolerance: float, *, ahead: float) -> None:
    """Look at when a webhook was signed.

    Raises:
        WebhookError: It is too old, or too far ahead.
    """
    age = time.time() - sent_at
    if not -ahead <= age <= tolerance:
        when, tolerated = ("ago", tolerance) if age > 0 else ("from now", ahead)
        raise WebhookError(
            f"The webhook was signed {abs(age):.0f} s {when}, and {tolerated:g} s are tolerated.",
            error="signature_expired",
        )


def _unseen(event: WebhookEvent, signed: bytes, until: float, seen: Seen | None) -> WebhookEvent:
    """Return an event with what tells it from others.

    Raises:
        WebhookError: It was dealt with before.
    """
    event = event._replace(delivery_id=hashlib.sha256(signed).hexdigest(), valid_until=float(until))
    if seen is not None and seen(event):
        raise WebhookError("This webhook was dealt with before: answer it with 200.", error="replayed")
    return event


def _event(body: bytes, read: Callable[[Any], WebhookEvent]) -> WebhookEvent:
    """Read a body.

    Raises:
        WebhookError: It is not as TikTok documents it.
    """
    try:
        event = read(json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        event = None
    if (
        event is None
        or not all(type(each) in types for each, types in zip(event, _TYPES, strict=True))
        or not _TIME.fullmatch(str(event.create_time))
    ):
        raise WebhookError("The webhook's body is not as TikTok documents it.", error="invalid_body")
    return event


def _login_kit_event(said: Any) -> WebhookEvent:
    # A string with JSON in it.
    content = json.loads(said.get("content") or "{}")
    return WebhookEvent(
        said["event"], said["client_key"], said.get("user_openid"), said["create_time"], content
    )


def _shop_event(said: Any) -> WebhookEvent:
    # TikTok's pages show one example of each, so what could as well be written otherwise is read.
    content, at, shop_id = said.get("data") or {}, said["timestamp"], said.get("shop_id")
    return WebhookEvent(
        f"{said['type']:d}",
        "",
        said.get("creator_open_id") or content.get("creator_open_id"),
        int(at) if type(at) is str and _TIME.fullmatch(at) else at,
        content,
        str(shop_id) if type(shop_id) is int else shop_id,
    )
