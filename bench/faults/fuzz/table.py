"""Rounds of the same kind, added up: a row each, for the terminal and the report alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.table import Table

from bench.faults.fuzz.result import FuzzConfiguration, FuzzLine
from bench.results import together
from bench.table import digits

HEADINGS = ("what", "made by", "cases", "problems", "slowest, s", "own words seen", "outcomes", "load average up to")


class Summed(NamedTuple):
    """All rounds of one configuration, or of several that differ in their seed alone."""

    configuration: FuzzConfiguration
    lines: list[FuzzLine]

    @property
    def cases(self) -> int:
        return sum(line.cases for line in self.lines)

    @property
    def problems(self) -> list[str]:
        return [problem for line in self.lines for problem in line.problems]


def summaries(lines: Iterable[FuzzLine]) -> list[Summed]:
    """In the order in which they were first measured."""
    groups = together(
        lines, lambda line: (line.configuration.kind, line.configuration.serves, line.configuration.made_by)
    )
    return [Summed(group[0].configuration, group) for group in groups.values()]


def row(summed: Summed) -> tuple[str, ...]:
    """A cell for each of `HEADINGS`."""
    asked, lines = summed.configuration, summed.lines
    slowest = [line.slowest_seconds for line in lines if line.slowest_seconds is not None]
    canaries = [line.canaries for line in lines if line.canaries is not None]
    outcomes = sum((Counter(line.outcomes) for line in lines), Counter[str]())
    if asked.kind.startswith("parser"):
        outcomes = Counter(lines[-1].outcomes)  # a corpus is one that grows
    return (
        f"{asked.kind}: {asked.serves}" if asked.serves else asked.kind,
        asked.made_by,
        f"{summed.cases:,}",
        str(len(summed.problems)),
        digits(max(slowest)) if slowest else "–",
        f"{sum(canaries):,}" if canaries else "–",
        ", ".join(f"{count:,} × {name}" for name, count in sorted(outcomes.items())),
        f"{max(line.load_average for line in lines):g}",
    )


def as_rich(lines: Sequence[FuzzLine]) -> Table:
    table = Table(*HEADINGS)
    for summed in summaries(lines):
        table.add_row(*row(summed))
    return table
