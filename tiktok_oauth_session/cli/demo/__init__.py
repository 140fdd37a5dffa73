"""``demo``: the whole life of a connection, against a fake TikTok."""

from __future__ import annotations

import argparse
from typing import Any

from tiktok_oauth_session.cli.exits import EXIT_OK


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "demo",
        help="run the whole life of a connection against a fake TikTok on this machine",
        description="Run the whole life of a connection against a fake TikTok on this machine, and print "
        "what is asked and what becomes of it. Of secrets only the beginning is shown.",
    )
    parser.add_argument(
        "--browser",
        action="store_true",
        help="open the fake's consent page in your browser instead of answering it for you",
    )
    parser.add_argument("--v1", action="store_true", help="on the legacy surface")
    parser.add_argument(
        "--verbose", action="store_true", help="print every parameter that is sent and received, too"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    # Slow to import.
    from tiktok_oauth_session.cli.demo.life import demo
    from tiktok_oauth_session.platforms import BY_NAME

    platform = BY_NAME["login-kit-v1" if arguments.v1 else "login-kit"]
    demo(platform, browser=arguments.browser, verbose=arguments.verbose)
    return EXIT_OK
