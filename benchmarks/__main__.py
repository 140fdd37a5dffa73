"""``python -m benchmarks``: measure, and tell."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import page
from benchmarks.machine import machine, versions
from benchmarks.results import HEADS, Measured
from benchmarks.rounds import Run

#: In this order, which is the page's, too: the last one computes with what others found.
MEASURES = ("calls", "expiry", "sessions", "start", "stores", "keep_alive", "memory", "plan")
_STYLES = {"met": "green", "missed": "red"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, and show the results."""
    options = _options(arguments)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns, console=console) as bar,
        contextlib.ExitStack() as stack,
    ):
        run = Run(options.short, options.full, Path(folder), stack)
        for name in options.measures or MEASURES:
            _measure(run, name, bar)
            # Each at once: a run that is cut short was not for nothing.
            if options.json:
                options.json.write_text(json.dumps(_as_json(run), indent=1) + "\n", "utf-8")
            if options.write:
                page.write([run.measured[name]])
    for measured in run.measured.values():
        show(measured)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure, beside what others do.")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"any of {', '.join(MEASURES)}")
    parser.add_argument("--short", action="store_true", help="only see that everything works")
    parser.add_argument("--full", action="store_true", help="with the largest numbers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--write", action="store_true", help="write them into docs/performance.md")
    options = parser.parse_args(arguments)
    if "plan" in options.measures:
        options.measures = ["keep_alive", *(each for each in options.measures if each != "keep_alive")]
    if unknown := sorted({*options.measures} - {*MEASURES}):
        parser.error(f"there is no measure {unknown[0]!r}")
    return options


def _measure(run: Run, name: str, bar: Progress) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    task = bar.add_task(name, total=0)

    def expect(steps: int) -> None:
        bar.update(task, total=(bar.tasks[task].total or 0) + steps)

    run.expect, run.step = expect, lambda: bar.advance(task)
    run.notes, run.series = [], {}
    load, date = os.getloadavg()[0], time.strftime("%d %B %Y", time.gmtime())
    rows = module.measure(run)
    measured = Measured(name, module.TITLE, date, load, run.is_short, rows, run.notes, run.series)
    run.measured[name] = measured


def show(measured: Measured) -> None:
    """Print the table of a measure."""
    table = Table(title=measured.title, caption=" ".join(measured.notes), caption_justify="left")
    for head in HEADS:
        table.add_column(head, justify="right" if head == "figure" else "left")
    before = ""
    for row in measured.rows:
        case, *others = row.cells()
        if case != before:
            table.add_section()
        table.add_row("" if case == before else case, *others, style=_STYLES.get(row.verdict))
        before = case
    Console().print(table)


def _as_json(run: Run) -> dict[str, object]:
    return {
        "at": time.time(),
        "machine": machine(),
        "versions": versions(),
        "measures": [measured.as_json() for measured in run.measured.values()],
    }


if __name__ == "__main__":
    # Told to end, it stops what it has started first.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    main()
