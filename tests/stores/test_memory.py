"""The store in memory."""

from __future__ import annotations

import pytest

from tiktok_oauth_session import MemoryStore
from tiktok_oauth_session.testing.conformance import TokenStoreConformance


class TestMemoryStore(TokenStoreConformance):
    """MemoryStore keeps the promises of a store."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        """Return an empty store."""
        return MemoryStore()
