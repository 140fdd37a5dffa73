"""``login --paste``: the address that the user's browser landed on."""

from __future__ import annotations

import sys

from tiktok_oauth_session.cli.exits import EXIT_FAILED, Stop
from tiktok_oauth_session.cli.output import tell

#: How often a person may paste something else by mistake.
TRIES = 3


def ask_for_callback(state: str) -> str:
    """Ask for the address until it is one that answers this login.

    Args:
        state: The login's state.

    Raises:
        Stop: It is something else.
    """
    person = sys.stdin.isatty()
    complaint = ""
    for _ in range(TRIES if person else 1):
        tell("Paste that address and press Enter:")
        line = sys.stdin.readline()
        if not line:
            raise Stop("No address was pasted.", EXIT_FAILED)
        complaint = complaint_about(line.strip(), state)
        if not complaint:
            return line.strip()
        if person:
            tell(complaint)
    raise Stop(complaint, EXIT_FAILED)


def complaint_about(pasted: str, state: str) -> str:
    """Return what is wrong with a pasted address; an empty string if it answers the login."""
    from tiktok_oauth_session._oauth.authorization_response import (
        matching_state,
        parse_authorization_response,
    )
    from tiktok_oauth_session.cli.doctor import explain
    from tiktok_oauth_session.errors import StateMismatch

    if explanation := explain(pasted):
        return f"That is TikTok's error page. {explanation}"
    if "://" not in pasted:
        return "That is no address. It has to be the whole address, beginning with http."
    try:
        answer = parse_authorization_response("?" + pasted.partition("?")[2])
        if "error" in answer:
            return ""
        if not answer.get("code"):
            return "That address carries no code=: it is not the one that TikTok sent the browser to."
        matching_state(answer.get("state"), [state])
    except StateMismatch:
        return "That address belongs to another login: its state= is not this one's."
    return ""
