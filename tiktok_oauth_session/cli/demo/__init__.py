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
        description="Run the whole life of a connection, on the current and on the legacy surface, against a "
        "fake TikTok on this machine, and print what is sent and received. Secrets are masked.",
    )
    parser.add_argument(
        "--browser",
        action="store_true",
        help="open the fake's consent page in your browser instead of answering it for you",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    # Slow to import.
    from tiktok_oauth_session.cli.demo.life import demo

    demo(browser=arguments.browser)
    return EXIT_OK
