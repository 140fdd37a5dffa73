"""Lives of a connection, as Hypothesis invents them: whatever happens in whatever order."""

from __future__ import annotations

import collections
import contextlib
import json
import shutil
import tempfile
import time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tiktok_oauth_session import (
    AccountKey,
    FileStore,
    ReauthorizationRequired,
    RevocationError,
    TikTokOAuth2Session,
    TikTokOAuthError,
    TikTokToken,
)
from tiktok_oauth_session.testing import FakeTikTok, RequestRecord

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
CLIENTS = st.sampled_from(["A", "B"])
#: Seconds to let pass: within a window, over an expiry, over many.
PASSING = st.sampled_from([1, 60, 300, 3000, 6650, 7150, 7201, 100_000])


class Killed(BaseException):
    """The process ends here: nothing of it runs on."""


class Lives(RuleBasedStateMachine):
    """Two processes, A and B, share a connection through a directory."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.now = 1_800_000_000.0
        self.patch.setattr(time, "time", lambda: self.now)
        self.patch.setattr("tiktok_oauth_session.exchange.time.sleep", lambda seconds: None)
        self.directory = tempfile.mkdtemp()
        self.fake = FakeTikTok()
        self.key = AccountKey(self.fake.client_key, self.fake.users[0].open_id)
        self.sessions: dict[str, TikTokOAuth2Session] = {}
        self.killed = 0
        self.log_in("A")

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.directory)

    def session(self, client: str) -> TikTokOAuth2Session:
        """Return a process's session; a new process starts one."""
        if client not in self.sessions:
            # A handle of its own: processes share the files and nothing else.
            self.sessions[client] = TikTokOAuth2Session(
                self.fake.client_key,
                client_secret=self.fake.client_secret,
                redirect_uri="https://app.example/callback/",
                store=FileStore(self.directory),
                open_id=self.key.open_id,
            )
            self.sessions[client].mount("https://", self.fake.adapter())
        return self.sessions[client]

    def stored(self) -> TikTokToken | None:
        """Return what the files hold."""
        return FileStore(self.directory).load(self.key)

    # --- what happens ------------------------------------------------------------------------------

    @rule(client=CLIENTS)
    def call(self, client: str) -> None:
        """An API call works for as long as a login could make it work."""
        try:
            status = self.session(client).get(USER_INFO).status_code
        except ReauthorizationRequired:
            assert not self.usable()
        else:
            assert status == 200 or not self.usable()
            assert self.sessions[client].token

    @rule(client=CLIENTS)
    def refresh(self, client: str) -> None:
        """An explicit refresh gives a token that works, or says that only a login helps."""
        possible = self.usable()
        try:
            token = self.session(client).refresh_token()
        except ReauthorizationRequired:
            assert not self.fake.is_alive(str((self.stored() or TikTokToken()).refresh_token))
        except TikTokOAuthError as error:
            # A reply was lost before; the refresh token is spared while the access token works.
            assert error.error == "no_reply"  # noqa: PT017 - which error it is depends on the life
        else:
            # If the user has removed the app, a token that the other one put there is dead as well.
            assert token == self.stored()
            assert self.fake.is_alive(str(token.access_token)) or not possible

    @rule(seconds=PASSING)
    def wait(self, seconds: int) -> None:
        """Time passes, at TikTok and here."""
        self.now += seconds

    @rule(
        client=CLIENTS, kind=st.sampled_from(["reset_before", "reset_after", "refuse", "html", "truncated"])
    )
    def accident(self, client: str, kind: str) -> None:
        """One refresh meets an accident."""
        self.fake.fail("refresh", kind)
        with contextlib.suppress(TikTokOAuthError):
            self.session(client).refresh_token()
        self.fake.heal()

    @rule(client=CLIENTS, moment=st.sampled_from(["before", "after"]))
    def kill(self, client: str, moment: str) -> None:
        """A process dies in the middle of a refresh, before or after TikTok has carried it out."""

        def die(_: RequestRecord) -> None:
            self.killed += 1
            raise Killed

        getattr(self.fake, moment)("refresh", die)
        with contextlib.suppress(Killed, TikTokOAuthError):
            self.session(client).refresh_token()
        self.fake._door.hooks.clear()
        del self.sessions[client]

    @rule(client=CLIENTS)
    def revoke(self, client: str) -> None:
        """Somebody revokes."""
        try:
            self.session(client).revoke_token()
        except (TikTokOAuthError, RevocationError):
            return
        assert self.stored() is None
        assert [] == self.fake.tokens

    @rule()
    def log_out(self) -> None:
        """Somebody deletes the account here."""
        FileStore(self.directory).delete(self.key)

    @rule()
    def remove_at_tiktok(self) -> None:
        """The user removes the app in TikTok."""
        self.fake.remove_connection(self.key.open_id)

    @precondition(lambda self: not self.usable())
    @rule(client=CLIENTS)
    def log_in(self, client: str) -> None:
        """The user logs in anew."""
        session = self.session(client)
        url, _ = session.authorization_url()
        session.fetch_token(authorization_response=self.fake.authorize(url))
        assert self.usable()

    # --- what always holds -------------------------------------------------------------------------

    def usable(self) -> bool:
        """Tell whether what is stored can still work."""
        token = self.stored() or TikTokToken()
        return any(self.fake.is_alive(str(each)) for each in (token.refresh_token, token.access_token))

    @invariant()
    def no_refresh_token_is_wasted(self) -> None:
        """A refresh token is sent once, and once more for each reply to it that never arrived."""
        sent: dict[str, list[RequestRecord]] = collections.defaultdict(list)
        for record in self.fake.requests_to("refresh"):
            sent[record.parameters["refresh_token"]].append(record)
        for records in sent.values():
            unanswered = [r for r in records if not r.delivered or (r.status or 0) >= 500]
            assert len(records) <= 1 + len(unanswered)

    @invariant()
    def store_is_not_older_than_memory(self) -> None:
        """Whatever a session uses, the files hold the same or something newer."""
        type(self).steps += 1
        stored = self.stored()
        if stored is None:
            return
        order = self.issued()
        for session in self.sessions.values():
            held = session._client.token
            if held:
                assert order[held["access_token"]] <= order[stored["access_token"]]

    def issued(self) -> dict[Any, int]:
        """Return the access tokens that TikTok issued, in order."""
        replies = (r.body for r in self.fake.requests if r.endpoint in ("token", "refresh"))
        found: dict[Any, int] = {}
        for body in replies:
            if b'"access_token"' in body:
                found.setdefault(json.loads(body)["access_token"], len(found))
        return found


@pytest.mark.parametrize(
    ("examples", "at_least"),
    [(20, 300), pytest.param(500, 10_000, marks=pytest.mark.long)],
    ids=["short", "10000 steps"],
)
def test_lives(examples: int, at_least: int) -> None:
    """Whatever happens: no token is wasted, no logout undone, and the files are never behind."""
    Lives.steps = 0
    run_state_machine_as_test(
        Lives, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None)
    )

    assert Lives.steps >= at_least
