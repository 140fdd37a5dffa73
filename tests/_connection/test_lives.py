"""Lives of a connection, as Hypothesis invents them: whatever happens in whatever order."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import NoReturn

import pytest
import requests
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from surfaces import SURFACES, Surface

from tiktok_oauth_session import (
    AccountKey,
    APIError,
    FileStore,
    ReauthorizationRequired,
    RevocationError,
    StoreError,
    TikTokOAuth2Session,
    TikTokOAuthError,
    TikTokToken,
    unwrap,
)
from tiktok_oauth_session._connection import process_memory, transaction
from tiktok_oauth_session._connection.marks import PAUSE_CAP_S, PAUSE_S
from tiktok_oauth_session._connection.process_memory import ProcessMemory
from tiktok_oauth_session._process import PerProcess
from tiktok_oauth_session.testing import FakeTikTok, RequestRecord

CLIENTS = st.sampled_from(["A", "B"])
#: Seconds to let pass: within a window, over an expiry, over many.
PASSING = st.sampled_from([1, 5, 60, 300, 3000, 6650, 7150, 7201, 100_000])
#: How a process comes to refresh: because it is time, because it is told to, or to with its own token.
WAYS = st.sampled_from(["call", "refresh", "refresh given"])
MOMENTS = st.sampled_from(["before", "after"])
ACCIDENTS = st.sampled_from(["reset_before", "reset_after", "refuse", "html", "truncated"])
#: What is remembered of them: there was no reply, or none of TikTok's own.
REMEMBERED_CODES = {"no_reply", "invalid_response"}
#: Seconds for what takes milliseconds.
PATIENCE_S = 20.0


class Killed(BaseException):
    """The process ends here: nothing of it runs on."""


def assert_comes_again(error: TikTokOAuthError) -> None:
    """Assert that an error is about an earlier refresh, and says when the next may be made."""
    assert error.error in REMEMBERED_CODES, error
    assert error.retry_after


class Lives(RuleBasedStateMachine):
    """Two processes, A and B, share a connection through a directory."""

    steps = 0
    surface: Surface

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.now = 1_800_000_000.0
        self.patch.setattr(time, "time", lambda: self.now)
        #: Processes that were killed, as their marks name them.
        self.gone: set[str | None] = set()
        self.patch.setattr(transaction, "is_alive", lambda holder: holder not in self.gone)
        self.directory = tempfile.mkdtemp()
        self.fake = FakeTikTok()
        self.key = AccountKey(self.fake.client_key, self.fake.users[0].open_id)
        self.sessions: dict[str, TikTokOAuth2Session] = {}
        self.memories: dict[str, PerProcess[ProcessMemory]] = {}
        #: Called once, when TikTok has received a refresh and when it has carried it out.
        self.meanwhile: dict[str, Callable[[], object] | None] = {}
        for moment in ("before", "after"):
            getattr(self.fake, moment)("refresh", functools.partial(self.during, moment))
        #: Refreshes that TikTok received while the access token still worked.
        self.early: list[RequestRecord] = []
        #: Refreshes that never reached TikTok, though its log has them.
        self.refused: list[RequestRecord] = []
        #: Refresh tokens whose successors a store did not take.
        self.not_saved: set[str] = set()
        self.connected = False
        self.log_in("A")

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.directory)

    def session(self, client: str) -> TikTokOAuth2Session:
        """Return a process's session, with that process at work; a new process starts one."""
        if client not in self.sessions:
            # A handle and a memory of its own: processes share the files and nothing else.
            self.memories[client] = PerProcess(ProcessMemory)
            self.sessions[client] = self.surface.session(
                self.fake, store=FileStore(self.directory), open_id=self.key.open_id
            )
            self.sessions[client].mount("https://", self.fake.adapter())
        self.patch.setattr(process_memory, "_memory", self.memories[client])
        return self.sessions[client]

    def ask(self, client: str, how: str) -> int | TikTokToken:
        """Let a process call the API or refresh."""
        session = self.session(client)
        if how == "call":
            return self.status_of(self.surface.ask(session))
        given = session.token.refresh_token if how == "refresh given" else None
        return session.refresh_token(refresh_token=given)

    def status_of(self, response: requests.Response) -> int:
        """Return the status of a call, as a surface that says so would say it."""
        try:
            unwrap(response)
        except APIError as error:
            return 401 if error.status_code == 200 else error.status_code or 0
        return response.status_code

    def stored(self) -> TikTokToken | None:
        """Return what the files hold."""
        return FileStore(self.directory).load(self.key)

    def during(self, moment: str, record: RequestRecord) -> None:
        """Be called in the middle of a refresh."""
        if moment == "before" and self.fake.is_alive(self.issued()[record.parameters["refresh_token"]]):
            self.early.append(record)
        what, self.meanwhile[moment] = self.meanwhile.get(moment), None
        if what is not None:
            what()

    # --- what happens ------------------------------------------------------------------------------

    @rule(client=CLIENTS)
    def call(self, client: str) -> None:
        """An API call works for as long as a login could make it work."""
        before = len(self.fake.requests_to("refresh"))
        try:
            status = self.ask(client, "call")
        except ReauthorizationRequired:
            assert not self.usable()
        except TikTokOAuthError as error:
            assert_comes_again(error)
            assert len(self.fake.requests_to("refresh")) == before
        else:
            assert status == 200 or not self.usable()
            assert self.sessions[client].token

    @rule(client=CLIENTS)
    def refresh(self, client: str) -> None:
        """An explicit refresh gives a token that works, or says that only a login helps."""
        possible = self.usable()
        try:
            token = self.ask(client, "refresh")
        except ReauthorizationRequired:
            assert not self.fake.is_alive(str((self.stored() or TikTokToken()).refresh_token))
        except TikTokOAuthError as error:
            assert_comes_again(error)
        else:
            # If the user has removed the app, a token that the other one put there is dead as well.
            assert token == self.stored()
            assert isinstance(token, TikTokToken)
            assert self.fake.is_alive(str(token.access_token)) or not possible

    @rule(seconds=PASSING)
    def wait(self, seconds: int) -> None:
        """Time passes, at TikTok and here."""
        self.now += seconds

    @rule(client=CLIENTS, how=WAYS, kind=ACCIDENTS, times=st.integers(1, 4))
    def accident(self, client: str, how: str, kind: str, times: int) -> None:
        """The next refreshes meet an accident, if there are any."""
        before = len(self.fake.requests_to("refresh"))
        self.fake.fail("refresh", kind, times=times)
        for _ in range(times):
            with contextlib.suppress(TikTokOAuthError):
                self.ask(client, how)
        self.fake.heal()
        if kind == "refuse":
            self.refused += self.fake.requests_to("refresh")[before:][:times]

    @rule(client=CLIENTS, how=WAYS, moment=MOMENTS)
    def kill(self, client: str, how: str, moment: str) -> None:
        """A process dies in the middle of a refresh, before or after TikTok has carried it out."""

        def die() -> NoReturn:
            raise Killed

        self.meanwhile[moment] = die
        with contextlib.suppress(Killed, TikTokOAuthError):
            self.ask(client, how)
        self.meanwhile.clear()
        self.gone.add(self.memories[client].value.holder)
        del self.sessions[client]

    @rule(client=CLIENTS, how=WAYS)
    def disk_fails(self, client: str, how: str) -> None:
        """The disk takes no new token, for once."""
        save = FileStore.save

        def failing(
            store: FileStore, key: AccountKey, token: TikTokToken, *, replacing: str | None = None
        ) -> None:
            if token.refresh_token != replacing:
                self.not_saved.add(str(replacing))
                raise StoreError("The disk is full.")
            save(store, key, token, replacing=replacing)

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(TikTokOAuthError):
            patch.setattr(FileStore, "save", failing)
            self.ask(client, how)
        self.freeze()

    def freeze(self) -> None:
        """Let nothing go on in the background, as where a server freezes threads between requests."""
        for known in list(process_memory.pending):
            flight = known.flight
            if flight is not None:
                flight.give_up()
                assert flight.wait(time.monotonic() + PATIENCE_S, lambda flight=flight: flight.is_over)

    @precondition(lambda self: self.surface.platform.revocation_endpoint)
    @rule(client=CLIENTS)
    def revoke(self, client: str) -> None:
        """Somebody revokes."""
        try:
            self.session(client).revoke_token()
        except (TikTokOAuthError, RevocationError):
            return
        self.connected = False
        assert [] == self.fake.tokens

    @rule()
    def log_out(self) -> None:
        """Somebody deletes the account here."""
        FileStore(self.directory).delete(self.key)
        self.connected = False

    @rule(client=CLIENTS, how=WAYS, moment=MOMENTS)
    def log_out_meanwhile(self, client: str, how: str, moment: str) -> None:
        """Somebody deletes the account who has no lock: in the middle of a refresh, if there is one."""

        def delete() -> None:
            for path in FileStore(self.directory).directory.glob("*/*.json"):
                path.unlink()
            self.connected = False

        self.meanwhile[moment] = delete
        with contextlib.suppress(TikTokOAuthError):
            self.ask(client, how)
        self.meanwhile.clear()

    @rule()
    def remove_at_tiktok(self) -> None:
        """The user removes the app in TikTok."""
        self.fake.remove_connection(self.key.open_id)

    @precondition(lambda self: not self.usable())
    @rule(client=CLIENTS)
    def log_in(self, client: str) -> None:
        """The user logs in anew."""
        session = self.session(client)
        session.fetch_token(authorization_response=self.surface.callback(self.fake, session))
        self.connected = True
        assert self.usable()

    # --- what always holds -------------------------------------------------------------------------

    def usable(self) -> bool:
        """Tell whether what is stored can still work."""
        token = self.stored() or TikTokToken()
        return any(self.fake.is_alive(str(each)) for each in (token.refresh_token, token.access_token))

    @invariant()
    def superseded_token_is_replayed_once(self) -> None:
        """TikTok answers each refresh token once; it is sent again only for want of an answer, and in time.

        The one replay waits for the death of the access token; others, for want of an answer to that,
        keep a distance that doubles.
        """
        sent: dict[str, list[RequestRecord]] = collections.defaultdict(list)
        for record in self.fake.requests_to("refresh"):
            if not any(record is each for each in self.refused):
                sent[record.parameters["refresh_token"]].append(record)
        for spent, records in sent.items():
            answers = [r for r in records if r.delivered and (r.status or 0) < 500]
            assert len(answers) <= 1 + (spent in self.not_saved)
            for number, (one, other) in enumerate(itertools.pairwise(records[1:])):
                pause = min(PAUSE_S * 2**number, PAUSE_CAP_S)
                assert other.at - one.at >= pause
            assert not any(replay is each for replay in records[1:] for each in self.early)

    @invariant()
    def logout_is_never_undone(self) -> None:
        """Only a login brings back an account that was logged out or revoked."""
        assert self.connected or self.stored() is None

    @invariant()
    def store_is_not_older_than_memory(self) -> None:
        """Whatever a session uses, the files hold the same or something newer."""
        type(self).steps += 1
        stored = self.stored()
        if stored is None:
            return
        order = list(self.issued().values())
        for session in self.sessions.values():
            held = session._client.token
            if held:
                assert order.index(held["access_token"]) <= order.index(stored["access_token"])

    def issued(self) -> dict[str, str]:
        """Return the pairs that TikTok issued, in order: refresh token, access token."""
        replies = (r.body for r in self.fake.requests if r.endpoint in ("token", "refresh"))
        bodies = (json.loads(body) for body in replies if b'"access_token"' in body)
        tokens = (body.get("data", body) for body in bodies)
        return {token["refresh_token"]: token["access_token"] for token in tokens}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("surface", "examples", "at_least"),
    [
        *((surface, 20, 300) for surface in SURFACES),
        pytest.param("login-kit", 500, 10_000, marks=pytest.mark.long),
        *(
            pytest.param(surface, 100, 2_000, marks=pytest.mark.long)
            for surface in SURFACES
            if surface != "login-kit"
        ),
    ],
)
def test_lives(surface: str, examples: int, at_least: int) -> None:
    """Whatever happens: no superseded token is sent twice, no logout undone, the files are never behind."""
    lives = type(f"Lives on {surface}", (Lives,), {"surface": SURFACES[surface], "steps": 0})
    run_state_machine_as_test(
        lives, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None)
    )

    assert lives.steps >= at_least
