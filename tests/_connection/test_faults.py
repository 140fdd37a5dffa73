"""What every accident does to every operation, wherever the token lives, on every surface: the table."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from network_like import NetworkLike
from surfaces import SURFACES, Surface

from tiktok_oauth_session import (
    AccountKey,
    FileStore,
    MemoryStore,
    ReauthorizationRequired,
    RevocationError,
    StoreError,
    TikTokOAuth2Session,
    TikTokToken,
    TokenError,
    TokenNotSaved,
)
from tiktok_oauth_session._http.oauth_request import NoReply
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.tokens import REFRESH_ERROR, REFRESH_PAUSED_AT, REFRESH_STARTED_AT

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"

#: An accident happens once: its kind and its details.
ACCIDENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "refused": ("refuse", {}),
    "reset before": ("reset_before", {}),
    "reset after": ("reset_after", {}),
    "too slow": ("slow", {"seconds": 60}),
    "truncated": ("truncated", {}),
    "HTML 502": ("html", {}),
    "429": ("status", {"status": 429, "retry_after": 2}),
    "503": ("status", {"status": 503, "retry_after": 2, "body": b""}),
    "200 server_error": ("error", {"error": "server_error", "status": 200}),
    "200 invalid_client": ("error", {"error": "invalid_client", "status": 200}),
}


class Cell(NamedTuple):
    """What is expected: how many requests, which exception, which token is stored and held after it."""

    requests: int
    raises: type[Exception] | None
    token: str
    #: The mark that the stored token bears afterwards.
    mark: str | None = None


OK_AGAIN = Cell(2, None, "new")
#: Carried on with the old token: a log line, no exception.
OLD = Cell(1, None, "old")
OLD_PAUSED = Cell(1, None, "old", REFRESH_PAUSED_AT)
OLD_UNCLEAR = Cell(1, None, "old", REFRESH_STARTED_AT)
LOST = Cell(2, ReauthorizationRequired, "old", REFRESH_ERROR)
GONE_AGAIN = Cell(2, None, "none")
NOT_REVOKED = Cell(1, RevocationError, "old")

FAILED = Cell(1, TokenError, "old")
FAILED_PAUSED = Cell(1, TokenError, "old", REFRESH_PAUSED_AT)
FAILED_UNCLEAR = Cell(1, TokenError, "old", REFRESH_STARTED_AT)
NO_REPLY = Cell(1, NoReply, "old")
NO_REPLY_UNCLEAR = Cell(1, NoReply, "old", REFRESH_STARTED_AT)

OPERATIONS = (
    "fetch",
    "advisory refresh",
    "mandatory refresh",
    "expired refresh",
    # Of an access token that lives on by the clock, and that TikTok refuses.
    "refused refresh",
    # By `refresh_token()`, of one that works.
    "explicit refresh",
    "revoke",
)
#: accident -> what comes of it in each operation, in their order
TABLE: dict[str, tuple[Cell, ...]] = {
    "refused": (*[OK_AGAIN] * 6, GONE_AGAIN),
    "reset before": (NO_REPLY, OLD_UNCLEAR, OLD_UNCLEAR, OK_AGAIN, OK_AGAIN, NO_REPLY_UNCLEAR, NOT_REVOKED),
    "reset after": (NO_REPLY, OLD_UNCLEAR, OLD_UNCLEAR, LOST, LOST, NO_REPLY_UNCLEAR, NOT_REVOKED),
    "too slow": (NO_REPLY, OLD_UNCLEAR, OLD_UNCLEAR, LOST, LOST, NO_REPLY_UNCLEAR, NOT_REVOKED),
    "truncated": (NO_REPLY, OLD_UNCLEAR, OLD_UNCLEAR, LOST, LOST, NO_REPLY_UNCLEAR, NOT_REVOKED),
    "HTML 502": (FAILED, OLD_UNCLEAR, OLD_UNCLEAR, *[FAILED_UNCLEAR] * 3, NOT_REVOKED),
    "429": (FAILED, OLD_PAUSED, OLD_PAUSED, *[FAILED_PAUSED] * 3, NOT_REVOKED),
    "503": (FAILED, OLD_PAUSED, OLD_PAUSED, *[FAILED_PAUSED] * 3, NOT_REVOKED),
    "200 server_error": (FAILED, OLD_UNCLEAR, OLD_UNCLEAR, *[FAILED_UNCLEAR] * 3, NOT_REVOKED),
    "200 invalid_client": (FAILED, OLD, OLD, FAILED, FAILED, FAILED, NOT_REVOKED),
}
#: Seconds that the access token has left; thousands, if it says nothing here.
LEFT = {"advisory refresh": 300, "mandatory refresh": 30, "expired refresh": -1}


#: surface -> accident -> its details there.
DETAILS = {
    name: {"200 server_error": surface.server_error, "200 invalid_client": surface.about_app}
    for name, surface in SURFACES.items()
}
#: What comes of it where a surface says something else, or has no such operation.
_PAUSED = (FAILED, OLD_PAUSED, OLD_PAUSED, *[FAILED_PAUSED] * 3, NOT_REVOKED)
ELSEWHERE: dict[tuple[str, str], tuple[Cell, ...]] = {
    ("login-kit-v1", "200 server_error"): _PAUSED,
    ("shop", "200 invalid_client"): _PAUSED,
}
NOT_SENT = Cell(0, RevocationError, "old")


def row_of(surface: str, accident: str) -> tuple[Cell, ...]:
    """Return what comes of an accident on a surface."""
    row = ELSEWHERE.get((surface, accident), TABLE[accident])
    return row if SURFACES[surface].platform.revocation_endpoint else (*row[:-1], NOT_SENT)


class Connection:
    """A session with a token, and where the token is kept."""

    def __init__(
        self,
        fake: FakeTikTok,
        home: str,
        directory: Path,
        left: float,
        surface: Surface = SURFACES["login-kit"],
    ) -> None:
        self.fake, self.surface = fake, surface
        issued = fake.issue_token(surface=surface.name)
        self.old = TikTokToken({**issued, "expires_at": time.time() + left, "expires_in": 7200})
        self.key = AccountKey(fake.client_key, str(self.old.open_id))
        self.store = {"memory": MemoryStore(), "file": FileStore(directory)}.get(home)
        self.updated: list[TikTokToken] = [self.old]
        self.session = surface.session(
            fake,
            token=self.old,
            store=self.store,
            token_updater=None if self.store else self.updated.append,
        )
        self.session.mount("https://", fake.adapter())

    def do(self, operation: str) -> None:
        """Do what the accident happens to."""
        if operation == "fetch":
            callback = self.surface.callback(self.fake, self.session)
            token = self.session.fetch_token(authorization_response=callback)
            if self.store is None:
                # A login's token is its caller's to keep.
                self.updated.append(token)
        elif operation == "revoke":
            self.session.revoke_token()
        elif operation == "explicit refresh":
            self.session.refresh_token()
        else:
            if operation == "refused refresh":
                self.fake.fail(self.surface.endpoint, "error", **self.surface.dead)
            assert self.surface.ask(self.session).status_code == 200

    @property
    def stored(self) -> TikTokToken | None:
        """Return what a process that starts now would find."""
        return self.store.load(self.key) if self.store else self.updated[-1]

    def which(self, token: TikTokToken | None) -> str:
        """Tell the old token from a new one."""
        if not token:
            return "none"
        return "old" if token.refresh_token == self.old.refresh_token else "new"


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that somebody has slept, or would have."""
    asked_for: list[float] = []
    monkeypatch.setattr(time, "sleep", asked_for.append)
    return asked_for


