"""``doctor``: what is wrong with the set-up."""

from __future__ import annotations

import argparse
import email.utils
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Stop, see
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.error_page import explain
from tiktok_oauth_session.cli.settings.redirect_uris import (
    DEFAULT_REDIRECT_URI,
    RULES,
    UNUSED_PORT,
    complaint_about,
    is_of_this_machine,
    with_port,
)
from tiktok_oauth_session.cli.settings.surface import platform
from tiktok_oauth_session.cli.stores.account_option import find
from tiktok_oauth_session.cli.stores.urls import is_github_secret
from tiktok_oauth_session.cli.terminal.output import show, table, tell
from tiktok_oauth_session.errors import StoreError
from tiktok_oauth_session.stores.private_directories import complaints_about

if TYPE_CHECKING:
    import requests

    from tiktok_oauth_session.session import TikTokOAuth2Session

#: Seconds by which this machine's clock may differ: within them everybody waits for a refresh anyway.
CLOCK_TOLERANCE_S = 60.0

PASSED = "passed"
FAILED = "failed"
UNKNOWN = "unknown"

#: Source: keys that people published; TikTok documents no prefixes.
_KINDS = (("sb", "a sandbox's key"), ("aw", "a production key"), ("mn", "a mini drama's key"))


class Finding(NamedTuple):
    """What one check found."""

    check: str
    result: str
    words: str


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "doctor",
        help="check the set-up; explain TikTok's error page",
        description="Check credentials, redirect URI, clock and store, and ask TikTok whether it accepts the "
        "key and the secret. With the address of TikTok's error page, explain that instead.",
    )
    parser.add_argument(
        "page", nargs="?", metavar="ADDRESS", help="the address of TikTok's error page, in quotes"
    )
    parser.add_argument("--redirect-uri", metavar="URI", help="the redirect URI to check, as registered")
    stores.add_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, and tell what was found."""
    if arguments.page is not None:
        explanation = explain(arguments.page)
        if not explanation:
            raise Stop("TikTok's error pages have error_type= in their address; that has not.", EXIT_USAGE)
        show(explanation)
        return EXIT_OK
    findings = list(_findings(arguments))
    table(("CHECK", "RESULT", ""), findings, judged="RESULT")
    failed = [finding.check for finding in findings if finding.result == FAILED]
    if failed:
        tell(f"To be mended: {', '.join(failed)}.")
    return EXIT_FAILED if failed else EXIT_OK


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    surface = platform()
    given = arguments.redirect_uri or credentials.setting(credentials.REDIRECT_URI)
    uri = given or DEFAULT_REDIRECT_URI
    complaint = complaint_about(uri)
    if surface.https_redirect_uris_only and not given:
        complaint = f"is of this machine: {surface.name} comes back to a public https address only"
    if "redirect_uri" not in (surface.authorization_parameters or ()):
        yield Finding("redirect URI", UNKNOWN, f"{surface.name} keeps to the one that the app has registered")
    elif complaint:
        yield Finding("redirect URI", FAILED, f"{uri} {complaint}. See {RULES}")
    else:
        yield Finding("redirect URI", PASSED, uri)
        yield from _port_finding(uri)
    yield from _store_findings(arguments.store)
    key = credentials.setting(credentials.CLIENT_KEY)
    found = credentials.find_secret(key)
    yield _credentials_finding(key, found)
    if key and found.secret:
        yield from _tiktok_findings(key, found.secret, with_port(uri, UNUSED_PORT))


def _port_finding(uri: str) -> Iterator[Finding]:
    port = urlsplit(with_port(uri, 0)).port
    if not is_of_this_machine(uri) or not port:
        return
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    words = "is in use by another program: end that, or log in with --paste" if taken else "is free"
    yield Finding("port", FAILED if taken else PASSED, f"{port} {words}")


def _store_findings(option: str | None) -> Iterator[Finding]:
    try:
        store = stores.open_store(option)
        store.require_writable(credentials.setting(credentials.CLIENT_KEY))
        accounts = len(find(store))
    except (Stop, StoreError) as error:
        yield Finding("store", FAILED, str(error))
        return
    where = stores.place(option)
    if is_github_secret(where):
        words = "may be seen; whether it may be written, only a login or a refresh tells"
        yield Finding("store", UNKNOWN, f"{where} {words}")
        return
    yield Finding("store", PASSED, f"{where} can be written; accounts: {accounts}")
    directory = getattr(store, "directory", None)
    if directory and (complaints := complaints_about(directory)):
        yield Finding("store's folder", FAILED, "; ".join(complaints))


def _credentials_finding(key: str, found: credentials.FoundSecret) -> Finding:
    if not key or not found.secret:
        missing = credentials.CLIENT_SECRET if key else credentials.CLIENT_KEY
        words = f"no {missing} in the environment or in {credentials.path()}. {found.complaint}"
        return Finding("credentials", FAILED, words.rstrip(". "))
    if key == found.secret:
        return Finding("credentials", FAILED, "the client key and the client secret are the same")
    kind = next((f", {words}," for prefix, words in _KINDS if key.startswith(prefix)), "")
    words = f"{key}{kind} and a secret of {len(found.secret)} characters from {found.place}"
    return Finding("credentials", PASSED, words)


def _tiktok_findings(key: str, secret: str, uri: str) -> Iterator[Finding]:
    from tiktok_oauth_session.session import TikTokOAuth2Session

    with TikTokOAuth2Session(key, client_secret=secret, redirect_uri=uri, platform=platform()) as session:
        replies: list[requests.Response] = []

        def note(reply: requests.Response) -> requests.Response:
            replies.append(reply)
            return reply

        session.register_compliance_hook("access_token_response", note)
        yield _key_finding(session)
        yield _clock_finding(replies)
        yield _page_finding(session)


def _key_finding(session: TikTokOAuth2Session) -> Finding:
    from tiktok_oauth_session.errors import TokenError

    if session.platform.client_credentials_parameters == {}:
        words = f"{session.platform.name} issues no token to an app, so that only a login tells"
        return Finding("key and secret", UNKNOWN, words)
    try:
        session.fetch_client_token()
    except TokenError as error:
        if error.error in ("invalid_client", "no_reply"):
            return Finding("key and secret", FAILED, f"{' '.join(str(error).split())}{see(error)}")
        # Not every app may have a token of its own, but TikTok looks at the key and the secret first.
        return Finding("key and secret", UNKNOWN, f"TikTok answered {error.error}.{see(error)}")
    return Finding("key and secret", PASSED, "TikTok accepts them")


def _clock_finding(replies: list[requests.Response]) -> Finding:
    try:
        theirs = email.utils.parsedate_to_datetime(replies[-1].headers["Date"]).timestamp()
    except (IndexError, KeyError, ValueError, TypeError):
        return Finding("clock", UNKNOWN, "no reply told the time")
    off = time.time() - theirs
    words = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} TikTok's"
    return Finding("clock", FAILED if abs(off) > CLOCK_TOLERANCE_S else PASSED, words)


def _page_finding(session: TikTokOAuth2Session) -> Finding:
    """Open the authorize page as a browser would, up to the redirect that names a mistake."""
    import requests

    try:
        url, _ = session.authorization_url()
    except ValueError:
        return Finding("login page", UNKNOWN, f"{session.platform.name}'s needs more than doctor knows")
    try:
        options: dict[str, Any] = {"withhold_token": True, "timeout": session.token_timeout}
        reply = session.request("GET", url, allow_redirects=False, **options)
    except requests.RequestException as error:
        return Finding("login page", FAILED, f"cannot be reached ({type(error).__name__})")
    if explanation := explain(reply.headers.get("Location", "")):
        return Finding("login page", FAILED, explanation)
    return Finding("login page", PASSED, "names no mistake (a browser may be told more)")
