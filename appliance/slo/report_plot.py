"""The compliance report as a picture: SVG, written by hand so that nothing has to be installed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from appliance.slo.report import HOUR, Part, Report, hour_of
from appliance.slo.report_table import span

WIDTH, LABEL, CHART, ROW, WIDEST = 820, 110, 180, 22, 60
KEPT, TTFT, TPOT, DEED, LINE = "#2563eb", "#c2410c", "#7c3aed", "#f59e0b", "#cbd5e1"


def as_svg(report: Report) -> str:
    """Above, attainment by hour, with a mark where something was done; below, by split, with what was missed."""
    top, below = 60, 60 + CHART + 70
    height = below + ROW * len(report.by_split) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(10, 24, _title(report), 14),
        *_axis(top),
        *_hours(report, top),
        *_legend(below - 14),
        *_splits(report.by_split, below),
    ]
    return "\n".join([*parts, "</svg>\n"])


def _title(report: Report) -> str:
    total = report.total
    kept = "no requests" if total.attainment is None else f"{100 * total.attainment:.1f} % of {total.requests} requests"
    return f"Both targets kept by hour: {kept}"


def _legend(y: int) -> Iterator[str]:
    yield _text(10, y, "By split, in parts of its requests:")
    for at, (words, colour) in enumerate((("kept both", KEPT), ("TTFT missed", TTFT), ("TPOT missed", TPOT))):
        yield _bar(230 + 110 * at, y - 9, 10, 10, colour)
        yield _text(245 + 110 * at, y, words)


def _axis(top: int) -> Iterator[str]:
    for percent in (0, 50, 100):
        y = _y(percent / 100, top)
        yield f'<line x1="{LABEL}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}"/>'
        yield _text(LABEL - 46, y + 4, f"{percent} %")


def _hours(report: Report, top: int) -> Iterator[str]:
    """Where they lie in time: one in which nothing ran is a gap."""
    first = report.since // HOUR * HOUR
    count = max(1, math.ceil((report.until - first) / HOUR))
    step, every = (WIDTH - 20 - LABEL) / count, max(1, count // 6)
    for hour in range(0, count, every):
        yield _text(LABEL + hour * step, top + CHART + 16, hour_of(first + hour * HOUR)[5:], 10)
    for part in report.by_hour:
        assert part.time is not None
        yield from _hour(report, part, LABEL + (part.time - first) / HOUR * step, step, top)


def _hour(report: Report, part: Part, x: float, step: float, top: int) -> Iterator[str]:
    if part.attainment is not None:
        y = _y(part.attainment, top)
        yield _bar(x, y, max(1.0, min(step - 1, WIDEST)), top + CHART - y, KEPT)
    if deeds := report.done_in(part):
        said = escape("\n".join(deed.sentence for deed in deeds))
        yield f'<circle cx="{x + 4:.1f}" cy="{top - 8}" r="4" fill="{DEED}"><title>{said}</title></circle>'


def _splits(parts: Sequence[Part], top: int) -> Iterator[str]:
    scale = WIDTH - LABEL - 160
    for row, part in enumerate(parts):
        y = top + row * ROW
        yield _text(10, y + 14, part.name)
        lengths = [(part.attained, KEPT, 0), (part.ttft_violated, TTFT, 1), (part.tpot_violated, TPOT, 2)]
        for requests, colour, lane in lengths:
            width = scale * requests / part.requests if part.requests else 0.0
            yield _bar(LABEL, y + 2 + lane * (ROW - 4) / 3, width, (ROW - 4) / 3, colour)
        yield _text(WIDTH - 150, y + 14, f"{part.requests} requests, {span(part.in_force_seconds)}", 11)


def _y(part: float, top: int) -> float:
    return top + CHART * (1 - part)


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}">{escape(text)}</text>'
