"""``fake``: a fake TikTok on this machine, for tests in any language."""

from __future__ import annotations

import argparse
import threading
from typing import Any

from tiktok_oauth_session.cli.exits import EXIT_OK, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.base_url import BASE_URL
from tiktok_oauth_session.cli.terminal.output import tell
from tiktok_oauth_session.cli.terminal.signals import WAKE_S

DEFAULT_PORT = 9400


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "fake",
        help="serve a fake TikTok on this machine",
        description="Serve a fake TikTok on 127.0.0.1 until Ctrl-C. What to set in the environment is "
        "printed first. Tests steer it by POST to /_control/advance, fail, heal, reset, scan "
        "and confirm, and read GET /_control/requests and warnings; GET /_control/ lists "
        "everything. Each of these requests needs the header FakeTikTok-Control: 1.",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        metavar="NUMBER",
        help=f"the port; 0 takes a free one (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--redirect-uri",
        action="append",
        default=[],
        metavar="URI",
        help="register this redirect URI, too; may be repeated",
    )
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from tiktok_oauth_session.testing import FakeTikTok
    from tiktok_oauth_session.testing.app import REDIRECT_URIS
    from tiktok_oauth_session.testing.control import serve_with_controls

    try:
        fake = FakeTikTok(
            redirect_uris=(*REDIRECT_URIS, *arguments.redirect_uri),
            access_lifetime=arguments.access_lifetime,
            rotation=arguments.rotation,
        )
        server = serve_with_controls(fake, arguments.port)
    except (ValueError, OverflowError) as error:
        raise Stop(f"The fake cannot be set up: {error}.", EXIT_USAGE) from error
    except OSError as error:
        raise Stop(f"Port {arguments.port} cannot be had: {error.strerror or error}.", EXIT_USAGE) from error
    with server:
        print("# A fake TikTok. Its key and secret are made up, and the same everywhere.")
        print(f'# In Python: platform=LOGIN_KIT.at("{server.url}")')
        print(f"export {BASE_URL}={server.url}")
        print(f"export {credentials.CLIENT_KEY}={fake.client_key}")
        print(f"export {credentials.CLIENT_SECRET}={fake.client_secret}", flush=True)
        tell("Ctrl-C ends it.")
        while not threading.Event().wait(WAKE_S):
            pass
    return EXIT_OK
