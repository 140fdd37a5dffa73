"""How an OAuth endpoint is reached, and what every request to one says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

#: Seconds to connect, seconds to wait for the reply. Together below gunicorn's own 30.
TOKEN_TIMEOUT_S = (5.0, 20.0)
#: Source: https://developers.tiktok.com/doc/oauth-user-access-token-management (its samples).
TOKEN_HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded",
    "Cache-Control": "no-cache",
}


class Transport(NamedTuple):
    """How to reach an OAuth endpoint. Nothing of the caller's API request is in it."""

    timeout: Any = TOKEN_TIMEOUT_S
    auth: Any = None
    verify: Any = None
    proxies: Mapping[str, str] | None = None
    cert: Any = None
