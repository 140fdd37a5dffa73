"""Where each part of TikTok answers: paths are byte-exact, trailing slash included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .grants import Refused
from .records import Reply, RequestRecord
from .tiktok import TikTok

ENDPOINTS = (
    "advertisers",
    "authorize",
    "client_token",
    "not_found",
    "qr_check",
    "qr_get",
    "refresh",
    "revoke",
    "shops",
    "token",
    "token_info",
    "user_info",
    "video_list",
    "video_query",
)
TIKTOK_HOSTS = (
    "auth.tiktok-shops.com",
    "business-api.tiktok.com",
    "open-api.tiktok.com",
    "open-api.tiktokglobalshop.com",
    "open.tiktokapis.com",
    "services.tiktokshop.com",
    "services.tiktokshops.us",
    "services.us.tiktokshop.com",
    "www.tiktok.com",
)


@dataclass(frozen=True)
class Route:
    """One path of TikTok's, the hosts and methods it answers, who answers and who refuses."""

    path: str
    endpoint: str | Callable[[RequestRecord], str]
    surface: str
    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    answer: Callable[[TikTok, RequestRecord], Reply]
    refusal: Callable[[TikTok, Refused], Reply]

    def serves(self, host: str | None) -> bool:
        """Tell whether this path exists on a host; a host that is not TikTok's has every path."""
        return host in self.hosts or host not in TIKTOK_HOSTS

    def name(self, record: RequestRecord) -> str:
        """Return the endpoint's name for the record."""
        return self.endpoint if isinstance(self.endpoint, str) else self.endpoint(record)
