"""Logins that were begun and not finished: their states and verifiers."""

from __future__ import annotations

import collections
from typing import NamedTuple

from tiktok_oauth_session._oauth.authorization_response import (
    authorization_code,
    decode_code,
    matching_state,
    parse_authorization_response,
)

#: How many unfinished logins a session remembers: one for every tab that a user leaves open.
REMEMBERED_LOGINS = 32


class Consent(NamedTuple):
    """What a user came back with."""

    code: str
    #: The PKCE verifier of the login that this answers, if this session began it with one.
    code_verifier: str | None = None
    #: The scopes that the user granted, as the callback told them.
    scopes: str | None = None


class PendingLogins:
    """The logins that a session has begun. Each state is good for one answer."""

    def __init__(self) -> None:
        self._verifiers: collections.OrderedDict[str, str | None] = collections.OrderedDict()

    def begin(self, state: str, code_verifier: str | None) -> None:
        """Remember a login."""
        self._verifiers[state] = code_verifier
        while len(self._verifiers) > REMEMBERED_LOGINS:
            self._verifiers.popitem(last=False)

    def finish(
        self,
        *,
        code: str | None,
        authorization_response: str | None,
        state: object,
        known_state: str | None,
    ) -> Consent:
        """Check what came back against what was begun.

        Args:
            code: The code, if the caller took the callback apart.
            authorization_response: The callback, if not.
            state: ``...``: compare with the logins begun here. False: the caller has compared. A text:
                beside a callback, the state to find in it; beside a code, the state that came with it.
            known_state: One more state that counts as begun here.

        Raises:
            StateMismatch: The state is missing or another one.
            AuthorizationError: There is no code.
        """
        answer = (
            parse_authorization_response(authorization_response)
            if authorization_response
            else {"code": decode_code(code or "")}
        )
        matched = None
        if state is not False and "error" not in answer:
            if state is not ... and not isinstance(state, str):
                # Such as the None of a web session that has lost it: not a waiver.
                state = ""
            given = state if isinstance(state, str) else None
            begun = [*self._verifiers, *([known_state] if known_state else [])]
            returned = answer.get("state") if authorization_response else given
            matched = matching_state(
                returned, [given] if authorization_response and given is not None else begun
            )
        # An error needs no state: it logs nobody in, and TikTok may leave the state out of it.
        finished = self._verifiers.pop(matched or answer.get("state", ""), None)
        return Consent(authorization_code(answer), finished, answer.get("scopes"))
