"""Whether what was taken at rest, again and again, grows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WARM_SAMPLES = 2
"""The first ones do not count: imports, caches and pools fill up once."""
FEWEST_SAMPLES = 4
"""Of those that count; fewer say nothing."""


class Growth(NamedTuple):
    """`fitted`: how much more at the end than at the start, by a straight line through all that counts."""

    first: float
    last: float
    fitted: float

    def is_more_than(self, amount: float, part: float = 0.0) -> bool:
        """More than `amount` and more than that part of the first, by the line and by the samples themselves."""
        bound = max(amount, part * self.first)
        return min(self.fitted, self.last - self.first) > bound


def growth(at: Sequence[float], values: Sequence[float]) -> Growth | None:
    """`values` as they were `at` so many requests; None where there are too few."""
    at, values = at[WARM_SAMPLES:], values[WARM_SAMPLES:]
    if len(values) < FEWEST_SAMPLES:
        return None
    slope, _ = np.polyfit(at, values, 1)
    return Growth(values[0], values[-1], float(slope) * (at[-1] - at[0]))
