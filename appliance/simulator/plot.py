"""A comparison as a picture: SVG, written by hand so that nothing has to be installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from appliance.simulator.comparison import COLOCATED, POLICY
from appliance.simulator.result import Result

WIDTH, ROW, LABEL, CHART = 760, 22, 90, 180
COLOURS = {POLICY: "#c2410c", COLOCATED: "#64748b"}
STATIC = "#2563eb"


def as_svg(results: Sequence[Result], title: str) -> str:
    """Above, attainment of each run; below, attainment over time of the best split, the policy and colocated, with a
    line where the policy changed the split."""
    top, below = 40, 40 + ROW * len(results) + 50
    height = below + CHART + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(10, 22, title, size=14),
        *_bars(results, top),
        *_frame(results, below),
    ]
    for result in _over_time(results):
        parts += _curve(result, below)
    return "\n".join([*parts, "</svg>\n"])


def _bars(results: Sequence[Result], top: int) -> Iterator[str]:
    scale = WIDTH - LABEL - 70
    for row, result in enumerate(results):
        y, width = top + row * ROW, result.attainment * scale
        yield _text(10, y + 14, result.name)
        yield f'<rect x="{LABEL}" y="{y + 3}" width="{width:.1f}" height="{ROW - 6}" fill="{_colour(result)}"/>'
        yield _text(LABEL + width + 6, y + 14, f"{100 * result.attainment:.1f} %")


def _frame(results: Sequence[Result], top: int) -> Iterator[str]:
    yield _text(10, top - 12, "Requests within both targets, by when they came")
    for percent in (0, 50, 100):
        y = _y(percent / 100, top)
        yield f'<line x1="{LABEL}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#cbd5e1"/>'
        yield _text(LABEL - 46, y + 4, f"{percent} %")
    for result in results:
        if result.name == POLICY:
            yield from _changes(result, top)


def _changes(result: Result, top: int) -> Iterator[str]:
    for at, split in result.changes[1:]:
        x = _x(min(1.0, at / result.arrivals_seconds), 1)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + CHART}" stroke="#fdba74" stroke-dasharray="3"/>'
        yield _text(x + 2, top + CHART + 14, str(split), size=10)


def _curve(result: Result, top: int) -> Iterator[str]:
    count = len(result.by_time)
    points = [(_x(at + 0.5, count), _y(part, top)) for at, part in enumerate(result.by_time) if part is not None]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{_colour(result)}" stroke-width="2"/>'


def _over_time(results: Sequence[Result]) -> list[Result]:
    splits = [result for result in results if result.name not in COLOURS]
    best = [max(splits, key=lambda result: result.attainment)] if splits else []
    return best + [result for result in results if result.name in COLOURS]


def _x(at: float, count: int) -> float:
    return LABEL + at / count * (WIDTH - 20 - LABEL)


def _y(part: float, top: int) -> float:
    return top + CHART * (1 - part)


def _colour(result: Result) -> str:
    return COLOURS.get(result.name, STATIC)


def _text(x: float, y: float, text: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}">{escape(text)}</text>'
