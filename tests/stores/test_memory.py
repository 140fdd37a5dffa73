"""The store in memory."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiktok_oauth_session import AccountKey, MemoryStore, StoreError, TikTokToken, stores
from tiktok_oauth_session.stores import StoreConflict
from tiktok_oauth_session.testing.conformance import (
    GLIMPSE_S,
    KEY,
    NEIGHBOUR,
    PATIENCE_S,
    TokenStoreConformance,
    token,
)


class TestMemoryStore(TokenStoreConformance):
    """MemoryStore keeps the promises of a store."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        """Return an empty store."""
        return MemoryStore()


def test_save__login_while_somebody_refreshes() -> None:
    """A new login does not wait for whoever holds the account's lock, who then finds it and keeps it."""
    store = MemoryStore()
    store.save(KEY, token())
    with ThreadPoolExecutor(1) as pool, store.lock(KEY):
        pool.submit(store.save, KEY, token(2)).result(PATIENCE_S)

        with pytest.raises(StoreConflict):
            store.save(KEY, token(3), replacing=token().refresh_token)
    assert token(2) == store.load(KEY)


@pytest.mark.parametrize("second", ["login", "logout"])
def test_save__waits_for_another_save(monkeypatch: pytest.MonkeyPatch, second: str) -> None:
    """Between the look and the write of one save nobody else saves or deletes."""
    store = MemoryStore()
    store.save(KEY, token(1))
    looked, go_on, real = threading.Event(), threading.Event(), stores.check_replacing

    def look(key: AccountKey, stored: TikTokToken | None, replacing: str | None) -> None:
        real(key, stored, replacing)
        if not looked.is_set():
            looked.set()
            go_on.wait(PATIENCE_S)

    monkeypatch.setattr(stores, "check_replacing", look)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.save, KEY, token(2), replacing=token(1).refresh_token)
        assert looked.wait(PATIENCE_S)
        later = (
            pool.submit(store.delete, KEY) if second == "logout" else pool.submit(store.save, KEY, token(3))
        )
        time.sleep(GLIMPSE_S)
        waited = not later.done()
        go_on.set()
        first.result(PATIENCE_S)
        later.result(PATIENCE_S)

    assert waited
    assert (None if second == "logout" else token(3)) == store.load(KEY)


def test_refresh_expiring__damaged_account() -> None:
    """An account that cannot be read is listed, since it may have expired; so are the others."""

    class Damaged(MemoryStore):
        def load(self, key: AccountKey) -> TikTokToken | None:
            if key == KEY:
                raise StoreError("It is damaged.")
            return super().load(key)

    store = Damaged()
    for key in (KEY, NEIGHBOUR):
        store.save(key, TikTokToken(token(), refresh_expires_at=1000))

    assert [KEY, NEIGHBOUR] == list(store.refresh_expiring(2000))
    assert [KEY] == list(store.refresh_expiring(500))
