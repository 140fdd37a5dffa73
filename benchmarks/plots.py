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
    "font.size": 8,
    "font.family": "sans-serif",
}
_OURS, _OTHERS, _GOAL = "#0b7285", "#adb5bd", "#c92a2a"
#: Inches.
WIDTH, BAR = 7.5, 0.24


def draw(measured: Measured, page: Path) -> str:
    """Draw a measure; return the line of Markdown that shows it, if there is anything to draw."""
    bars = [row for row in measured.rows if row.ratio is not None]
    with mpl.rc_context(_STYLE):
        if measured.series:
            figure = _lines(measured)
        elif bars:
            figure = _bars(bars)
        else:
            return ""
        path = page.with_name(page.stem) / f"{measured.name.replace('_', '-')}.svg"
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
    return f"![{measured.title}, drawn]({path.parent.name}/{path.name})"


def _bars(rows: list[Row]) -> Figure:
    figure = Figure(figsize=(WIDTH, BAR * len(rows) + 0.8), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        ratio = row.ratio or 0.0
        low, high = row.spread or (ratio, ratio)
        errors: Any = [[ratio - low], [high - ratio]]
        color = _OURS if row.contestant.startswith("tiktok-oauth") else _OTHERS
        axes.barh(place, ratio, color=color, xerr=errors, error_kw={"linewidth": 0.8}, height=0.7)
        if row.goal is not None:
            axes.plot([row.goal] * 2, [place - 0.4, place + 0.4], color=_GOAL, linewidth=1.5)
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_yticks(range(len(rows)), [_label(row) for row in reversed(rows)])
    figure.supxlabel(f"ratio, quartiles; red: goal; dark: {OURS}", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _label(row: Row) -> str:
    # The color says which bars are ours.
    who = row.contestant.removeprefix(OURS).removeprefix(", ")
    return f"{row.case}: {who} / {row.beside}" if who else f"{row.case} / {row.beside}"


def _lines(measured: Measured) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.9 * len(measured.series)), layout="constrained")
    every = figure.subplots(len(measured.series), sharex=True, squeeze=False)[:, 0]
    for axes, (name, points) in zip(every, measured.series.items(), strict=True):
        axes.plot(*zip(*points, strict=True), color=_OURS, linewidth=1.2)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    every[-1].set_xlabel("minutes")
    return figure
