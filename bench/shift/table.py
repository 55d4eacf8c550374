"""Runs of one shift side by side: for the terminal and for the report alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.table import Table

from bench.rotation.table import CPU_LAG_LIMIT_MS
from bench.shift.result import POLICY, Kept, ShiftConfiguration, ShiftLine

LATE = "The client itself was late: the machine had more to do than this, and the figures say more of that."


class Compared(NamedTuple):
    """The latest run of each ruler, the policy first."""

    configuration: ShiftConfiguration
    lines: list[ShiftLine]

    @property
    def policy(self) -> ShiftLine | None:
        return next((line for line in self.lines if line.ruled_by == POLICY), None)

    @property
    def fixed(self) -> list[ShiftLine]:
        return [line for line in self.lines if line.ruled_by != POLICY]


def compared(lines: Iterable[ShiftLine]) -> list[Compared]:
    groups = dict[ShiftConfiguration, dict[str, ShiftLine]]()
    for line in lines:
        groups.setdefault(line.configuration, {})[line.ruled_by] = line
    return [
        Compared(asked, sorted(runs.values(), key=lambda line: (line.ruled_by != POLICY, line.ruled_by)))
        for asked, runs in groups.items()
    ]


def headings(asked: ShiftConfiguration) -> tuple[str, ...]:
    parts = [f"{part.mix} at {part.rate:g} req/s for {part.seconds:g} s" for part in asked.parts]
    return ("ruled by", "requests", "within SLO", *parts, "changes", "own lag ms")


def row(line: ShiftLine) -> tuple[str, ...]:
    return (
        line.ruled_by,
        str(line.requests),
        f"{line.attainment:.1%}",
        *(_part(part) for part in line.parts),
        str(len(line.moves)) if line.ruled_by == POLICY else "–",
        f"{lag_ms(line):.1f}",
    )


def verdict(group: Compared) -> str:
    """What the policy was worth, in sentences; empty as long as there is nothing to compare."""
    policy, fixed = group.policy, group.fixed
    if policy is None or not fixed:
        return ""
    best = max(fixed, key=lambda line: line.attainment)
    ratio = policy.attainment / best.attainment if best.attainment else float("inf")
    said = f"The policy kept {ratio:.2f} times what the best single split tried ({best.ruled_by}) kept."
    parts = f"After the first window of each part, of the best split of that part: {_late_ratios(policy, fixed)}."
    is_late = any(lag_ms(line) > CPU_LAG_LIMIT_MS for line in group.lines)
    return " ".join([said, parts, *([LATE] if is_late else [])])


def lag_ms(line: ShiftLine) -> float:
    """How late the client itself was."""
    return max(line.late_ms_p99, line.loop_lag_ms_p99)


def as_rich(group: Compared) -> Table:
    table = Table(*headings(group.configuration), caption=verdict(group))
    for line in group.lines:
        table.add_row(*row(line))
    return table


def _part(part: Kept) -> str:
    return f"{_percent(part.kept, part.requests)} ({_percent(part.late_kept, part.late_requests)} after a window)"


def _percent(kept: int, requests: int) -> str:
    return f"{kept / requests:.0%}" if requests else "–"


def _late_ratios(policy: ShiftLine, fixed: Sequence[ShiftLine]) -> str:
    ratios = list[str]()
    for number, part in enumerate(policy.parts):
        best = max(line.parts[number].late_kept for line in fixed)
        ratios.append(f"{part.late_kept / best:.0%}" if best else "–")
    return ", ".join(ratios)
