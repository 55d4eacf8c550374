"""A straight line through weighted points, by closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAST_SPREAD = 0.05
"""Standard deviation over mean of the abscissae below which a line's slope cannot be told from them."""


class Point(NamedTuple):
    u: float
    value: float
    weight: float


class Line(NamedTuple):
    """value = slope · u + level; neither is negative."""

    slope: float
    level: float

    def at(self, u: float) -> float:
        return self.slope * u + self.level


def proportional(points: Sequence[Point]) -> Line:
    """The line through the origin: all that can be said of points that have one abscissa."""
    weight = sum(point.weight * point.u**2 for point in points)
    slope = sum(point.weight * point.u * point.value for point in points) / weight if weight else 0.0
    return Line(max(0.0, slope), 0.0)


def level(points: Sequence[Point]) -> Line:
    """The weighted mean."""
    weight = sum(point.weight for point in points)
    return Line(0.0, max(0.0, sum(point.weight * point.value for point in points) / weight) if weight else 0.0)


def has_spread(points: Sequence[Point]) -> bool:
    """Whether the abscissae lie far enough apart to tell a slope."""
    weight = sum(point.weight for point in points)
    if not weight:
        return False
    mean = sum(point.weight * point.u for point in points) / weight
    variance = sum(point.weight * (point.u - mean) ** 2 for point in points) / weight
    return variance > (LEAST_SPREAD * mean) ** 2


def through(points: Sequence[Point]) -> Line:
    """Weighted least squares with slope ≥ 0 and level ≥ 0.

    With two unknowns the constrained optimum is the free one if it is allowed, else one of the two on the borders.
    """
    weight = sum(point.weight for point in points)
    mean_u = sum(point.weight * point.u for point in points) / weight
    mean = sum(point.weight * point.value for point in points) / weight
    spread = sum(point.weight * (point.u - mean_u) ** 2 for point in points)
    slope = sum(point.weight * (point.u - mean_u) * (point.value - mean) for point in points) / spread
    free = Line(slope, mean - slope * mean_u)
    if min(free) >= 0:
        return free
    return min(proportional(points), level(points), key=lambda line: squared_error(line, points))


def squared_error(line: Line, points: Sequence[Point]) -> float:
    return sum(point.weight * (line.at(point.u) - point.value) ** 2 for point in points)
