"""Logins that were begun and not finished: their states and verifiers."""

from __future__ import annotations

import collections
from typing import NamedTuple

from tiktok_oauth_session._oauth.authorization_response import (
    authorization_code,
    granted_scopes,
    matching_state,
    parse_authorization_response,
)
from tiktok_oauth_session.errors import AuthorizationError

#: How many unfinished logins a session remembers: one for every tab that a user leaves open.
REMEMBERED_LOGINS = 32


class Consent(NamedTuple):
    """What a user came back with."""

    code: str
    #: The PKCE verifier of the login that this answers, if this session began it with one.
    code_verifier: str | None = None
    #: The scopes that the user granted, as the callback told them.
    scopes: str | None = None
    #: The state of the login that this answers, if this session began it.
    state: str | None = None


class PendingLogins:
    """The logins that a session has begun. Each state is good for one answer."""

    def __init__(self) -> None:
        self._verifiers: collections.OrderedDict[str, str | None] = collections.OrderedDict()

    def begin(self, state: str, code_verifier: str | None) -> None:
        """Remember a login."""
        self._verifiers[state] = code_verifier
        while len(self._verifiers) > REMEMBERED_LOGINS:
            self._verifiers.popitem(last=False)

    def is_open(self, state: str) -> bool:
        """Tell whether a login was begun with this state."""
        return state in self._verifiers

    def match(self, response: str, *, state: object, redirect_uri: str | None) -> Consent:
        """Check what came back against what was begun. The login stays open, unless TikTok ended it.

        Args:
            response: The callback.
            state: The state that the login was begun with; ``...``: that of any login begun here.
            redirect_uri: Where the user was to come back to.

        Raises:
            StateMismatch: The state is missing or another one.
            AuthorizationError: There is no code, or the callback is none of this application's.
            InsecureTransportError: It came over plain http, and was not to come over https.
        """
        answer = parse_authorization_response(response, redirect_uri)
        returned = answer.get("state", "")
        # An error needs no state: it logs nobody in, and TikTok may leave the state out of it.
        if answer.get("error"):
            self._verifiers.pop(returned, None)
        else:
            returned = matching_state(returned, self._verifiers if state is ... else [state])
        # One that was open a moment ago is for `finish` to judge.
        own = returned if state is ... or self.is_open(returned) else None
        verifier = self._verifiers.get(returned)
        return Consent(authorization_code(answer), verifier, granted_scopes(answer), own)

    def match_code(self, code: str, code_verifier: str | None) -> Consent:
        """Find the login that a code without a state belongs to. It stays open.

        Args:
            code: The code.
            code_verifier: What the caller says is its verifier.

        Raises:
            AuthorizationError: It may be that of any of several logins, and a wrong one costs the code.
        """
        likely = [state for state, own in self._verifiers.items() if code_verifier in (None, own)]
        if len(likely) == 1:
            return Consent(code, self._verifiers[likely[0]], state=likely[0])
        if code_verifier is None and any(self._verifiers.values()):
            raise AuthorizationError(
                f"{len(likely)} logins are open here, each with a verifier of its own, and a code does not "
                "say which it belongs to: pass the whole callback as `authorization_response`, or the "
                "`code_verifier` of its login."
            )
        return Consent(code, code_verifier)

    def finish(self, consent: Consent) -> None:
        """Use up the state of the login that this answers.

        Raises:
            StateMismatch: The same answer came twice at once, and the other one was first.
        """
        if consent.state is not None and self._verifiers.pop(consent.state, ...) is ...:
            matching_state(consent.state, ())
