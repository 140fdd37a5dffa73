"""Which accounts are due."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

#: A window is at most this part of a token's own lifetime: what a refresh prolongs by less than the whole
#: window, or not at all, is not refreshed in every run.
WINDOW_PART = 1 / 2


@dataclass(frozen=True)
class Due:
    """Which accounts of an app a run is to refresh.

    Args:
        client_key: The app.
        access_within: Seconds before their end from which access tokens are refreshed; None: never for that.
        refresh_within: Seconds before their end from which refresh tokens are.
        part: Which part of the accounts, counted from 0, and of how many parts.
    """

    client_key: str
    access_within: float | None
    refresh_within: float
    part: tuple[int, int]

    def keys(self, store: TokenStore) -> list[AccountKey]:
        """Return the accounts that may be due, the most urgent first.

        Raises:
            StoreError: The store cannot say.
        """
        return list(dict.fromkeys(key for key in self._listed(store) if self._is_ours(key)))

    def _listed(self, store: TokenStore) -> Iterator[AccountKey]:
        now = time.time()
        yield from store.refresh_expiring(now + self.refresh_within)
        if self.access_within is not None:
            yield from store.expiring(now + self.access_within)

    def _is_ours(self, key: AccountKey) -> bool:
        which, of = self.part
        digest = zlib.crc32(key.open_id.encode("utf-8", "surrogatepass"))
        return key.client_key == self.client_key and digest % of == which

    def includes(self, token: TikTokToken) -> bool:
        """Tell whether a token is to be refreshed."""
        if _ends_within(self.refresh_within, _refresh_end(token), token.get("refresh_expires_in")):
            return True
        return self.access_within is not None and _ends_within(
            self.access_within, token.expires_at or 0.0, token.get("expires_in")
        )

    def is_not_prolonged(self, token: TikTokToken) -> bool:
        """Tell whether a token that has been refreshed still ends as soon as those that are to be."""
        return _refresh_end(token) < time.time() + self.refresh_within


def _refresh_end(token: TikTokToken) -> float:
    return float(token.get("refresh_expires_at", math.inf))


def _ends_within(seconds: float, ends_at: float, lifetime: float | None) -> bool:
    if lifetime is not None:
        seconds = min(seconds, max(lifetime, 0.0) * WINDOW_PART)
    return ends_at < time.time() + seconds
