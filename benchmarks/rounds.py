"""A run of the benchmarks: how long, how it shows its progress, and rounds in turns."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import Measured

#: Calls on the stack below what is measured, another number in each round. Python keeps its frames in chunks,
#: and whoever comes and goes across the end of one pays for it, by chance.
MOST_DEPTH = 64


@dataclasses.dataclass
class Run:
    """What the measures of one run share.

    Args:
        is_short: Only see that everything works.
        is_full: Take the time for the largest numbers as well.
        folder: For files.
        stack: Closed when the run ends.
        expect: Told how many steps come.
        step: Told of each.
    """

    is_short: bool
    is_full: bool
    folder: Path
    stack: contextlib.ExitStack
    expect: Callable[[int], object] = lambda _: None
    step: Callable[[], object] = lambda: None
    #: What the current measure has to say beside its rows.
    notes: list[str] = dataclasses.field(default_factory=list)
    series: dict[str, list[tuple[float, float]]] = dataclasses.field(default_factory=dict)
    #: What measures make for each other.
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: What was measured before, by name.
    measured: dict[str, Measured] = dataclasses.field(default_factory=dict)

    def of(self, usual: int, short: int) -> int:
        """Return how many of something there are in this run."""
        return short if self.is_short else usual

    def in_turns(self, contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
        """Let each contestant give a figure in each round, after one that does not count.

        In an order that differs from round to round: nobody always follows the same one.
        """
        self.expect(rounds * len(contestants))
        figures: dict[str, list[float]] = {name: [] for name in contestants}
        for each in contestants.values():
            each()
        gc.collect()
        for _ in range(rounds):
            depth = random.randrange(MOST_DEPTH)
            for name in random.sample(list(contestants), len(contestants)):
                figures[name].append(_at_depth(depth, contestants[name]))
                self.step()
        return figures


def _at_depth(depth: int, measure: Callable[[], float]) -> float:
    return _at_depth(depth - 1, measure) if depth else measure()


def cpu_us(work: Callable[[], object], calls: int) -> Callable[[], float]:
    """Return what measures the processor's time of one call, in microseconds."""
    return lambda: _mean_us(time.process_time, work, calls)


def wall_us(work: Callable[[], object], calls: int) -> Callable[[], float]:
    """Return what measures the time that one call takes, in microseconds."""
    return lambda: _mean_us(time.perf_counter, work, calls)


def _mean_us(clock: Callable[[], float], work: Callable[[], object], calls: int) -> float:
    began = clock()
    for _ in range(calls):
        work()
    return (clock() - began) / calls * 1e6
