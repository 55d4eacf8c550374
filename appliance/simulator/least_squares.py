"""Non-negative least squares for a handful of unknowns: every set of them that may be above zero is tried."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np


def nonnegative_least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """The x ≥ 0 with the least ‖rows · x − values‖. The optimum is free in those unknowns that it does not bind, so
    that the best feasible of all free optima is it."""
    matrix, wanted = np.asarray(rows, dtype=float), np.asarray(values, dtype=float)
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1.0
    matrix = matrix / scale
    unknowns = matrix.shape[1]
    best, least = np.zeros(unknowns), float(wanted @ wanted)
    for size in range(1, unknowns + 1):
        for free in combinations(range(unknowns), size):
            found, *_ = np.linalg.lstsq(matrix[:, free], wanted, rcond=None)
            error = float(np.sum((matrix[:, free] @ found - wanted) ** 2))
            if (found >= 0).all() and error < least:
                best, least = np.zeros(unknowns), error
                best[list(free)] = found
    return (best / scale).tolist()
