"""``login``: from a client key to a token, on a laptop or over ssh."""

from __future__ import annotations

import argparse
import functools
import time
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_OK, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.login import consent_page
from tiktok_oauth_session.cli.login.display_name import ask_for_name
from tiktok_oauth_session.cli.settings import credentials, system_keyring
from tiktok_oauth_session.cli.settings.redirect_uris import (
    DEFAULT_REDIRECT_URI,
    RULES,
    complaint_about,
    is_of_this_machine,
    takes_any_port,
    with_port,
)
from tiktok_oauth_session.cli.settings.surface import platform
from tiktok_oauth_session.cli.stores.login_notes import keep_notes, with_name
from tiktok_oauth_session.cli.terminal.output import moment, show, tell
from tiktok_oauth_session.cli.terminal.prompts import confirm

if TYPE_CHECKING:
    from tiktok_oauth_session.platforms import Platform
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.tokens import TikTokToken

#: Seconds that a user has to get through TikTok's pages.
TIMEOUT_S = 300.0
HIGHEST_PORT = 65_535


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "login",
        help="log in with a browser, a pasted address or a QR code",
        description="Log in: open TikTok's page in a browser, wait for it to come back to this machine, and "
        f"keep the token. Register the redirect URI {DEFAULT_REDIRECT_URI} for the app's desktop platform.",
    )
    _add_ways(parser)
    parser.add_argument(
        "--scope",
        action="append",
        metavar="SCOPES",
        help="the scopes to ask for, with commas; may be repeated (default: user.info.basic on Login Kit)",
    )
    parser.add_argument(
        "--redirect-uri",
        metavar="URI",
        help=f"as registered (default: ${credentials.REDIRECT_URI}, else {DEFAULT_REDIRECT_URI}; * is any "
        "free port)",
    )
    parser.add_argument(
        "--port", type=_port, metavar="NUMBER", help="the port to wait on; 0 takes a free one (default: 0)"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"how long to wait, unless with --paste (default: {TIMEOUT_S:.0f})",
    )
    _add_page_options(parser)
    stores.add_option(parser)
    parser.set_defaults(run=run)


def _add_page_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ask-again",
        action="store_true",
        help="show the consent page even to a user who has consented before, to choose other scopes",
    )
    parser.add_argument(
        "--page",
        metavar="ADDRESS",
        help="the login's page, as TikTok's portal shows its link (default: the platform's own)",
    )
    parser.add_argument(
        "--open-id",
        metavar="NAME",
        help="keep the account under a name of your own, as for a platform that does not say whose token it "
        "issues",
    )


def _add_ways(parser: argparse.ArgumentParser) -> None:
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--no-browser", action="store_true", help="print TikTok's address instead of opening it")
    way.add_argument(
        "--paste",
        action="store_true",
        help="wait for no callback: ask for the address that the browser lands on, as for a web app's https "
        "redirect URI or over ssh",
    )
    way.add_argument("--qr", action="store_true", help="show a QR code to scan with TikTok on a phone")


def run(arguments: argparse.Namespace) -> int:
    """Log in."""
    surface = platform()
    uri = _redirect_uri(arguments, surface)
    _require_enough(arguments, surface)
    store = stores.open_ready_store(arguments.store)
    app = credentials.require()

    # Slow to import.
    from tiktok_oauth_session.session import TikTokOAuth2Session

    session = TikTokOAuth2Session(
        app.client_key,
        client_secret=app.client_secret,
        scope=",".join(arguments.scope or ()) or None,
        redirect_uri=uri,
        store=store,
        open_id=arguments.open_id,
        platform=surface,
    )
    token = _log_in(session, arguments)
    name = ""
    try:
        name = ask_for_name(session, token)
    finally:
        # Ctrl-C may end the wait for a name.
        keep_notes(store, session, name)
    _report(session, token, name)
    if app.asked_for:
        _offer_to_keep(app)
    return EXIT_OK


