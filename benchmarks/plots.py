"""A plot of each measure, as an SVG file beside the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.results import OURS, Measured, Row

# Text as text, and the same file of the same figures.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
    "font.size": 9,
    "font.family": "sans-serif",
}
_OURS, _OTHERS, _GOAL = "#0b7285", "#adb5bd", "#c92a2a"
#: Inches.
WIDTH, BAR = 7.5, 0.24


def draw(measured: Measured, page: Path) -> str:
    """Draw a measure; return the line of Markdown that shows it, if there is anything to draw."""
    bars = [row for row in measured.rows if row.ratio is not None or row.contestant == row.beside]
    with mpl.rc_context(_STYLE):
        if measured.series:
            figure = _lines(measured)
        elif bars:
            figure = _bars(bars)
        else:
            return ""
        path = page.with_name(page.stem) / f"{measured.name.replace('_', '-')}.svg"
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    return f"![{measured.title}, drawn]({path.parent.name}/{path.name})"


def _bars(rows: list[Row]) -> Figure:
    figure = Figure(figsize=(WIDTH, BAR * len(rows) + 0.8))
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        assert row.ratio is not None  # noqa: S101 - for mypy: those without are left out
        low, high = row.spread or (row.ratio, row.ratio)
        errors: Any = [[row.ratio - low], [high - row.ratio]]
        color = _OURS if row.contestant.startswith(OURS) else _OTHERS
        axes.barh(place, row.ratio, color=color, xerr=errors, error_kw={"linewidth": 0.8}, height=0.7)
        if row.goal is not None:
            axes.plot([row.goal] * 2, [place - 0.4, place + 0.4], color=_GOAL, linewidth=1.5)
    axes.axvline(1, color="black", linewidth=0.6)
    names = [f"{row.case}: {row.contestant} / {row.beside}" for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), names)
    axes.set_xlabel("ratio of the medians' rounds, quartiles; red: goal")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _lines(measured: Measured) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.7 * len(measured.series)))
    every = figure.subplots(len(measured.series), sharex=True, squeeze=False)[:, 0]
    for axes, (name, points) in zip(every, measured.series.items(), strict=True):
        axes.plot(*zip(*points, strict=True), color=_OURS, linewidth=1.2)
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    every[-1].set_xlabel("minutes")
    return figure
