"""Blocks of the same measurement, added up: a row for each kind of victim, for the terminal and the report alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.table import Table

from bench.faults.result import FaultConfiguration, FaultLine, Injected
from bench.faults.verdict import EQUAL, OWN, REFUSED
from bench.results import together
from bench.table import digits

HEADINGS = (
    "who",
    "faults",
    "not recovered",
    "waiting",
    "silence of a stream, s",
    "served again, s",
    "spares ready again, s",
)
POINTS = "p50 / p99 / greatest"


class Summed(NamedTuple):
    """All blocks of one configuration."""

    configuration: FaultConfiguration
    lines: list[FaultLine]

    @property
    def faults(self) -> list[Injected]:
        return [fault for line in self.lines for fault in line.faults]

    @property
    def verdicts(self) -> Counter[str]:
        return sum((Counter(line.verdicts) for line in self.lines), Counter())

    @property
    def heading(self) -> str:
        """What was done, in a line."""
        asked = self.configuration
        done = "kill -9" if asked.kind == "kill" else f"SIGSTOP, SIGCONT after {asked.hold_seconds:g} s"
        users = f"{asked.streams} streaming and {asked.whole} other users"
        where = " at named points" if asked.points else ""
        return f"{done}{where}: {asked.serves}, {asked.gateway_workers} gateway workers, {users}"

    @property
    def sentence(self) -> str:
        """What became of the requests."""
        verdicts = self.verdicts
        accepted = verdicts.total() - verdicts[REFUSED]
        wrong = {kind: count for kind, count in verdicts.items() if kind not in (EQUAL, REFUSED, OWN)}
        left = [line.pages_left for line in self.lines]
        return (
            f"{verdicts.total()} requests: {accepted} accepted, of which {verdicts[EQUAL]} had the undisturbed "
            f"answer, {verdicts[OWN]} ended with their gateway worker, {sum(wrong.values())} were lost or wrong"
            f"{''.join(f'; {count} {kind}' for kind, count in sorted(wrong.items()))}. {verdicts[REFUSED]} were "
            f"refused with 503 before. Pages in use after each block: {', '.join(sorted(set(map(_shown, left))))}. "
            f"Load average of the machine: up to {max(line.load_average for line in self.lines):g} on "
            f"{self.lines[0].origin.machine.cpus} cores."
        )


def summaries(lines: Iterable[FaultLine]) -> list[Summed]:
    """In the order in which they were first measured."""
    return [Summed(asked, group) for asked, group in together(lines, lambda line: line.configuration).items()]


def rows(summed: Summed) -> list[tuple[str, ...]]:
    """One for each kind of victim, and one for all; a cell for each of `HEADINGS`."""
    faults = summed.faults
    asked = summed.configuration
    kinds = [kind for kind in asked.points or asked.victims if any(fault.victim == kind for fault in faults)]
    return [*(_row(kind, [fault for fault in faults if fault.victim == kind]) for kind in kinds), _row("all", faults)]


def _row(who: str, faults: Sequence[Injected]) -> tuple[str, ...]:
    return (
        who,
        str(len(faults)),
        str(sum(bool(fault.problem) for fault in faults)),
        str(sum(fault.waiting for fault in faults)),
        points([seconds for fault in faults for seconds in fault.silence_seconds]),
        points([fault.served_seconds for fault in faults]),
        points([fault.redundant_seconds for fault in faults]),
    )


def as_rich(summed: Summed) -> Table:
    table = Table(*HEADINGS, title=summed.heading, caption=f"{summed.sentence} Several figures are {POINTS}.")
    for cells in rows(summed):
        table.add_row(*cells)
    return table


def points(values: Iterable[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return "–"
    places = (math.ceil(part * len(known)) - 1 for part in (0.5, 0.99, 1.0))
    return " / ".join(digits(known[max(0, place)]) for place in places)


def _shown(pages: int | None) -> str:
    return "not served" if pages is None else str(pages)