def _log_in(session: TikTokOAuth2Session, arguments: argparse.Namespace) -> TikTokToken:
    begin = functools.partial(
        session.authorization_url, arguments.page, **consent_page.options(ask_again=arguments.ask_again)
    )
    if arguments.qr:
        from tiktok_oauth_session.cli.login.qr_code import log_in_by_qr_code

        return log_in_by_qr_code(session, arguments.timeout)
    if arguments.paste or not is_of_this_machine(session.redirect_uri):
        from tiktok_oauth_session.cli.login.paste import log_in_by_paste

        return log_in_by_paste(session, begin)
    from tiktok_oauth_session.cli.login.browser import log_in_by_browser

    return log_in_by_browser(
        session,
        begin,
        arguments.timeout,
        any_port=arguments.port is not None,
        open_browser=not arguments.no_browser,
    )


# --- options ---------------------------------------------------------------------------------------


def _redirect_uri(arguments: argparse.Namespace, surface: Platform) -> str | None:
    """Return the redirect URI to use, with ``*`` where any port will do; None where TikTok knows it.

    Raises:
        Stop: TikTok would not take it, or it does not fit the other options.
    """
    given = arguments.redirect_uri or credentials.setting(credentials.REDIRECT_URI)
    if arguments.qr:
        return given or None
    if "redirect_uri" not in (surface.authorization_parameters or ()):
        return None
    if surface.https_redirect_uris_only and not given:
        raise Stop(
            f"{surface.name} comes back to a public https address only: pass --redirect-uri, as registered.",
            EXIT_USAGE,
        )
    uri = given or DEFAULT_REDIRECT_URI
    if complaint := complaint_about(uri):
        raise Stop(f"The redirect URI {uri} {complaint}. See {RULES}", EXIT_USAGE)
    if arguments.port is not None:
        if not takes_any_port(uri):
            raise Stop(f"--port does not fit the redirect URI {uri}, which has its own.", EXIT_USAGE)
        uri = with_port(uri, arguments.port) if arguments.port else uri
    if not is_of_this_machine(uri) and not arguments.paste:
        tell(f"{uri} is not on this machine, so its address has to be pasted.")
    if uri.startswith("https://") and is_of_this_machine(uri) and not arguments.paste:
        raise Stop("This command has no certificate to wait on https with: use --paste.", EXIT_USAGE)
    return uri


def _require_enough(arguments: argparse.Namespace, surface: Platform) -> None:
    """Refuse to begin a login that cannot come to its end.

    Raises:
        Stop: Something is missing, or the surface has no such login.
    """
    if arguments.qr and surface.qr_code_endpoint is None:
        raise Stop(f"{surface.name} has no login by QR code.", EXIT_USAGE)
    if not (surface.tells_open_id or arguments.open_id):
        raise Stop(f"{surface.name} does not say whose token it issues: pass --open-id.", EXIT_USAGE)
    # The client key and the redirect URI are always there.
    needed = {*surface.required_for_authorization} - {"client_id", "redirect_uri"}
    if arguments.scope or surface.default_scope:
        needed.discard("scope")
    if needed and "?" not in (arguments.page or ""):
        also = " or --scope" if needed == {"scope"} else ""
        raise Stop(
            f"The login's page of {surface.name} needs the {' and '.join(sorted(needed))} of your app: pass "
            f"--page{also}.",
            EXIT_USAGE,
        )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port number")
    return int(text)


def _seconds(text: str) -> float:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return float(text)


# --- afterwards ------------------------------------------------------------------------------------


def _offer_to_keep(app: credentials.Credentials) -> None:
    keyring = "this system's keyring and " if system_keyring.is_installed() else ""
    if not confirm(f"Keep the client key and secret in {keyring}{credentials.path()}?"):
        return
    try:
        tell(credentials.keep(app))
    except OSError as error:
        tell(f"They could not be kept: {error.strerror or error}. You are logged in all the same.")


def _report(session: TikTokOAuth2Session, token: TikTokToken, name: str) -> None:
    now = time.time()
    show(f"Logged in: {with_name(session.open_id, name)}")
    show(f"Granted: {', '.join(session.granted_scopes) or 'nothing'}")
    if session.missing_scopes:
        show(f"Not granted: {', '.join(session.missing_scopes)}")
    if token.expires_at is None:
        show("TikTok does not say when the access token expires: it is used until it is refused.")
    else:
        show(f"The access token expires {moment(token.expires_at, now)}.")
    if token.refresh_token:
        until = moment(token.get("refresh_expires_at"), now)
        show(f"It is refreshed when needed; the refresh token expires {until}.")
