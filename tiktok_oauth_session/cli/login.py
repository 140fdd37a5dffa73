"""``login``: from a client key to a token, on a laptop or over ssh."""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tiktok_oauth_session.cli import connections, credentials, stores
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.output import moment, tell
from tiktok_oauth_session.cli.redirects import (
    DEFAULT_REDIRECT_URI,
    complaint_about,
    is_of_this_machine,
    takes_any_port,
    with_port,
)

if TYPE_CHECKING:
    from tiktok_oauth_session.cli.loopback import CallbackServer
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import TikTokToken

#: Seconds that a user has to get through TikTok's pages.
TIMEOUT_S = 300.0
HIGHEST_PORT = 65_535
#: Nobody listens there: the browser only shows the address. TikTok's documentation uses it.
PASTE_PORT = 3455

CAUSES = (
    "TikTok shows mistakes in an app's settings on a page of its own, and then nothing comes back here. If "
    "you saw such a page, run: tiktok-oauth doctor 'ADDRESS OF THE PAGE'. Otherwise: the page was not "
    "finished, the browser is on another machine (use --paste), or the redirect URI {uri} is not registered "
    "byte for byte."
)


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "login",
        help="log in with a browser, a pasted address or a QR code",
        description="Log in: open TikTok's page in a browser, wait for it to come back to this machine, and "
        f"keep the token. Register the redirect URI {DEFAULT_REDIRECT_URI} for the app's desktop platform.",
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--no-browser", action="store_true", help="print TikTok's address instead of opening it")
    way.add_argument(
        "--paste",
        action="store_true",
        help="wait for no callback: ask for the address that the browser lands on, as for a web app's https "
        "redirect URI or over ssh",
    )
    way.add_argument("--qr", action="store_true", help="show a QR code to scan with TikTok on a phone")
    parser.add_argument(
        "--scope",
        action="append",
        metavar="SCOPES",
        help="the scopes to ask for, with commas; may be repeated (default: user.info.basic)",
    )
    parser.add_argument(
        "--redirect-uri",
        metavar="URI",
        help=f"as registered (default: ${credentials.REDIRECT_URI}, else {DEFAULT_REDIRECT_URI}; * is any "
        "free port)",
    )
    parser.add_argument(
        "--port", type=_port, metavar="NUMBER", help="the port to wait on (default: a free one)"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"how long to wait, unless with --paste (default: {TIMEOUT_S:.0f})",
    )
    parser.add_argument(
        "--ask-again",
        action="store_true",
        help="show the consent page even to a user who has consented before, to choose other scopes",
    )
    stores.add_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Log in."""
    platform = connections.platform()
    uri = _redirect_uri(arguments)
    store = stores.open_ready_store(arguments.store)
    app = credentials.require()

    from tiktok_oauth_session.session import TikTokOAuth2Session

    session = TikTokOAuth2Session(
        app.client_key,
        client_secret=app.client_secret,
        scope=",".join(arguments.scope or ()) or None,
        redirect_uri=uri,
        store=store,
        platform=platform,
    )
    if arguments.qr:
        from tiktok_oauth_session.cli.qrcode import log_in_by_qr_code

        token = log_in_by_qr_code(session, arguments.timeout)
    elif arguments.paste or not is_of_this_machine(uri):
        token = _log_in_by_paste(session, ask_again=arguments.ask_again)
    else:
        token = _log_in_by_browser(session, arguments)
    _remember_request(store, session)
    _report(session, token)
    if app.asked_for and credentials.confirm(f"Keep the client key and secret in {credentials.path()}?"):
        _keep(app)
    return EXIT_OK


# --- three ways ------------------------------------------------------------------------------------


def _log_in_by_browser(session: TikTokOAuth2Session, arguments: argparse.Namespace) -> TikTokToken:
    from tiktok_oauth_session.cli.interrupts import finishing_first
    from tiktok_oauth_session.cli.output import waiting

    with _server(str(session.redirect_uri)) as server:
        session.redirect_uri = server.redirect_uri
        url, state = session.authorization_url(**_page_options(ask_again=arguments.ask_again))
        server.expect(state)
        remote = "SSH_CONNECTION" in os.environ and "DISPLAY" not in os.environ
        _show(url, browser=not arguments.no_browser and not remote)
        if remote:
            tunnel = f"ssh -L {server.port}:127.0.0.1:{server.port}"
            tell(f"Its callback has to reach this machine: connect with {tunnel} as well, or use --paste.")
        with waiting(f"Waiting for the login at {server.redirect_uri} (Ctrl-C stops)"):
            callback = server.wait(arguments.timeout)
        if callback is None:
            what = f"Nobody logged in within {arguments.timeout:.0f} s."
            raise Stop(f"{what} {CAUSES.format(uri=server.redirect_uri)}", EXIT_FAILED)
        with finishing_first():
            return session.fetch_token(authorization_response=callback)


def _log_in_by_paste(session: TikTokOAuth2Session, *, ask_again: bool) -> TikTokToken:
    from tiktok_oauth_session.cli.interrupts import finishing_first
    from tiktok_oauth_session.cli.paste import ask_for_callback

    session.redirect_uri = with_port(str(session.redirect_uri), PASTE_PORT)
    url, state = session.authorization_url(**_page_options(ask_again=ask_again))
    _show(url, browser=False)
    tell("After you allow it, the browser goes to an address that begins with")
    tell(f"  {session.redirect_uri}?code=")
    if is_of_this_machine(str(session.redirect_uri)):
        tell("It may say that it cannot connect: only the address is needed.")
    callback = ask_for_callback(state)
    with finishing_first():
        return session.fetch_token(authorization_response=callback)


def _page_options(*, ask_again: bool) -> dict[str, str]:
    return {"disable_auto_auth": "1"} if ask_again else {}


def _show(url: str, *, browser: bool) -> None:
    import webbrowser

    with contextlib.suppress(webbrowser.Error):
        if browser:
            webbrowser.get()
            tell("Your browser is opened. If it is not, open this in one:")
            tell(f"  {url}")
            # Aside, because some browsers run until the user closes them.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
            return
    tell("Open this in a browser:")
    tell(f"  {url}")


def _server(redirect_uri: str) -> CallbackServer:
    from tiktok_oauth_session.cli.loopback import CallbackServer

    parts = urlsplit(with_port(redirect_uri, 0))
    try:
        return CallbackServer(parts.port or 0, host=parts.hostname or "", path=parts.path, notice=tell)
    except OSError as error:
        raise Stop(
            f"Port {parts.port} of this machine cannot be had ({error.strerror or error}): end what uses it, "
            "or choose another with --port.",
            EXIT_USAGE,
        ) from error


# --- options ---------------------------------------------------------------------------------------


def _redirect_uri(arguments: argparse.Namespace) -> str | None:
    """Return the redirect URI to use, with ``*`` where any port will do.

    Raises:
        Stop: TikTok would not take it, or it does not fit the other options.
    """
    given = arguments.redirect_uri or credentials.setting(credentials.REDIRECT_URI)
    if arguments.qr:
        return given or None
    uri = given or DEFAULT_REDIRECT_URI
    if complaint := complaint_about(uri):
        raise Stop(f"The redirect URI {uri} {complaint}.", EXIT_USAGE)
    if arguments.port is not None:
        if not takes_any_port(uri):
            raise Stop(f"--port does not fit the redirect URI {uri}, which has its own.", EXIT_USAGE)
        uri = with_port(uri, arguments.port)
    if not is_of_this_machine(uri) and not arguments.paste:
        tell(f"{uri} is not on this machine, so its address has to be pasted.")
    if uri.startswith("https://") and is_of_this_machine(uri) and not arguments.paste:
        raise Stop("This command has no certificate to wait on https with: use --paste.", EXIT_USAGE)
    return uri


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port number")
    return int(text)


def _seconds(text: str) -> float:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return float(text)


# --- afterwards ------------------------------------------------------------------------------------


def _keep(app: credentials.Credentials) -> None:
    try:
        credentials.keep(app)
    except OSError as error:
        tell(f"They could not be kept: {error.strerror or error}. You are logged in all the same.")


def _remember_request(store: TokenStore, session: TikTokOAuth2Session) -> None:
    """Keep the scopes that were asked for beside the token, so that `status` can show what is missing."""
    from tiktok_oauth_session.cli.accounts import REQUESTED_SCOPE
    from tiktok_oauth_session.errors import StoreError
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken, split_scopes

    key = AccountKey(session.client_id or "", session.open_id or "")
    asked = {REQUESTED_SCOPE: ",".join(split_scopes(session.scope))}
    try:
        with store.lock(key):
            stored = store.load(key)
            if stored is not None:
                store.save(key, TikTokToken(stored, **asked), replacing=stored.refresh_token)
    except StoreError as error:
        tell(f"The token is kept, but not which scopes were asked for. {error}")


def _report(session: TikTokOAuth2Session, token: TikTokToken) -> None:
    now = time.time()
    print(f"Logged in: {token.open_id}")
    print(f"Granted: {', '.join(session.granted_scopes) or 'nothing'}")
    if session.missing_scopes:
        print(f"Not granted: {', '.join(session.missing_scopes)}")
    print(f"The access token expires {moment(token.expires_at, now)}.")
    if token.refresh_token:
        until = moment(token.get("refresh_expires_at"), now)
        print(f"It is refreshed when needed; the refresh token expires {until}.")
    if base := os.environ.get(connections.BASE_URL):
        print(f"This was not TikTok but {base}.")
