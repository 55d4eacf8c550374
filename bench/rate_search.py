"""The highest rate at which enough requests keep the targets: which rate to try next. Pure; whoever asks measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FLOOR = 0.01
"""Requests a second below which no rate is tried."""


class RateSearch(NamedTuple):
    """First a bracket, doubling or halving from `start`; then its middle, until it is narrower than `resolution`, a
    part of its lower end."""

    start: float
    resolution: float = 0.04

    def next_rate(self, tried: Mapping[float, bool]) -> float | None:
        """`tried`: rate → whether enough requests kept the targets. None when the highest rate is known."""
        best, worst = highest_good(tried), lowest_bad(tried)
        if best is None and worst is None:
            return rounded(self.start)
        if worst is None:
            return rounded(max(tried) * 2)
        if best is None:
            return rounded(worst / 2) if worst / 2 >= FLOOR else None
        middle = rounded((best + worst) / 2)
        is_narrow = worst - best <= self.resolution * best
        return None if is_narrow or middle in tried else middle


def lowest_bad(tried: Mapping[float, bool]) -> float | None:
    return min((rate for rate, is_good in tried.items() if not is_good), default=None)


def highest_good(tried: Mapping[float, bool]) -> float | None:
    """Below every bad one: a good run beyond a bad one was luck."""
    worst = lowest_bad(tried)
    good = (rate for rate, is_good in tried.items() if is_good and (worst is None or rate < worst))
    return max(good, default=None)


def rounded(rate: float) -> float:
    """Three digits, so that a search that is taken up again asks for the very rates it has asked for before."""
    return float(f"{rate:.3g}")
