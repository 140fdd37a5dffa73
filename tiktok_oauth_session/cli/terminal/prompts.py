"""Questions to the person at the terminal."""

from __future__ import annotations

import os
import sys


def somebody_is_there() -> bool:
    """Tell whether there is a terminal, and so perhaps a person to ask."""
    if os.name == "nt":
        return sys.stdin.isatty()
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def ask(question: str) -> str:
    """Return what the user answers; empty after Ctrl-D."""
    return _read_line(question).strip()


def ask_for_secret(question: str) -> str:
    """Return what the user answers without being seen; empty after Ctrl-D."""
    import getpass

    try:
        return getpass.getpass(question).strip()
    except EOFError:
        return ""


def confirm(question: str) -> bool:
    """Ask the user a question; Enter means yes, Ctrl-D no. False if there is nobody to ask."""
    if not somebody_is_there():
        return False
    answer = _read_line(f"{question} [Y/n] ")
    return bool(answer) and answer.strip().lower() in ("", "y", "yes")


def _read_line(question: str) -> str:
    """Return the user's answer with its newline; nothing at all after Ctrl-D."""
    if os.name == "nt":
        print(question, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline()
    # The terminal, not stdin and stdout: those may be part of a pipe.
    with open("/dev/tty", "r+b", buffering=0) as terminal:  # noqa: PTH123 - unbuffered, both ways
        terminal.write(question.encode())
        answer = b""
        while not answer.endswith(b"\n") and (more := terminal.read(1024)):
            answer += more
        if not answer:
            # The cursor still stands behind the question.
            terminal.write(b"\n")
    return answer.decode(errors="replace")
