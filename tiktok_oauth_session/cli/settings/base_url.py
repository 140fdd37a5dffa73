"""Which TikTok the command talks to: TikTok itself, a fake or a proxy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tiktok_oauth_session.cli.exits import EXIT_USAGE, Stop

if TYPE_CHECKING:
    from tiktok_oauth_session.platforms import Platform

BASE_URL = "TIKTOK_OAUTH_BASE_URL"


def platform() -> Platform:
    """Return TikTok's current surface, or the same one elsewhere.

    Raises:
        Stop: Elsewhere is no URL, has a password in it, or is plain http on another machine.
    """
    from tiktok_oauth_session._http.allowed_hosts import is_loopback
    from tiktok_oauth_session.platforms import LOGIN_KIT

    base = os.environ.get(BASE_URL, "").strip()
    if not base:
        return LOGIN_KIT
    try:
        parts = urlsplit(base)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise Stop(f"{BASE_URL} is no http or https URL.", EXIT_USAGE)
    if "@" in parts.netloc:
        # They would stand in addresses that are shown, and take the token's place in the header.
        raise Stop(f"{BASE_URL} has to be without user and password.", EXIT_USAGE)
    if parts.scheme == "http" and not is_loopback(base):
        raise Stop(f"{BASE_URL}: plain http is for this machine only; secrets travel over https.", EXIT_USAGE)
    return LOGIN_KIT.at(base)
