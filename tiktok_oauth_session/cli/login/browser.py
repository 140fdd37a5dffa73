"""``login``: a browser on this machine, which TikTok sends back to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.login import consent_page
from tiktok_oauth_session.cli.login.callback_server import CallbackServer
from tiktok_oauth_session.cli.settings.redirect_uris import with_port
from tiktok_oauth_session.cli.terminal.output import tell, waiting
from tiktok_oauth_session.cli.terminal.signals import finishing_first

if TYPE_CHECKING:
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.tokens import TikTokToken

CAUSES = (
    "TikTok shows mistakes in an app's settings on a page of its own, and then nothing comes back here. If "
    "you saw such a page, run: tiktok-oauth doctor 'ADDRESS OF THE PAGE'. Otherwise: the page was not "
    "finished, the browser is on another machine (use --paste), or the redirect URI {uri} is not registered "
    "byte for byte."
)


def log_in_by_browser(
    session: TikTokOAuth2Session,
    begin: Callable[[], tuple[str, str]],
    timeout: float,
    *,
    any_port: bool,
    open_browser: bool,
) -> TikTokToken:
    """Wait until TikTok sends the user's browser back to this machine.

    Args:
        session: The session that logs in; its redirect URI may have ``*`` for its port.
        begin: Returns the address of TikTok's page, and the login's state.
        timeout: Seconds.
        any_port: Whether the redirect URI is registered with ``*`` for its port.
        open_browser: Open one, unless the user is on another machine.

    Raises:
        Stop: Nobody came in time, or the port is taken.
    """
    with _server(str(session.redirect_uri), any_port=any_port) as server:
        session.redirect_uri = server.redirect_uri
        url, state = begin()
        server.expect(state)
        remote = "SSH_CONNECTION" in os.environ and "DISPLAY" not in os.environ
        consent_page.show(url, browser=open_browser and not remote)
        if remote:
            tunnel = f"ssh -L {server.port}:127.0.0.1:{server.port}"
            tell(f"Its callback has to reach this machine: connect with {tunnel} as well, or use --paste.")
        with waiting(f"Waiting for the login at {server.redirect_uri} (Ctrl-C stops)"):
            callback = server.wait(timeout)
        if callback is None:
            what = f"Nobody logged in within {timeout:.0f} s."
            raise Stop(f"{what} {CAUSES.format(uri=server.redirect_uri)}", EXIT_FAILED)
        with finishing_first():
            return session.fetch_token(authorization_response=callback)


def _server(redirect_uri: str, *, any_port: bool) -> CallbackServer:
    parts = urlsplit(with_port(redirect_uri, 0))
    try:
        return CallbackServer(parts.port or 0, host=parts.hostname or "", path=parts.path, notice=tell)
    except OSError as error:
        way_out = "take any free one with --port 0" if any_port else "use --paste, which needs none"
        raise Stop(
            f"Port {parts.port} of this machine cannot be had ({error.strerror or error}): end what uses it, "
            f"or {way_out}.",
            EXIT_USAGE,
        ) from error
