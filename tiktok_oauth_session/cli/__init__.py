"""The command ``tiktok-oauth``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tiktok_oauth_session.errors import TikTokOAuthError

#: Exit codes, as the documentation lists them.
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    command = argparse.ArgumentParser(
        prog="tiktok-oauth", description="Log in to TikTok from a terminal and stay logged in."
    )
    subcommands = command.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = subcommands.add_parser(
        "demo",
        help="run the whole life of a connection against a fake TikTok on this machine",
        description="Run the whole life of a connection, on the current and on the legacy surface, against a fake "
        "TikTok on this machine, and print what is sent and received. Secrets are masked.",
    )
    demo.add_argument(
        "--browser",
        action="store_true",
        help="open the fake's consent page in your browser instead of answering it for you",
    )
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; the process's own, if None.

    Returns:
        The exit code.
    """
    arguments = parser().parse_args(argv)
    try:
        if arguments.command == "demo":
            from tiktok_oauth_session.cli.demo import demo

            demo(browser=arguments.browser)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except TikTokOAuthError as error:
        print(f"tiktok-oauth: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK
