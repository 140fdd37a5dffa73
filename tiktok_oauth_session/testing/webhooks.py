"""What TikTok sends when something has happened.

Source: https://developers.tiktok.com/doc/webhooks-verification
"""

from __future__ import annotations

import hashlib
import hmac
import json
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
