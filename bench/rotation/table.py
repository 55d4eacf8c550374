"""Blocks of the same measurement, added up to a row: for the terminal and for the report alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.table import Table

from bench.results import together
from bench.rotation.result import Rotated, RotationConfiguration, RotationLine
from bench.summary import LAG_LIMIT_MS
from bench.table import digits

HEADINGS = (
    "work",
    "rotations",
    "failed",
    "requests",
    "failed",
    "answers compared",
    "tokens lost, repeated, changed",
    "timed",
    "pause beyond a step, ms",
    "the same without a rotation, ms",
    "longest gap of a rotation, ms",
    "the same without a rotation, ms",
    "ready s",
    "live s",
    "old group gone s",
    "greatest own lag, ms",
    "greatest load average",
)
POINTS = "p50 / p95 / greatest"
CPU_LAG_LIMIT_MS = 10.0
"""Client and appliance share the cores there, and a step takes tens of milliseconds."""


class Summed(NamedTuple):
    """All blocks of one configuration."""

    configuration: RotationConfiguration
    lines: list[RotationLine]

    @property
    def rotations(self) -> list[Rotated]:
        return [rotation for line in self.lines for rotation in line.rotations]

    @property
    def made(self) -> list[Rotated]:
        return [rotation for rotation in self.rotations if not rotation.problem]

    def counted(self, what: str) -> dict[str, int]:
        return dict(sum((Counter(getattr(line, what)) for line in self.lines), Counter()))

    @property
    def pauses_ms(self) -> list[float]:
        return [pause for rotation in self.made for pause in rotation.pauses_ms]

    @property
    def in_time(self) -> Summed:
        """The blocks whose times count: the client itself was not late. What was counted counts anyway."""
        return self._replace(lines=[line for line in self.lines if _lag_ms(line) <= _lag_limit_ms(line)])


def summaries(lines: Iterable[RotationLine]) -> list[Summed]:
    """In the order in which they were first measured."""
    return [Summed(asked, group) for asked, group in together(lines, lambda line: line.configuration).items()]


def row(summed: Summed) -> tuple[str, ...]:
    """One cell for each of `HEADINGS`."""
    asked, made, timed = summed.configuration, summed.made, summed.in_time
    scaled = "" if asked.scale == 1.0 else f" × {asked.scale:g}"
    compared = sum(line.compared for line in summed.lines)
    return (
        f"{asked.serves}: {asked.mix}{scaled} at {asked.rate:g} req/s{', in place' if asked.in_place else ''}",
        str(len(summed.rotations)),
        str(len(summed.rotations) - len(made)),
        str(sum(line.requests for line in summed.lines)),
        _counts(summed.counted("failures")),
        str(compared),
        _counts(summed.counted("faults")) if compared else "not compared",
        f"{len(timed.made)} of {len(made)}",
        points(timed.pauses_ms),
        points([pause for line in timed.lines for pause in line.calm_pauses_ms]),
        points([rotation.longest_gap_ms for rotation in timed.made]),
        points([gap for line in timed.lines for gap in line.calm_gaps_ms]),
        points([rotation.ready_seconds for rotation in timed.made]),
        points([rotation.live_seconds for rotation in timed.made]),
        points([rotation.gone_seconds for rotation in timed.made]),
        f"{max(map(_lag_ms, summed.lines)):.1f}",
        f"{max(line.load_average for line in summed.lines):g} on {summed.lines[0].origin.machine.cpus} cores",
    )


def _lag_ms(line: RotationLine) -> float:
    return max(line.late_ms_p99, line.loop_lag_ms_p99)


def _lag_limit_ms(line: RotationLine) -> float:
    return LAG_LIMIT_MS if line.origin.machine.gpus else CPU_LAG_LIMIT_MS


def as_rich(summed: Sequence[Summed]) -> Table:
    """A column a measurement: there are more figures than fit side by side."""
    table = Table("", *(["measured"] * len(summed)), caption=f"Several figures are {POINTS}.")
    rows = [row(each) for each in summed]
    for place, heading in enumerate(HEADINGS):
        table.add_row(heading, *(cells[place] for cells in rows))
    return table


def points(values: Iterable[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return "–"
    chosen = (known[_place(known, 0.5)], known[_place(known, 0.95)], known[-1])
    return " / ".join(digits(value) for value in chosen)


def _place(values: Sequence[float], part: float) -> int:
    return max(0, math.ceil(part * len(values)) - 1)


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()) if count) or "0"
