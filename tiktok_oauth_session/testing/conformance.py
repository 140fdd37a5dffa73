"""What every token store has to keep to, as tests that anybody can run on theirs.

Subclass `TokenStoreConformance` in a test module and say how to make a store::

    class TestMyStore(TokenStoreConformance):
        @pytest.fixture
        def store(self):
            return MyStore(...)

        def another(self, store):
            return MyStore(...)        # a second handle on the same tokens

It asks with threads, through several handles. That the lock also excludes other processes, or other
machines, where the store is shared by them, is for a test of your own.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator

import pytest

from tiktok_oauth_session.stores import StoreConflict, TokenStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

KEY = AccountKey("sbaw-test-key", "723f24d7-e717-40f8-a2b6-cb8464cd23b4")
NEIGHBOUR = AccountKey("sbaw-test-key", "723f24d7-e717-40f8-a2b6-cb8464cd23b5")

#: open_ids that break naive file names, SQL, Redis keys or encodings.
HARD_OPEN_IDS = (
    "_000kVfZ8hGq7xU2m",
    "-000.leading.dash",
    "..",
    "../../etc/passwd",
    'a/b\\c:d*e?f"g<h>i|j',
    "UPPER",
    "upper",
    "with space, comma and\nnewline",
    "%2A%21",
    "'; DROP TABLE tokens; --",
    "用户名-пользователь-🎵",
    "CON",
    "x" * 400,
)

#: Seconds for a thread to do what nothing keeps it from doing.
PATIENCE_S = 10.0
#: Seconds to see that a thread is kept from something.
GLIMPSE_S = 0.2


def token(generation: int = 1, *, expires_at: float | None = 2_000_000_000) -> TikTokToken:
    """Return a token to keep; each generation has its own secrets."""
    items: dict[str, object] = {
        "access_token": f"act.example-{generation}*x!5259",
        "refresh_token": f"rft.example-{generation}*x!5294",
        "open_id": KEY.open_id,
        "scope": "user.info.basic,video.list",
        "expires_in": 7200,
    }
    return TikTokToken(items, **({} if expires_at is None else {"expires_at": expires_at}))


class TokenStoreConformance:
    """The promises of `TokenStore`, one test each."""

    @pytest.fixture
    def store(self) -> Iterator[TokenStore]:
        """Make an empty store. Every subclass overrides this."""
        raise TypeError(
            f"{type(self).__name__} does not say how to make a store: override the fixture `store`."
        )

    def another(self, store: TokenStore) -> TokenStore:
        """Return a second handle on the same tokens and locks.

        Override it where there can be one; this default returns the same handle.
        """
        return store

    def test_identity__lasts(self, store: TokenStore) -> None:
        """A handle has one identity, which can be a dictionary's key."""
        assert {store.identity: "mine"}[store.identity] == "mine"

    def test_flags__are_told(self, store: TokenStore) -> None:
        """A store says whether every thread may use it, and whether its lock proves that nobody is in."""
        assert isinstance(store.any_thread, bool)
        assert isinstance(store.lock_is_certain, bool)

    # --- load and save -----------------------------------------------------------------------------

    def test_load__nothing_saved(self, store: TokenStore) -> None:
        """An account that was never saved is None, not an error."""
        assert store.load(KEY) is None

    def test_save__then_load(self, store: TokenStore) -> None:
        """What was saved is what is loaded, through every handle."""
        store.save(KEY, token())

        assert token() == store.load(KEY)
        assert token() == self.another(store).load(KEY)

    def test_save__overwrites(self, store: TokenStore) -> None:
        """The last save wins."""
        store.save(KEY, token(1))
        store.save(KEY, token(2))

        assert token(2) == store.load(KEY)

    def test_load__returns_a_copy(self, store: TokenStore) -> None:
        """Changing a loaded or a saved token changes nothing in the store."""
        saved = token()
        store.save(KEY, saved)
        saved["access_token"] = "changed after the save"
        loaded = store.load(KEY)
        assert loaded is not None
        loaded["access_token"] = "changed after the load"

        assert token() == store.load(KEY)

    def test_save__keeps_what_it_does_not_know(self, store: TokenStore) -> None:
        """Items that a later version or the user added are kept."""
        richer = TikTokToken(token(), note={"nested": ["text", 1, None, "🎵"]}, union_id="u")
        store.save(KEY, richer)

        assert richer == store.load(KEY)

    def test_save__any_open_id(self, store: TokenStore) -> None:
        """Nothing in an open_id is special, and no two of them are the same account."""
        tokens = {
            AccountKey(KEY.client_key, open_id): token(generation)
            for generation, open_id in enumerate(HARD_OPEN_IDS)
        }
        for key, each in tokens.items():
            store.save(key, each)

        assert tokens == {key: store.load(key) for key in tokens}
        assert sorted(tokens) == sorted(store.keys())

    def test_save__same_user_of_two_apps(self, store: TokenStore) -> None:
        """The client key is part of the account."""
        store.save(KEY, token(1))
        store.save(AccountKey("aw-other", KEY.open_id), token(2))

        assert token(1) == store.load(KEY)
        assert [KEY] == list(store.keys(KEY.client_key))

    # --- compare and swap --------------------------------------------------------------------------

    def test_save__replacing_what_is_stored(self, store: TokenStore) -> None:
        """A save that names the stored refresh token replaces it."""
        store.save(KEY, token(1))
        store.save(KEY, token(2), replacing=token(1).refresh_token)

        assert token(2) == store.load(KEY)

    def test_save__replacing_something_else(self, store: TokenStore) -> None:
        """A save that names another refresh token changes nothing and says so."""
        store.save(KEY, token(2))
        with pytest.raises(StoreConflict):
            store.save(KEY, token(3), replacing=token(1).refresh_token)

        assert token(2) == store.load(KEY)

    def test_save__replacing_what_was_deleted(self, store: TokenStore) -> None:
        """No compare-and-swap brings a deleted account back."""
        store.save(KEY, token(1))
        store.delete(KEY)
        with pytest.raises(StoreConflict):
            store.save(KEY, token(2), replacing=token(1).refresh_token)

        assert store.load(KEY) is None

    def test_save__replacing_raced(self, store: TokenStore) -> None:
        """Of several that replace the same token, none of which has the lock, one does."""
        for _ in range(5):
            store.save(KEY, token(1))
            (generation,) = self._race(store)

            assert token(generation) == store.load(KEY)

    def _race(self, store: TokenStore) -> list[int]:
        """Let several replace the stored token at once; return who has."""
        together, saved = threading.Barrier(4), list[int]()

        def replace(generation: int) -> None:
            mine = self.another(store)
            together.wait(PATIENCE_S)
            with contextlib.suppress(StoreConflict):
                mine.save(KEY, token(generation), replacing=token(1).refresh_token)
                saved.append(generation)

        workers = [_Worker(functools.partial(replace, generation)) for generation in range(2, 6)]
        for worker in workers:
            worker.finish()
        return saved

    def test_save__mark(self, store: TokenStore) -> None:
        """Whoever holds the lock can write notes into the stored token, and replace what has them."""
        store.save(KEY, token(1))
        marked = TikTokToken(token(1), refresh_started_at=1_800_000_000, refresh_tries=1)
        with store.lock(KEY):
            store.save(KEY, marked, replacing=token(1).refresh_token)
            seen = self.another(store).load(KEY)
            store.save(KEY, token(2), replacing=token(1).refresh_token)

        assert marked == seen
        assert token(2) == store.load(KEY)

    # --- delete ------------------------------------------------------------------------------------

    def test_delete__leaves_the_neighbour(self, store: TokenStore) -> None:
        """Deleting one account deletes one account."""
        store.save(KEY, token(1))
        store.save(NEIGHBOUR, token(2))
        store.delete(KEY)

        assert store.load(KEY) is None
        assert token(2) == store.load(NEIGHBOUR)
        assert [NEIGHBOUR] == list(store.keys())

    def test_delete__absent(self, store: TokenStore) -> None:
        """Deleting what is not there is fine."""
        store.delete(KEY)
        store.delete(KEY)

        assert [] == list(store.keys())

    # --- listing -----------------------------------------------------------------------------------

    def test_expiring__soonest_first(self, store: TokenStore) -> None:
        """Accounts that expire before a time come soonest first, and no others."""
        keys = [AccountKey("sbaw-test-key", f"user-{n}") for n in range(4)]
        for key, expires_at in zip(keys, (3000, 1000, 2000, 4000), strict=True):
            store.save(key, token(expires_at=expires_at))

        assert [keys[1], keys[2], keys[0]] == list(store.expiring(4000))
        assert [] == list(store.expiring(1000))

    def test_expiring__unknown_expiry(self, store: TokenStore) -> None:
        """A token that can be refreshed and has no known expiry is due before all others."""
        store.save(KEY, token(expires_at=None))
        store.save(NEIGHBOUR, token(expires_at=1000))

        assert [KEY, NEIGHBOUR] == list(store.expiring(2000))

    def test_refresh_expiring__soonest_first(self, store: TokenStore) -> None:
        """Accounts whose refresh token ends before a time come soonest first; unknown ends are left out."""
        keys = [AccountKey("sbaw-test-key", f"user-{n}") for n in range(3)]
        for key, ends in zip(keys, (3000, 1000, 4000), strict=True):
            store.save(key, TikTokToken(token(), refresh_expires_at=ends))
        store.save(KEY, token())

        assert [keys[1], keys[0]] == list(store.refresh_expiring(4000))

    # --- locks -------------------------------------------------------------------------------------

    def test_lock__holder_reads_and_writes(self, store: TokenStore) -> None:
        """Whoever holds the lock can load, save and delete inside it, and take it again."""
        with store.lock(KEY), store.lock(KEY):
            store.save(KEY, token(1))
            store.save(KEY, token(2), replacing=token(1).refresh_token)
            loaded = store.load(KEY)
            store.delete(KEY)

        assert token(2) == loaded
        assert store.load(KEY) is None

    def test_lock__excludes_others(self, store: TokenStore) -> None:
        """While one holds the lock, another one waits; then it gets it."""
        entered = threading.Event()
        with store.lock(KEY):
            waiter = _Worker(lambda: self._enter(store, entered))
            kept_out = not entered.wait(GLIMPSE_S)
        waiter.finish()

        assert kept_out
        assert entered.is_set()

    def _enter(self, store: TokenStore, entered: threading.Event) -> None:
        with self.another(store).lock(KEY):
            entered.set()

    def test_lock__neighbour_goes_on(self, store: TokenStore) -> None:
        """The lock of one account does not hold up another."""
        with store.lock(KEY):
            _Worker(lambda: self.another(store).save(NEIGHBOUR, token())).finish()

        assert token() == store.load(NEIGHBOUR)

    def test_lock__freed_by_an_exception(self, store: TokenStore) -> None:
        """An exception inside the block frees the lock and passes through."""
        with pytest.raises(KeyError), store.lock(KEY):
            raise KeyError("inside")
        _Worker(lambda: self.another(store).save(KEY, token())).finish()

        assert token() == store.load(KEY)

    def test_lock__outlives_what_is_nested_in_it(self, store: TokenStore) -> None:
        """A lock that its holder takes again is not freed by the inner block's end."""
        entered = threading.Event()
        with store.lock(KEY):
            with store.lock(KEY), store.try_lock(KEY):
                store.save(KEY, token())
            waiter = _Worker(lambda: self._enter(store, entered))
            kept_out = not entered.wait(GLIMPSE_S)
        waiter.finish()

        assert kept_out

    def test_delete__waits_for_the_lock(self, store: TokenStore) -> None:
        """A logout waits for a refresh, so that the refresh cannot bring the account back."""
        store.save(KEY, token(1))
        with store.lock(KEY):
            logout = _Worker(lambda: self.another(store).delete(KEY))
            time.sleep(GLIMPSE_S)
            store.save(KEY, token(2), replacing=token(1).refresh_token)
        logout.finish()

        assert store.load(KEY) is None

    def test_try_lock__free(self, store: TokenStore) -> None:
        """A free lock is had at once, and is a lock."""
        with store.try_lock(KEY) as held:
            store.save(KEY, token())

        assert held
        assert token() == store.load(KEY)

    @pytest.mark.parametrize("timeout", [0.0, GLIMPSE_S / 4])
    def test_try_lock__taken(self, store: TokenStore, timeout: float) -> None:
        """A lock that somebody else holds is never had: `try_lock` says so, or waits until it is free."""
        freed = threading.Event()
        had_too_early: list[bool] = []

        def try_it() -> None:
            with self.another(store).try_lock(KEY, timeout=timeout) as held:
                had_too_early.append(held and not freed.is_set())

        with store.lock(KEY):
            other = _Worker(try_it)
            time.sleep(GLIMPSE_S)
            freed.set()
        other.finish()

        assert [False] == had_too_early

    def test_try_lock__freed_in_time(self, store: TokenStore) -> None:
        """A lock that is freed while `try_lock` waits is had, and is a lock."""
        had: list[bool] = []

        def try_it() -> None:
            mine = self.another(store)
            with mine.try_lock(KEY, timeout=PATIENCE_S) as held:
                had.append(held)
                mine.save(KEY, token())

        with store.lock(KEY):
            other = _Worker(try_it)
            time.sleep(GLIMPSE_S)
        other.finish()

        assert [True] == had
        assert token() == store.load(KEY)

    def test_is_locked_here__every_handle(self, store: TokenStore) -> None:
        """The holder's thread knows it by every handle that is the same store, as long as it holds it."""
        other = self.another(store)
        told = [store.is_locked_here(KEY)]
        with store.lock(KEY):
            told.append(store.is_locked_here(KEY))
            with store.try_lock(KEY):
                told.append(store.is_locked_here(KEY))
            told += [store.is_locked_here(KEY), store.is_locked_here(NEIGHBOUR)]
            assert (store.identity == other.identity) == other.is_locked_here(KEY)
        with store.try_lock(KEY):
            told.append(store.is_locked_here(KEY))
        told.append(store.is_locked_here(KEY))

        assert [False, True, True, True, False, True, False] == told

    def test_is_locked_here__another_thread(self, store: TokenStore) -> None:
        """No other thread takes the holder's lock for its own."""
        told: list[bool] = []
        with store.lock(KEY):
            _Worker(lambda: told.append(self.another(store).is_locked_here(KEY))).finish()

        assert [False] == told

    def test_lock__many_threads_lose_no_update(self, store: TokenStore) -> None:
        """Read, change, write under the lock: no update of any thread is lost."""
        store.save(KEY, TikTokToken(token(), count=0))

        def count() -> None:
            mine = self.another(store)
            for _ in range(10):
                with mine.lock(KEY):
                    now = mine.load(KEY)
                    assert now is not None
                    mine.save(KEY, TikTokToken(now, count=now["count"] + 1))

        workers = [_Worker(count) for _ in range(8)]
        for worker in workers:
            worker.finish()
        counted = store.load(KEY)

        assert counted is not None
        assert counted["count"] == 80  # noqa: PLR2004 - eight times ten


class _Worker:
    """A thread whose exception is not lost."""

    def __init__(self, work: object) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()  # type: ignore[operator]  # a callable without arguments
        except BaseException as error:  # noqa: BLE001 - raised again in finish()
            self._error = error

    def finish(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "a thread was kept waiting by a lock that nobody holds"
        if self._error is not None:
            raise self._error
