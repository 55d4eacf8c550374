"""What load the next window will bring, judged by the last few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

FEWEST = 6
"""Spans needed before a trend is believed at all."""
DAMPING = 0.8
"""Each span further on continues the trend this much less: Gardner and McKenzie's damped trend (1985)."""
NOISE = 2.0
"""Standard errors that a slope must stand out by; what is below is taken for chance."""
STEP = 5.0
"""Standard errors that a new level must stand out by, and `STEP_FACTOR` times the old one, or that part of it."""
STEP_FACTOR = 1.5


class Step(NamedTuple):
    """The last `spans` of a series are at another level than those before, by so many standard `errors`."""

    spans: int
    errors: float


def step_in(series: Sequence[float]) -> Step | None:
    """Where a series took a step that its noise does not explain, and stayed there; None if it did not.

    A trend cannot follow a step: what has just begun hardly weighs beside all that was before. Of all places the one is
    taken at which both parts differ most in their own noise (Student's t, pooled). A steady rise is no step: where a
    line explains the series as well, there is none.
    """
    steps = [step for spans in range(1, len(series) - FEWEST // 2 + 1) if (step := _step_at(series, spans))]
    return max(steps, key=lambda step: step.errors, default=None)


def _step_at(series: Sequence[float], spans: int) -> Step | None:
    before, after = series[:-spans], series[-spans:]
    was, now = (sum(part) / len(part) for part in (before, after))
    if max(was, now) < STEP_FACTOR * min(was, now) or len(series) < FEWEST:
        return None
    residue = sum((value - was) ** 2 for value in before) + sum((value - now) ** 2 for value in after)
    if residue > _line(series).residue / 2:
        return None
    error = math.sqrt(residue / (len(series) - 2) * (1 / len(before) + 1 / len(after)))
    errors = abs(now - was) / error if error else math.inf
    return Step(spans, errors) if errors > STEP else None


def forecast(series: Sequence[float], level: float, spans: int) -> float:
    """Mean of a series over its next `spans`, from its present `level` and its damped linear trend; never negative.

    The slope is that of ordinary least squares, brought nearer to zero by `NOISE` of its standard errors: arrivals are
    noisy, and a trend seen in noise would make the policy move for nothing.
    """
    slope = significant_slope(series)
    steps = [sum(DAMPING**power for power in range(1, ahead + 1)) for ahead in range(1, spans + 1)]
    return max(0.0, level + slope * sum(steps) / max(1, spans))


def significant_slope(series: Sequence[float]) -> float:
    """Growth a span that the noise of the series does not explain; 0.0 where there is none."""
    count = len(series)
    if count < FEWEST:
        return 0.0
    slope, spread, residue = _line(series)
    error = math.sqrt(residue / (count - 2) / spread)
    return math.copysign(max(0.0, abs(slope) - NOISE * error), slope)


class _Line(NamedTuple):
    """By ordinary least squares; `spread` is that of the abscissae, `residue` what the line leaves of the values."""

    slope: float
    spread: float
    residue: float


def _line(series: Sequence[float]) -> _Line:
    count = len(series)
    middle, mean = (count - 1) / 2, sum(series) / count
    spread = sum((at - middle) ** 2 for at in range(count))
    slope = sum((at - middle) * (value - mean) for at, value in enumerate(series)) / spread
    residue = sum((value - mean - slope * (at - middle)) ** 2 for at, value in enumerate(series))
    return _Line(slope, spread, residue)
