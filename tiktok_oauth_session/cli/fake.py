"""``fake``: a fake TikTok on this machine, for tests in any language."""

from __future__ import annotations

import argparse
import errno
import shlex
import sys
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tiktok_oauth_session._http.loopback import is_loopback_host
from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session.cli.exits import EXIT_OK, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.redirect_uris import DEFAULT_REDIRECT_URI
from tiktok_oauth_session.cli.settings.surface import BASE_URL, constant
from tiktok_oauth_session.cli.terminal.output import tell
from tiktok_oauth_session.cli.terminal.signals import WAKE_S

if TYPE_CHECKING:
    from tiktok_oauth_session.testing import FakeTikTok

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9400
#: Characters of a line at most: more than its redirect URIs can have.
LINE_CAP = 10_000
#: Its users' names, by open_id.
USERS = {"user-1": "Fake User", "user-2": "Another User"}


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "fake",
        help="serve a fake TikTok on this machine",
        description="Serve a fake TikTok on this machine until Ctrl-C. What to set in the environment is "
        "printed first, with its redirect URIs and users. Tests control it over HTTP below /_control/, "
        "which lists what there is. Each of these requests needs the header FakeTikTok-Control: 1.",
    )
    parser.add_argument(
        "--host",
        default=DEFAULT_HOST,
        metavar="HOST",
        help="the address to listen on, or a name of it; whoever reaches another than this machine's own can "
        f"use and control the fake (default: {DEFAULT_HOST})",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        metavar="NUMBER",
        help=f"the port; 0 takes a free one (default: {DEFAULT_PORT})",
    )
    _add_app_options(parser)
    _add_behaviour_options(parser)
    parser.set_defaults(run=run)


def _add_app_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--client-key",
        metavar="KEY",
        help="the app's client key, which its made-up secret goes with (default: the same everywhere)",
    )
    parser.add_argument(
        "--redirect-uri",
        action="append",
        default=[],
        metavar="URI",
        help="register this redirect URI, too; may be repeated",
    )
    parser.add_argument(
        "--scope",
        action="append",
        metavar="SCOPES",
        help="what the app is approved for, with commas; may be repeated (default: all that the fake knows)",
    )


def _add_behaviour_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--access-lifetime",
        type=float,
        default=7200.0,
        metavar="SECONDS",
        help="how long access tokens live (default: 7200)",
    )
    parser.add_argument(
        "--rotation",
        choices=("hard", "grace", "none"),
        default="hard",
        metavar="MODE",
        help="what a refresh does to the refresh token: hard spends it, grace accepts it for a while, none "
        "keeps it (default: hard)",
    )
    parser.add_argument(
        "--error-status",
        type=int,
        default=200,
        metavar="STATUS",
        help="the HTTP status of OAuth errors, of which TikTok documents none (default: 200)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from tiktok_oauth_session.testing.control import serve_with_controls

    try:
        fake = _set_up(arguments)
        server = serve_with_controls(fake, arguments.port, arguments.host)
    except (ValueError, OverflowError) as error:
        raise Stop(f"The fake cannot be set up: {error}.", EXIT_USAGE) from error
    except OSError as error:
        where = f"Port {arguments.port} of {plain(arguments.host)}"
        of_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        way_out = " Choose another with --port; --port 0 takes a free one." if of_port else ""
        raise Stop(f"{where} cannot be had: {error.strerror or error}.{way_out}", EXIT_USAGE) from error
    with server:
        _print_settings(fake, server.url, arguments.redirect_uri)
        if not is_loopback_host(arguments.host.lower()):
            tell(
                f"Whoever reaches {arguments.host}:{server.port} can use and control this fake. Elsewhere, "
                f'programs say {constant()}.at("http://NAME:{server.port}", insecure=True).'
            )
        tell("Ctrl-C ends it.")
        while not threading.Event().wait(WAKE_S):
            pass
    return EXIT_OK


def _set_up(arguments: argparse.Namespace) -> FakeTikTok:
    from tiktok_oauth_session.testing import FakeTikTok, User
    from tiktok_oauth_session.testing.app import REDIRECT_URIS, SCOPES
    from tiktok_oauth_session.testing.fake import CLIENT_KEY

    return FakeTikTok(
        CLIENT_KEY if arguments.client_key is None else arguments.client_key,
        redirect_uris=(*REDIRECT_URIS, *arguments.redirect_uri),
        scopes=SCOPES if arguments.scope is None else ",".join(arguments.scope).split(","),
        access_lifetime=arguments.access_lifetime,
        rotation=arguments.rotation,
        error_status=arguments.error_status,
        users=[User.make(open_id, name, videos=3) for open_id, name in USERS.items()],
    )


def _print_settings(fake: FakeTikTok, url: str, own_redirect_uris: list[str]) -> None:
    from tiktok_oauth_session.testing.app import REDIRECT_URIS

    redirect_uris = [*own_redirect_uris, DEFAULT_REDIRECT_URI]
    insecure = "" if is_loopback_host(urlsplit(url).hostname or "") else ", insecure=True"
    settings = {
        BASE_URL: url,
        credentials.CLIENT_KEY: fake.client_key,
        credentials.CLIENT_SECRET: fake.client_secret,
        credentials.REDIRECT_URI: redirect_uris[0],
    }
    print("# A fake TikTok. Its key and secret are made up.")
    print(f'# In Python: platform={constant()}.at("{url}"{insecure})')
    print(f"# Redirect URIs: {plain(' '.join((*REDIRECT_URIS, *own_redirect_uris)), cap=LINE_CAP)}")
    print(f"# Users: {', '.join(f'{user.open_id} ({user.display_name})' for user in fake.users)}")
    print(f"# TikTok Shop's service_id: {fake.service_id}")
    for name, value in settings.items():
        print(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()
