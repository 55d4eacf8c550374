"""One figure over the rate, a line for each system and split: an SVG written by hand, so that it needs no library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from html import escape
from itertools import groupby
from typing import NamedTuple

from bench.results import RunLine
from bench.summary import Percentiles, Summary

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 60
COLORS = ("#1b6ca8", "#c8442b", "#2e8b57", "#8a4fa3", "#b8860b", "#444444")
TICKS = 5


class Figure(StrEnum):
    """What can be drawn over the rate."""

    ATTAINMENT = "attainment"
    TTFT = "ttft"
    TPOT = "tpot"
    GAP = "gap"
    END_TO_END = "end-to-end"


class Curve(NamedTuple):
    """(rate, value) in the order of the rates."""

    name: str
    points: list[tuple[float, float]]


class Frame(NamedTuple):
    """Where a value stands in the picture; both axes begin at 0."""

    most_x: float
    most_y: float

    def x(self, value: float) -> float:
        return LEFT + value / self.most_x * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.most_y * (HEIGHT - TOP - BOTTOM)


def curves(lines: Sequence[RunLine], mix: str, figure: Figure, percentile: str) -> list[Curve]:
    """Of the runs of `mix` that count; where a rate was run more than once, the last."""
    drawn = [line for line in lines if line.configuration.mix == mix and line.summary.counts]
    named = sorted(((_name(line), line) for line in drawn if line.configuration.rate is not None), key=lambda it: it[0])
    found = []
    for name, group in groupby(named, key=lambda it: it[0]):
        values = {line.configuration.rate: _value(line.summary, figure, percentile) for _, line in group}
        points = [(rate, value) for rate, value in values.items() if rate is not None and value is not None]
        found.append(Curve(name, sorted(points)))
    return [curve for curve in found if curve.points]


def svg(drawn: Sequence[Curve], title: str, unit: str) -> str:
    """The picture. There must be at least one curve."""
    points = [point for curve in drawn for point in curve.points]
    frame = Frame(_above(max(x for x, _ in points)), _above(max(y for _, y in points)))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 20, title, "middle"),
        *_axis(frame.most_x, lambda at: _text(frame.x(at), HEIGHT - BOTTOM + 18, f"{at:g}", "middle")),
        *_axis(frame.most_y, lambda at: _grid(frame.y(at)) + _text(LEFT - 8, frame.y(at) + 4, f"{at:g}", "end")),
        _text(WIDTH - RIGHT, HEIGHT - 26, "requests a second", "end"),
        _text(LEFT, TOP - 8, unit, "start"),
        *(_curve(curve, frame, COLORS[number % len(COLORS)], number) for number, curve in enumerate(drawn)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _name(line: RunLine) -> str:
    split = line.configuration.split
    return f"{line.configuration.system} ({split})" if split else line.configuration.system


def _value(summary: Summary, figure: Figure, percentile: str) -> float | None:
    if figure is Figure.ATTAINMENT:
        return None if summary.attainment is None or summary.is_cut_short else summary.attainment * 100
    of_figure: dict[Figure, Percentiles | None] = {
        Figure.TTFT: summary.ttft_ms,
        Figure.TPOT: summary.tpot_ms,
        Figure.GAP: summary.gap_ms,
        Figure.END_TO_END: summary.end_to_end_ms,
    }
    values = None if summary.is_cut_short else of_figure[figure]
    return None if values is None else getattr(values, percentile)


def _above(most: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten, at most five of which make a tick."""
    step = 10.0**-6
    while step * TICKS < most:
        step *= 2.5 if f"{step:e}".startswith("2") else 2
    return step * TICKS


def _axis(most: float, tick: Callable[[float], str]) -> list[str]:
    return [tick(round(most * number / TICKS, 9)) for number in range(TICKS + 1)]


def _grid(y: float) -> str:
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'


def _curve(curve: Curve, frame: Frame, color: str, number: int) -> str:
    places = [(frame.x(x), frame.y(y)) for x, y in curve.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places)
    line = f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
    return line + dots + _text(LEFT + 10, TOP + 14 + 16 * number, curve.name, "start", color)


def _text(x: float, y: float, content: str, anchor: str, color: str = "black") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12" fill="{color}">{escape(content)}</text>'
