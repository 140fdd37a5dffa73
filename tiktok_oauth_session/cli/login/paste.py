"""``login --paste``: the address that the user's browser landed on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tiktok_oauth_session.cli.exits import EXIT_FAILED, Stop
from tiktok_oauth_session.cli.login import consent_page
from tiktok_oauth_session.cli.settings.error_page import explain
from tiktok_oauth_session.cli.settings.redirect_uris import UNUSED_PORT, is_of_this_machine, with_port
from tiktok_oauth_session.cli.terminal.output import tell
from tiktok_oauth_session.cli.terminal.signals import finishing_first

if TYPE_CHECKING:
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.tokens import TikTokToken

#: How often a person may paste something else by mistake.
TRIES = 3


def log_in_by_paste(session: TikTokOAuth2Session, begin: Callable[[], tuple[str, str]]) -> TikTokToken:
    """Ask for the address that TikTok sent the user's browser to, wherever that browser is.

    Args:
        session: The session that logs in; its redirect URI may have ``*`` for its port.
        begin: Returns the address of TikTok's page, and the login's state.

    Raises:
        Stop: Something else was pasted.
    """
    uri: str | None = session.redirect_uri and with_port(str(session.redirect_uri), UNUSED_PORT)
    session.redirect_uri = uri
    url, state = begin()
    consent_page.show(url, browser=False)
    if uri:
        tell("After you allow it, the browser goes to an address that begins with", f"  {uri}?code=")
    else:
        tell("After you allow it, the browser goes to the address that the app has registered, with a code=.")
    if is_of_this_machine(uri):
        tell("It may say that it cannot connect: only the address is needed.")
    callback = _ask_for_callback(state)
    with finishing_first():
        return session.fetch_token(authorization_response=callback)


def _ask_for_callback(state: str) -> str:
    """Ask for the address until it is one that answers this login.

    Args:
        state: The login's state.

    Raises:
        Stop: It is something else.
    """
    complaint = ""
    for _ in range(TRIES if sys.stdin.isatty() else 1):
        if complaint:
            tell(complaint)
        tell("Paste that address and press Enter:")
        line = sys.stdin.readline()
        if not line:
            raise Stop("No address was pasted.", EXIT_FAILED)
        # Some copy what they see in a terminal or a chat.
        pasted = line.strip().strip("\"'<>")
        complaint = _complaint_about(pasted, state)
        if not complaint:
            return pasted
    raise Stop(f"{complaint} Begin again with: tiktok-oauth login --paste", EXIT_FAILED)


def _complaint_about(pasted: str, state: str) -> str:
    """Return what is wrong with a pasted address; an empty string if it answers the login."""
    from tiktok_oauth_session._oauth.authorization_response import (
        matching_state,
        parse_authorization_response,
    )
    from tiktok_oauth_session.errors import AuthorizationError, StateMismatch

    if explanation := explain(pasted):
        return f"That is TikTok's error page. {explanation}"
    if "://" not in pasted:
        return "That is no address. It has to be the whole address, beginning with http."
    try:
        answer = parse_authorization_response("?" + pasted.partition("?")[2])
        if "error" not in answer:
            if not answer.get("code"):
                return "That address carries no code=: it is not the one that TikTok sent the browser to."
            matching_state(answer.get("state"), [state])
    except StateMismatch:
        return "That address is not whole, or belongs to another login: its state= is not this one's."
    except AuthorizationError as error:
        return str(error)
    return ""
