"""Numbers as options take them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def at_least(lowest: float) -> Callable[[str], float]:
    """Return what reads a number that is not below another one."""
    return _reader(lambda number: number >= lowest, f"no number from {lowest:g} on")


def above(limit: float) -> Callable[[str], float]:
    """Return what reads a number that is above another one."""
    # Not by a hair: what is divided by it has to be finite.
    return _reader(lambda number: number > limit and math.isfinite(1 / number), f"no number above {limit:g}")


def whole(lowest: int) -> Callable[[str], int]:
    """Return what reads a whole number that is not below another one."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {lowest} on")
        return int(text)

    return read


def _reader(fits: Callable[[float], bool], complaint: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or not fits(number):
            raise argparse.ArgumentTypeError(f"{text!r} is {complaint}")
        return number

    return read
