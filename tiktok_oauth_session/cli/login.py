"""``login``: from a client key to a token, on a laptop or over ssh."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tiktok_oauth_session.cli import connections, credentials, stores
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_OK, EXIT_STORE, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.output import moment, tell

if TYPE_CHECKING:
    from tiktok_oauth_session.cli.loopback import CallbackServer
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import TikTokToken

#: Seconds that a user has to get through TikTok's pages.
TIMEOUT_S = 300.0
HIGHEST_PORT = 65_535

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
        description="Log in: open TikTok's page in a browser, wait for it to come back to this machine, and keep the "
        "token. Register the redirect URI http://127.0.0.1:*/callback/ for the app's desktop platform.",
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
        help=f"as registered (default: ${credentials.REDIRECT_URI}, else http://127.0.0.1:*/callback/; * is any "
        "free port)",
    )
    parser.add_argument("--port", type=_port, metavar="NUMBER", help="the port to wait on (default: a free one)")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"how long to wait for the login (default: {TIMEOUT_S:.0f})",
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
    store = stores.open_store(arguments.store)
    require_writable(store)
    app = credentials.require()

    from tiktok_oauth_session.session import TikTokOAuth2Session

    session = TikTokOAuth2Session(
        app.client_key,
        client_secret=app.client_secret,
        scope=",".join(arguments.scope or ()),
        redirect_uri=uri,
        store=store,
        platform=platform,
    )
    if arguments.qr:
        from tiktok_oauth_session.cli.qrcode import log_in_by_qr_code

        token = log_in_by_qr_code(session, arguments.timeout)
    elif arguments.paste or not _is_of_this_machine(uri):
        token = _log_in_by_paste(session, ask_again=arguments.ask_again)
    else:
        token = _log_in_by_browser(session, arguments)
    _remember_request(store, session)
    _report(session, token)
    if app.asked_for and credentials.confirm(f"Keep the client key and secret in {credentials.path()}?"):
        credentials.keep(app)
    return EXIT_OK


def require_writable(store: TokenStore) -> None:
    """Find out before the user is troubled whether a token could be kept.

    Raises:
        StoreError: It could not.
    """
    from tiktok_oauth_session.errors import StoreError
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

    probe = AccountKey("tiktok-oauth", "write-test")
    try:
        store.save(probe, TikTokToken(access_token="write-test"))  # noqa: S106 - no secret
        store.delete(probe)
    except StoreError as error:
        raise Stop(f"Tokens could not be kept, so nothing was begun. {error}", EXIT_STORE) from error


# --- three ways ------------------------------------------------------------------------------------


def _log_in_by_browser(session: TikTokOAuth2Session, arguments: argparse.Namespace) -> TikTokToken:
    from tiktok_oauth_session.cli.interrupts import finishing_first
    from tiktok_oauth_session.cli.output import waiting

    with _server(str(session.redirect_uri)) as server:
        session.redirect_uri = server.redirect_uri
        url, state = session.authorization_url(**_page_options(arguments.ask_again))
        server.expect(state)
        _show(url, browser=not arguments.no_browser)
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

    session.redirect_uri = str(session.redirect_uri).replace(":*/", ":3455/")
    url, state = session.authorization_url(**_page_options(ask_again))
    _show(url, browser=False)
    tell("After you allow it, the browser goes to an address that begins with")
    tell(f"  {session.redirect_uri}?code=")
    if _is_of_this_machine(str(session.redirect_uri)):
        tell("It may say that it cannot connect: only the address is needed.")
    callback = ask_for_callback(state)
    with finishing_first():
        return session.fetch_token(authorization_response=callback)


def _page_options(ask_again: bool) -> dict[str, str]:  # noqa: FBT001 - the option, as it is
    return {"disable_auto_auth": "1"} if ask_again else {}


def _show(url: str, *, browser: bool) -> None:
    import webbrowser

    opened = browser and webbrowser.open(url)
    tell("Opened in your browser; if it is not there, open:" if opened else "Open this in a browser:")
    tell(f"  {url}")


def _server(redirect_uri: str) -> CallbackServer:
    from tiktok_oauth_session.cli.loopback import CallbackServer

    parts = urlsplit(redirect_uri.replace(":*/", ":0/"))
    try:
        return CallbackServer(parts.port or 0, host=parts.hostname or "", path=parts.path, notice=tell)
    except OSError as error:
        raise Stop(
            f"Port {parts.port} of this machine cannot be had ({error.strerror or error}): end what uses it, or "
            "choose another with --port.",
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
    uri = given or "http://127.0.0.1:*/callback/"
    if complaint := complaint_about(uri):
        raise Stop(f"The redirect URI {uri} {complaint}.", EXIT_USAGE)
    if arguments.port is not None:
        if ":*/" not in uri:
            raise Stop(f"--port does not fit the redirect URI {uri}, which has its own.", EXIT_USAGE)
        uri = uri.replace(":*/", f":{arguments.port}/")
    if not _is_of_this_machine(uri) and not arguments.paste:
        tell(f"{uri} is not on this machine, so its address has to be pasted.")
    if uri.startswith("https://") and _is_of_this_machine(uri) and not arguments.paste:
        raise Stop("This command has no certificate to wait on https with: use --paste.", EXIT_USAGE)
    return str(uri)


def complaint_about(uri: str) -> str:
    """Return which of TikTok's rules a redirect URI breaks; an empty string if none.

    Source: https://developers.tiktok.com/doc/login-kit-desktop and
    https://developers.tiktok.com/doc/login-kit-web
    """
    try:
        parts = urlsplit(uri.replace(":*/", ":1/"))
        port = parts.port
    except ValueError:
        return "is no URL"
    local = parts.hostname in ("127.0.0.1", "localhost")
    rules = (
        (parts.scheme in ("http", "https") and bool(parts.hostname), "is no http or https URL"),
        (len(uri) < 512, "is too long: TikTok takes fewer than 512 characters"),  # noqa: PLR2004 - TikTok's number
        (not parts.query and not parts.fragment, "has a query or a fragment, which TikTok does not take"),
        (local or parts.scheme == "https", "is not https, which TikTok wants of anything but this machine"),
        (not local or port is not None, "has no port, which TikTok wants on this machine"),
        (local or ":*/" not in uri, "has * for its port, which TikTok takes on this machine only"),
    )
    return next((complaint for kept, complaint in rules if not kept), "")


def _is_of_this_machine(uri: str | None) -> bool:
    return urlsplit((uri or "").replace(":*/", ":1/")).hostname in ("127.0.0.1", "localhost")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port number")
    return int(text)


def _seconds(text: str) -> float:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return float(text)


# --- afterwards ------------------------------------------------------------------------------------


def _remember_request(store: TokenStore, session: TikTokOAuth2Session) -> None:
    """Keep the scopes that were asked for beside the token, so that `status` can show what is missing."""
    from tiktok_oauth_session.cli.accounts import REQUESTED_SCOPE
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

    key = AccountKey(session.client_id or "", session.open_id or "")
    with store.lock(key):
        stored = store.load(key)
        if stored is not None:
            asked = ",".join(session.scope or ())
            store.save(key, TikTokToken(stored, **{REQUESTED_SCOPE: asked}), replacing=stored.refresh_token)


def _report(session: TikTokOAuth2Session, token: TikTokToken) -> None:
    now = time.time()
    print(f"Logged in: {token.open_id}")
    print(f"Granted: {', '.join(session.granted_scopes) or 'nothing'}")
    if session.missing_scopes:
        print(f"Not granted: {', '.join(session.missing_scopes)}")
    refreshed = f", refreshed by itself until {moment(token.get('refresh_expires_at'), now)[3:]} have passed"
    print(f"The access token expires {moment(token.expires_at, now)}{refreshed if token.refresh_token else ''}.")
    if os.environ.get(connections.BASE_URL):
        print(f"This was not TikTok but {os.environ[connections.BASE_URL]}.")
