"""The store in memory."""

from __future__ import annotations

import pytest

from tiktok_oauth_session import AccountKey, MemoryStore, StoreError, TikTokToken
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, TokenStoreConformance, token


class TestMemoryStore(TokenStoreConformance):
    """MemoryStore keeps the promises of a store."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        """Return an empty store."""
        return MemoryStore()


def test_refresh_expiring__damaged_account(caplog: pytest.LogCaptureFixture) -> None:
    """An account that cannot be read is passed over with a warning; the others are listed."""

    class Damaged(MemoryStore):
        def load(self, key: AccountKey) -> TikTokToken | None:
            if key == KEY:
                raise StoreError("It is damaged.")
            return super().load(key)

    store = Damaged()
    for key in (KEY, NEIGHBOUR):
        store.save(key, TikTokToken(token(), refresh_expires_at=1000))

    assert [NEIGHBOUR] == list(store.refresh_expiring(2000))
    assert "It is damaged." in caplog.text
