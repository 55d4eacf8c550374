"""What load the next window will bring, judged by the last few."""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST = 6
"""Spans needed before a trend is believed at all."""
DAMPING = 0.8
"""Each span further on continues the trend this much less: Gardner and McKenzie's damped trend (1985)."""
NOISE = 2.0
"""Standard errors that a slope must stand out by; what is below is taken for chance."""


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
    middle, mean = (count - 1) / 2, sum(series) / count
    spread = sum((at - middle) ** 2 for at in range(count))
    slope = sum((at - middle) * (value - mean) for at, value in enumerate(series)) / spread
    residue = sum((value - mean - slope * (at - middle)) ** 2 for at, value in enumerate(series))
    error = math.sqrt(residue / (count - 2) / spread)
    return math.copysign(max(0.0, abs(slope) - NOISE * error), slope)