@pytest.mark.parametrize("home", ["memory", "file", "updater"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("accident", TABLE)
@pytest.mark.parametrize(
    "surface",
    [each if each == "login-kit" else pytest.param(each, marks=pytest.mark.slow) for each in SURFACES],
)
def test_accident(
    fake_tiktok: FakeTikTok,
    tmp_path: Path,
    sleeps: list[float],
    surface: str,
    accident: str,
    operation: str,
    home: str,
) -> None:
    """Every accident has the outcome that the table says, in every home of a token; nobody sleeps over it."""
    cell = row_of(surface, accident)[OPERATIONS.index(operation)]
    connection = Connection(fake_tiktok, home, tmp_path, LEFT.get(operation, 7000), SURFACES[surface])
    endpoint = operation if operation == "revoke" else operation.rpartition(" ")[2].replace("fetch", "token")
    kind, details = ACCIDENTS[accident]
    fake_tiktok.fail(endpoint, kind, **DETAILS[surface].get(accident, details))

    if cell.raises is None:
        connection.do(operation)
    else:
        with pytest.raises(cell.raises) as caught:
            connection.do(operation)
        # That only a login helps is said where it is so, and nowhere else.
        assert isinstance(caught.value, ReauthorizationRequired) == (cell is LOST)

    assert len(fake_tiktok.requests_to(endpoint)) == cell.requests
    assert connection.which(connection.session.token) == cell.token
    if home == "updater":
        assert connection.which(connection.stored) == ("old" if cell.token == "none" else cell.token)
        assert REFRESH_STARTED_AT not in connection.updated[-1], "an updater gets tokens, not notes"
    else:
        assert connection.which(connection.stored) == cell.token
        marks = {REFRESH_STARTED_AT, REFRESH_PAUSED_AT, REFRESH_ERROR} & set(connection.stored or ())
        assert marks == ({cell.mark} if cell.mark else set())
    assert [] == sleeps


@pytest.mark.parametrize("home", ["memory", "file", "updater"])
@pytest.mark.parametrize("accident", [a for a, row in TABLE.items() if row[1].token == "old"])
def test_accident__then_the_token_dies(
    fake_tiktok: FakeTikTok, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accident: str, home: str
) -> None:
    """After an accident in the advisory window the refresh token is spared while the access token works.

    Once that is dead it is sent once more: it works, unless the lost reply had spent it.
    """
    connection = Connection(fake_tiktok, home, tmp_path, 300)
    # By the monotonic clock, which this test leaves alone.
    monkeypatch.setattr("tiktok_oauth_session._connection.process_memory.APP_PAUSE_S", 0.0)
    kind, details = ACCIDENTS[accident]
    fake_tiktok.fail("refresh", kind, **details)
    connection.do("advisory refresh")
    now = time.time()
    unclear = TABLE[accident][1].mark is not None
    spent = fake_tiktok.requests_to("refresh")[0].committed

    monkeypatch.setattr(time, "time", lambda: now + 280)
    connection.session.get(USER_INFO)
    while_it_lived = len(fake_tiktok.requests_to("refresh"))
    monkeypatch.setattr(time, "time", lambda: now + 301)
    if spent:
        for _ in range(3):
            with pytest.raises(ReauthorizationRequired):
                connection.session.get(USER_INFO)
    else:
        connection.do("expired refresh")

    assert while_it_lived == 1 if unclear else while_it_lived in (1, 2)
    assert len(fake_tiktok.requests_to("refresh")) == 2, "asked once, and after death once more"
    assert fake_tiktok.reuse_attempts == (1 if spent else 0)


@pytest.mark.parametrize("home", ["memory", "file", "updater"])
def test_invalid_grant__is_remembered(fake_tiktok: FakeTikTok, tmp_path: Path, home: str) -> None:
    """Once TikTok refuses a refresh token, no session asks again, and nothing is deleted."""
    connection = Connection(fake_tiktok, home, tmp_path, -1)
    fake_tiktok.remove_connection(connection.key.open_id)
    others = [
        TikTokOAuth2Session(
            fake_tiktok.client_key,
            client_secret=fake_tiktok.client_secret,
            store=FileStore(tmp_path) if home == "file" else connection.store,
            open_id=connection.key.open_id,
            token=None if connection.store else connection.old,
        )
        for _ in range(3)
    ]
    for session in [connection.session, *others]:
        session.mount("https://", NetworkLike(fake_tiktok.adapter()))
        with pytest.raises(ReauthorizationRequired):
            session.get(USER_INFO)

    assert len(fake_tiktok.requests_to("refresh")) == 1
    assert connection.which(connection.stored) == "old"


def test_invalid_grant__somebody_else_refreshed(fake_tiktok: FakeTikTok) -> None:
    """A refresh token that was refused because another one came meanwhile is no reason to log in again."""
    connection = Connection(fake_tiktok, "memory", Path(), -1)
    store = connection.store
    assert store is not None

    def elsewhere(_: object) -> None:
        # A store whose lock lapsed, as a lease can: another machine refreshed and saved.
        reply = fake_tiktok._tiktok  # the fake's own state, to refresh without a session
        with fake_tiktok._lock:
            user = reply.user(connection.key.open_id)
            reply.disconnect(user.open_id)
            new = reply.describe(reply.issue(user, ["user.info.basic"]))
        store.save(connection.key, TikTokToken({**new, "expires_at": time.time() + 7200}))

    fake_tiktok.before("refresh", elsewhere)
    response = connection.session.get(USER_INFO)

    assert response.status_code == 200
    assert len(fake_tiktok.requests_to("refresh")) == 1
    assert connection.session.token == store.load(connection.key)


def test_login_again__revives_a_dead_account(fake_tiktok: FakeTikTok, tmp_path: Path) -> None:
    """A new login brings a dead account back for every session that shares the store."""
    connection = Connection(fake_tiktok, "file", tmp_path, -1)
    fake_tiktok.remove_connection(connection.key.open_id)
    with pytest.raises(ReauthorizationRequired):
        connection.do("expired refresh")
    other = TikTokOAuth2Session(
        fake_tiktok.client_key,
        client_secret=fake_tiktok.client_secret,
        redirect_uri="https://app.example/callback/",
        store=FileStore(tmp_path),
    )
    other.mount("https://", fake_tiktok.adapter())
    url, _ = other.authorization_url()
    other.fetch_token(authorization_response=fake_tiktok.authorize(url))

    connection.do("expired refresh")

    assert connection.session.token == other.token
    assert len(fake_tiktok.requests_to("refresh")) == 1


def test_logout__is_not_undone_by_a_refresh(fake_tiktok: FakeTikTok, tmp_path: Path) -> None:
    """An account that is deleted while its refresh is under way stays deleted."""
    connection = Connection(fake_tiktok, "file", tmp_path, -1)
    path = FileStore(tmp_path)._path(connection.key)
    fake_tiktok.after("refresh", lambda _: path.unlink())

    with pytest.raises(ReauthorizationRequired):
        connection.do("expired refresh")

    assert connection.stored is None
    assert [] == list(FileStore(tmp_path).keys())


def test_revoke__expired(fake_tiktok: FakeTikTok, tmp_path: Path) -> None:
    """An expired token is refreshed first, so that there is something to revoke."""
    connection = Connection(fake_tiktok, "file", tmp_path, -1)
    connection.session.revoke_token()

    assert [r.endpoint for r in fake_tiktok.requests] == ["refresh", "revoke"]
    assert fake_tiktok.requests[1].form["token"] != connection.old.access_token
    assert connection.stored is None
    assert [] == fake_tiktok.tokens


def test_save__interrupted(fake_tiktok: FakeTikTok, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the save loses nothing: the next call saves before it asks TikTok again."""
    connection = Connection(fake_tiktok, "memory", Path(), -1)
    assert connection.store is not None
    save = connection.store.save

    def interrupted(key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        if token.refresh_token != replacing:
            raise KeyboardInterrupt
        save(key, token, replacing=replacing)

    monkeypatch.setattr(connection.store, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        connection.do("expired refresh")
    monkeypatch.undo()
    connection.do("expired refresh")

    assert connection.which(connection.stored) == "new"
    assert len(fake_tiktok.requests_to("refresh")) == 1


def session_of_nobody(fake: FakeTikTok, store: MemoryStore) -> tuple[TikTokOAuth2Session, AccountKey]:
    """Return a session whose token does not say whose it is, and whose it is."""
    issued = fake.issue_token()
    session = TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        token={k: v for k, v in issued.items() if k not in ("open_id", "expires_in")},
        store=store,
    )
    session.mount("https://", fake.adapter())
    return session, AccountKey(fake.client_key, issued["open_id"])


def test_refresh__store_and_no_open_id(fake_tiktok: FakeTikTok) -> None:
    """A token that does not say whose it is goes into the store as soon as a reply says so."""
    store = MemoryStore()
    session, key = session_of_nobody(fake_tiktok, store)

    assert session.get(USER_INFO).status_code == 200
    assert session.open_id == key.open_id
    assert session.token == store.load(key)


def test_refresh__store_and_no_open_id_and_no_room(
    fake_tiktok: FakeTikTok, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the store does not take it, the error carries it, and the next call puts it there unasked."""
    store = MemoryStore()
    session, key = session_of_nobody(fake_tiktok, store)
    save = store.save

    def full(key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        if token.refresh_token != replacing:
            raise StoreError("The disk is full.")
        save(key, token, replacing=replacing)

    with monkeypatch.context() as patch:
        patch.setattr(store, "save", full)
        with pytest.raises(TokenNotSaved) as caught:
            session.get(USER_INFO)

    assert session.get(USER_INFO).status_code == 200
    assert caught.value.token == store.load(key)
    assert len(fake_tiktok.requests_to("refresh")) == 1


def test_logout__unsaved_token_stays_gone(fake_tiktok: FakeTikTok, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new token that could not be saved does not come back after a logout."""
    connection = Connection(fake_tiktok, "memory", Path(), -1)
    store = connection.store
    assert store is not None
    save = store.save

    def failing(key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        if token.refresh_token != replacing:
            raise StoreError("The store is down.")
        save(key, token, replacing=replacing)

    monkeypatch.setattr(store, "save", failing)
    with pytest.raises(TokenNotSaved) as caught:
        connection.do("expired refresh")
    monkeypatch.undo()
    store.delete(connection.key)
    with pytest.raises(ReauthorizationRequired):
        connection.do("expired refresh")

    assert caught.value.token is not None
    assert fake_tiktok.is_alive(str(caught.value.token.refresh_token))
    assert store.load(connection.key) is None


@pytest.mark.parametrize("home", ["memory", "file", "updater"])
@pytest.mark.parametrize("accident", ["reset before", "reset after"])
def test_refresh_token__lost_while_alive(
    fake_tiktok: FakeTikTok, tmp_path: Path, accident: str, home: str
) -> None:
    """An explicit refresh whose reply is lost is not sent again while the access token works."""
    connection = Connection(fake_tiktok, home, tmp_path, 7000)
    fake_tiktok.fail("refresh", ACCIDENTS[accident][0])
    for _ in range(2):
        with pytest.raises(TokenError):
            connection.session.refresh_token()

    assert len(fake_tiktok.requests_to("refresh")) == 1
    assert fake_tiktok.reuse_attempts == 0
    assert connection.session.get(USER_INFO).status_code == 200


def test_updater__failing_beside_a_store(fake_tiktok: FakeTikTok) -> None:
    """An updater that failed is told again, although the store has had the token all along."""
    connection = Connection(fake_tiktok, "memory", Path(), -1)
    told: list[TikTokToken] = []
    failures = [OSError("down")]

    def updater(token: TikTokToken) -> None:
        if failures:
            raise failures.pop()
        told.append(token)

    connection.session.token_updater = updater
    with pytest.raises(TokenNotSaved):
        connection.do("expired refresh")
    connection.do("expired refresh")

    assert [connection.stored] == told
    assert len(fake_tiktok.requests_to("refresh")) == 1


def test_failure__is_not_shared_once_somebody_succeeded(fake_tiktok: FakeTikTok) -> None:
    """Who waited for a refresh that failed uses the token that another machine has saved meanwhile."""
    connection = Connection(fake_tiktok, "memory", Path(), -1)
    store = connection.store
    assert store is not None
    waiter = TikTokOAuth2Session(
        fake_tiktok.client_key,
        client_secret=fake_tiktok.client_secret,
        store=store,
        open_id=connection.key.open_id,
    )
    waiter.mount("https://", fake_tiktok.adapter())
    newer = TikTokToken({**fake_tiktok.issue_token(), "expires_at": time.time() + 7000})
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(waiter.get(USER_INFO).status_code))
    assert waiter.token

    def elsewhere(_: object) -> None:
        thread.start()
        time.sleep(0.2)
        fake_tiktok.fail("refresh", "error", error="invalid_client")

    fake_tiktok.before("refresh", elsewhere)
    with store.lock(connection.key):
        with pytest.raises(TokenError):
            connection.do("expired refresh")
        store.save(connection.key, newer)
    thread.join(10)

    assert [200] == answers
    assert len(fake_tiktok.requests_to("refresh")) == 1
