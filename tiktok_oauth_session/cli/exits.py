"""What the command's exit code says, and what ends the command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tiktok_oauth_session._oauth import error_codes
from tiktok_oauth_session._plain_text import plain

if TYPE_CHECKING:
    from tiktok_oauth_session.errors import TikTokOAuthError

#: Characters of the line that an error is told in at most.
_LINE_CAP = 4_000

EXIT_OK = 0
EXIT_FAILED = error_codes.EXIT_FAILED
EXIT_USAGE = 2
EXIT_LOGIN = error_codes.EXIT_LOGIN
EXIT_TEMPORARY = error_codes.EXIT_TEMPORARY
EXIT_STORE = 5
EXIT_HUNG_UP = 129
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

#: What each exit code says; the documentation prints this table.
MEANINGS = {
    EXIT_OK: "It worked.",
    EXIT_FAILED: "TikTok or the user said no, or a check failed.",
    EXIT_USAGE: (
        "The command was not understood, or something it needs is missing: credentials, an option, an extra."
    ),
    EXIT_LOGIN: "A login is needed: nobody is logged in, or the connection or one of its scopes is gone.",
    EXIT_TEMPORARY: "TikTok could not be reached or is busy. Trying again later may help.",
    EXIT_STORE: "The place where tokens are kept failed.",
    EXIT_HUNG_UP: "The terminal was closed (SIGHUP).",
    EXIT_INTERRUPTED: "Interrupted with Ctrl-C.",
    EXIT_TERMINATED: "Told to end (SIGTERM).",
}

#: The same in two words, for the help.
SUMMARIES = {
    EXIT_OK: "worked",
    EXIT_FAILED: "refused or failed",
    EXIT_USAGE: "not understood or not set up",
    EXIT_LOGIN: "login needed",
    EXIT_TEMPORARY: "try again later",
    EXIT_STORE: "store failed",
    EXIT_HUNG_UP: "hung up",
    EXIT_INTERRUPTED: "interrupted",
    EXIT_TERMINATED: "terminated",
}


class Stop(Exception):
    """Ends the command with one line on stderr.

    Args:
        message: What happened and what to do, without a secret.
        code: The exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def extra_missing(extra: str, sentence: str) -> Stop:
    """Return what to say when something cannot be done without an extra of this package.

    Args:
        extra: The extra's name.
        sentence: What needs what.
    """
    package = f"{sys.executable} -m pip install 'tiktok-oauth-session[{extra}]'"
    return Stop(f"{sentence} Run: {package}", EXIT_USAGE)


def verdict(error: Exception, *, login: str = "tiktok-oauth login") -> tuple[int, str] | None:
    """Return the exit code and the line for an error; None if it is a bug of ours, to be seen as one."""
    if isinstance(error, Stop):
        return error.code, _line(error)
    # Here, because importing them is most of what a command costs that has nothing to complain about.
    from tiktok_oauth_session.errors import TikTokOAuthError

    if isinstance(error, TikTokOAuthError):
        return _verdict_on(error, login)
    requests = sys.modules.get("requests")
    if requests is not None and isinstance(error, requests.RequestException):
        return EXIT_TEMPORARY, f"TikTok could not be reached ({type(error).__name__}). Check the network."
    if isinstance(error, OSError):
        # Such as a disk that is full, or a stdout that is closed.
        where = f" {error.filename}" if error.filename else ""
        return EXIT_FAILED, f"Reading or writing{where} failed: {error.strerror or type(error).__name__}."
    return None


def _verdict_on(error: TikTokOAuthError, login: str) -> tuple[int, str]:
    from tiktok_oauth_session.errors import ReauthorizationRequired, StoreError, TokenNotSaved

    if isinstance(error, TokenNotSaved):
        why = f"{_line(error.__cause__)} " if error.__cause__ else ""
        return EXIT_STORE, f"{why}TikTok's new token could not be saved and is lost: log in again."
    if isinstance(error, StoreError):
        return EXIT_STORE, _line(error)
    if isinstance(error, ReauthorizationRequired):
        return EXIT_LOGIN, f"{_line(error)} Run: {login}.{see(error)}"
    code = error_codes.exit_code_for(error.error, error.status_code)
    # The same code of TikTok's, which by itself means a login: but this one says when it is over.
    is_pause = code == EXIT_LOGIN and error.retry_after is not None
    return EXIT_TEMPORARY if is_pause else code, f"{_line(error)}{see(error)}"


def see(error: TikTokOAuthError) -> str:
    """Return where an error is explained, to stand behind what is said of it; an empty string if nowhere."""
    page = error_codes.page_about(error.error)
    return f" See {page}" if page else ""


def _line(error: BaseException) -> str:
    # One line, whatever it quotes; an open_id may have a line break in it.
    return plain(" ".join(str(error).split()), _LINE_CAP)
