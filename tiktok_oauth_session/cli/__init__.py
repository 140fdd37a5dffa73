"""The command ``tiktok-oauth``.

Each subcommand is in a module of its name; what several of them need is in `exits` (exit codes), `settings`
(credentials, redirect URI, surface), `stores` (``--store``, ``--account``), `sessions` and `terminal`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, SUMMARIES, Stop, verdict
from tiktok_oauth_session.cli.settings import surface
from tiktok_oauth_session.cli.terminal.output import tell
from tiktok_oauth_session.cli.terminal.streams import discard, open_closed_streams

#: The subcommands, as the help lists them. Each is in a module of its name, which is imported when it is
#: named, so that ``token`` waits for no other.
COMMANDS = (
    "login",
    "status",
    "accounts",
    "switch",
    "token",
    "refresh",
    "revoke",
    "logout",
    "import",
    "api",
    "keep-alive",
    "doctor",
    "fake",
    "demo",
    "completion",
)
#: Those that talk to TikTok, or bind tokens to it.
_TALKING = ("login", "token", "refresh", "revoke", "import", "api", "keep-alive", "doctor")
#: Options that people expect from other tools, and that would show a secret to everybody.
_SECRET_OPTIONS = tuple(
    f"--{name}"
    for name in ("access-token", "client-key", "client-secret", "refresh-token", "secret", "token")
)
#: What shows nobody's secret: the key of an app that a fake makes up.
_MADE_UP = ("fake", "--client-key")


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: object) -> None:
        # No abbreviations: a script that uses one would break with the next option.
        super().__init__(**{"allow_abbrev": False, **options})  # type: ignore[arg-type]  # the parent's own options

    def error(self, message: str) -> NoReturn:
        raise Stop(f"{message} (see {self.prog} --help)", EXIT_USAGE)

    def print_help(self, file: Any = None) -> None:
        # Not the parent's, which keeps to itself that it could not be written.
        print(self.format_help(), end="", file=file, flush=True)


def parser(commands: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the command's parser.

    Args:
        commands: The subcommands that may be used.
    """
    codes = ", ".join(f"{code} {name}" for code, name in SUMMARIES.items())
    command = _Parser(
        prog="tiktok-oauth",
        usage="tiktok-oauth COMMAND [OPTION ...]",
        description="Log in to TikTok from a terminal and stay logged in.",
        epilog=f"Exit codes: {codes}.",
    )
    command.add_argument("--version", action="store_true", help="print the version")
    subcommands = command.add_subparsers(dest="command", metavar="COMMAND", prog=command.prog)
    for name in commands:
        module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
        module.add_parser(subcommands)
        if name in _TALKING:
            subcommands.choices[name].add_argument(
                "--platform",
                metavar="NAME",
                help="which surface of TikTok, such as business or shop (default: "
                f"${surface.PLATFORM}, else {surface.DEFAULT_PLATFORM})",
            )
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; the process's own, if None.

    Returns:
        The exit code.
    """
    open_closed_streams()
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        tell("")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is left of it must not be flushed at exit.
        discard(sys.stdout)
        return EXIT_FAILED
    except Exception as error:
        known = verdict(error, login=surface.login_command())
        if known is None:
            raise
        code, line = known
        tell(f"tiktok-oauth: {line}")
        return _with_output(code)
    return code


def _with_output(code: int) -> int:
    """Return an exit code, after what was printed before an error was written or given up."""
    try:
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)
    return code


@without_variables
def _run(argv: list[str]) -> int:
    for argument in argv:
        option = argument.partition("=")[0]
        if option in _SECRET_OPTIONS and (*argv[:1], option) != _MADE_UP:
            raise Stop(
                "Secrets are not taken from the command line, which everybody on this machine can read and "
                "your shell keeps: put them into the environment or a file, as tiktok-oauth doctor says.",
                EXIT_USAGE,
            )
    command = parser(argv[:1] if argv and argv[0] in COMMANDS else COMMANDS)
    # For `completion`, which has to know the others.
    command.set_defaults(whole_parser=parser)
    arguments, unknown = command.parse_known_args(argv)
    if unknown:
        which = " ".join(filter(None, (command.prog, arguments.command)))
        raise Stop(f"unrecognized arguments: {' '.join(unknown)} (see {which} --help)", EXIT_USAGE)
    if arguments.version:
        from importlib.metadata import version

        print(f"tiktok-oauth {version('tiktok-oauth-session')}")
        return 0
    if arguments.command is None:
        command.print_help()
        return EXIT_USAGE
    if arguments.command in _TALKING:
        if arguments.platform is not None:
            surface.choose(arguments.platform)
        surface.tell_where()
    return int(arguments.run(arguments))
