"""What TikTok sends when something has happened.

Source: https://developers.tiktok.com/doc/webhooks-verification and, of Shop,
https://partner.tiktokshop.com/docv2/page/tts-webhooks-overview
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any

from .app import App


def signed(
    app: App, event: str, open_id: str | None, content: Mapping[str, Any], *, now: int
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of the request that tells an event."""
    told: dict[str, Any] = {"client_key": app.client_key, "event": event, "create_time": now}
    if open_id is not None:
        told["user_openid"] = open_id
    # JSON in a string, as TikTok does it.
    body = json.dumps({**told, "content": json.dumps(content)}).encode()
    signature = hmac.new(app.client_secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "TikTok-Signature": f"t={now},s={signature}"}, body


def signed_by_shop(
    app: App,
    kind: int | str,
    shop_id: str | None,
    creator_open_id: str | None,
    data: Mapping[str, Any],
    *,
    now: int,
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of the request that tells an event of Shop's."""
    whose = {"shop_id": shop_id, "creator_open_id": creator_open_id}
    told = {
        "type": int(kind),
        "tts_notification_id": str(uuid.uuid4().int)[:19],
        **{name: value for name, value in whose.items() if value is not None},
        "timestamp": now,
        "data": dict(data),
    }
    body = json.dumps(told).encode()
    signature = hmac.new(app.client_secret.encode(), app.client_key.encode() + body, hashlib.sha256)
    return {"Content-Type": "application/json", "Authorization": signature.hexdigest()}, body
