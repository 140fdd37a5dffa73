"""What people read: tables, colours and a spinner where `rich` and a terminal are, plain text elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session.cli.terminal.streams import discard

#: Characters of a line, and of a table's cell, at most. Addresses to be opened in a browser are shorter.
_LINE_CAP = 4_000
_CELL_CAP = 1_000

#: How a word of a table is coloured.
_STYLES = {"ok": "green", "passed": "green", "log in again": "red", "damaged": "red", "failed": "red"}
_CAREFUL = "yellow"

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def show(*lines: str, style: str = "") -> None:
    """Print the command's result for people; no stranger's name in it is obeyed by a terminal.

    Args:
        *lines: The lines.
        style: How they look where there are colours, in `rich`'s words.
    """
    for line in lines:
        text = plain(line, _LINE_CAP)
        if style and is_fancy(sys.stdout):
            from rich.console import Console
            from rich.text import Text

            Console(soft_wrap=True).print(Text(text, style))
        else:
            print(text)


def tell(*lines: str) -> None:
    """Say something to the person at the terminal, out of the way of the command's result."""
    draw(*(plain(line, _LINE_CAP) for line in lines))


def draw(*lines: str) -> None:
    """Say what the terminal is to obey, such as colours, and so nothing that others wrote."""
    try:
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    except OSError:
        # Nobody reads it any more, and no token is lost for that.
        discard(sys.stderr)


def print_json(content: Any, *, stream: TextIO | None = None) -> None:
    """Print the command's result as JSON."""
    text, encoding = json.dumps(content, indent=2, ensure_ascii=False), (stream or sys.stdout).encoding
    # A name may hold half a character, or what a terminal obeys; and not every file can hold every letter.
    is_plain = text.replace("\n", "").isprintable()
    if not is_plain or text.encode(encoding, "ignore").decode(encoding) != text:
        text = json.dumps(content, indent=2)
    print(text, file=stream)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, judged: str | None = None) -> None:
    """Print a table, without the columns in which nothing is.

    Args:
        columns: The headings.
        rows: The lines.
        judged: The heading of the column whose words are good or bad, if there is one.
    """
    filled = [i for i, texts in enumerate(zip(*rows, strict=True)) if any(texts)]
    columns = [columns[i] for i in filled]
    rows = [[plain(row[i], _CELL_CAP) for i in filled] for row in rows]
    if is_fancy(sys.stdout):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            styles = [
                _STYLES.get(t, _CAREFUL) if name == judged else ""
                for name, t in zip(columns, row, strict=True)
            ]
            drawn.add_row(*(Text(t, style) for t, style in zip(row, styles, strict=True)))
        Console().print(drawn)
        return
    widths = [max(map(len, each)) for each in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show that something is waited for: a spinner, or just the words."""
    if not is_fancy(sys.stderr):
        tell(text)
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)):
        yield


def is_fancy(stream: TextIO) -> bool:
    """Tell whether a stream may be drawn on: a terminal, and `rich` is there."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    from importlib.util import find_spec

    return find_spec("rich") is not None


def in_words(seconds: float) -> str:
    """Return a duration in its two largest units: ``1 h 59 min``."""
    left = max(int(seconds), 0)
    words: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or words:
            words.append(f"{count} {unit}")
    return " ".join(word for word in words[:2] if not word.startswith("0 ")) or "0 s"


def moment(at: float | None, now: float) -> str:
    """Return when something expires, as a person would say it."""
    if at is None:
        return "unknown"
    return f"in {in_words(at - now)}" if at > now else f"{in_words(now - at)} ago"
