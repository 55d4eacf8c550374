"""Percentiles of weighted values, by nearest rank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple


class Percentiles(NamedTuple):
    """Milliseconds."""

    p50: float
    p95: float
    p99: float


class Weighted(NamedTuple):
    value: float
    weight: float = 1.0


def percentiles(values: Iterable[Weighted]) -> Percentiles | None:
    """The least values that at least 50, 95 and 99 % of the weight do not exceed; None of nothing."""
    ordered = sorted(weighted for weighted in values if weighted.weight > 0)
    if not ordered:
        return None
    reached = list(accumulate(weighted.weight for weighted in ordered))
    return Percentiles(*(_at(ordered, reached, share) for share in (0.5, 0.95, 0.99)))


def _at(ordered: Sequence[Weighted], reached: Sequence[float], share: float) -> float:
    wanted = share * reached[-1] * (1 - 1e-12)
    return next(weighted.value for weighted, sum_so_far in zip(ordered, reached, strict=True) if sum_so_far >= wanted)
