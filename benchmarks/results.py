"""What a measure says: rows with a figure, what it is compared with, and the goal."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

OURS = "tiktok-oauth-session"


@dataclasses.dataclass(frozen=True)
class Row:
    """A figure of one contestant.

    The goal is about the ratio where there is one, and about the figure else.
    """

    case: str
    contestant: str
    figure: float
    unit: str
    #: Whom the ratio is beside.
    beside: str = ""
    #: The median of the ratios of the rounds, and their quartiles.
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    goal: float | None = None
    #: Whether the goal is the least that is good, and not the most.
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty if there is none."""
        if self.goal is None:
            return ""
        reached = self.figure if self.ratio is None else self.ratio
        is_met = reached >= self.goal if self.at_least else reached <= self.goal
        return "met" if is_met else "missed"

    def cells(self) -> tuple[str, ...]:
        """Return the row of a table; see `HEADS`."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        if self.spread is not None:
            ratio += f" ({self.spread[0]:.2f} to {self.spread[1]:.2f})"
        sign = "≥" if self.at_least else "≤"
        goal = "" if self.goal is None else f"{sign} {self.goal:g}"
        figure = f"{brief(self.figure)} {self.unit}"
        return self.case, self.contestant, figure, self.beside, ratio, goal, self.verdict


HEADS = ("what", "who", "figure", "beside", "ratio (quartiles)", "goal", "verdict")


@dataclasses.dataclass
class Measured:
    """All that one measure says, and when it was taken."""

    name: str
    title: str
    date: str
    load: float
    is_short: bool
    rows: list[Row]
    #: Sentences on how it was measured, and what was not.
    notes: list[str]
    #: Lines of a plot over time, by their names: points.
    series: dict[str, list[tuple[float, float]]]

    def as_json(self) -> dict[str, Any]:
        """Return it in what JSON has."""
        rows = [{**dataclasses.asdict(row), "verdict": row.verdict} for row in self.rows]
        return {**dataclasses.asdict(self), "rows": rows}


def brief(figure: float) -> str:
    """Return a number with three digits that count, or all of an integer."""
    if figure == int(figure) or abs(figure) >= 100:  # noqa: PLR2004 - three digits
        return f"{figure:,.0f}"
    return f"{figure:.3g}"


def compared(
    case: str,
    unit: str,
    figures: Mapping[str, Sequence[float]],
    contestant: str,
    beside: str,
    goal: float | None = None,
) -> Row:
    """Return the row of a contestant beside another one, of the same rounds.

    Args:
        case: What was measured.
        unit: The figures' unit.
        figures: A figure of each round, by contestant.
        contestant: Whose row.
        beside: Beside whom.
        goal: The most that the ratio should be.
    """
    middle = statistics.median(figures[contestant])
    if contestant == beside:
        return Row(case, contestant, middle, unit)
    ratios = [one / other for one, other in zip(figures[contestant], figures[beside], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return Row(case, contestant, middle, unit, beside, ratio, (low, high), goal)
