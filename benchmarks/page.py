"""What ``--write`` writes: the tables and plots of docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.machine import machine, versions
from benchmarks.results import HEADS, Measured

PAGE = Path(__file__).parents[1] / "docs/performance.md"


def write(results: Iterable[Measured], page: Path = PAGE) -> None:
    """Put results in the place of earlier ones of the same measures.

    A place is between ``<!-- measured: NAME -->`` and ``<!-- end of NAME -->``.

    Raises:
        ValueError: The page has no place for one of them.
    """
    from benchmarks import plots

    text = page.read_text("utf-8")
    text = _with(text, "machine", _machine())
    for measured in results:
        text = _with(text, measured.name, _section(measured, plots.draw(measured, page)))
    page.write_text(text, "utf-8")


def _with(text: str, name: str, content: str) -> str:
    place = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    text, found = place.subn(lambda marks: f"{marks[1]}\n{content}\n\n{marks[2]}", text)
    if found != 1:
        raise ValueError(f"The page has no place for {name}.")
    return text


def _machine() -> str:
    of = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{machine()}. {of}."


def _section(measured: Measured, plot: str) -> str:
    when = f"Measured on {measured.date}, at a load of {measured.load:.1f} when it began."
    if measured.is_short:
        when += " This was a short run: it says that everything works, and little of how fast."
    parts = [table(HEADS, [row.cells() for row in measured.rows]), plot, " ".join([*measured.notes, when])]
    return "\n\n".join(filter(None, parts))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
