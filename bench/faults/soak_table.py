"""Blocks of a soak, one after the other: what each kind of process took first and last, and what grew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import NamedTuple

from rich.table import Table

from bench.faults.footprint import Footprint
from bench.faults.growth import WARM_SAMPLES, Growth, growth
from bench.faults.soak_result import SoakConfiguration, SoakLine
from bench.faults.verdict import EQUAL, REFUSED
from bench.results import together

HEADINGS = ("processes", "memory, MiB", "files", "threads", "how many")
MEMORY_BYTES, MEMORY_PART = 8 << 20, 0.1
FILES, THREADS, PROCESSES = 4.0, 2.0, 0.5
"""Less is no growth: a connection that has not ended yet, a thread of a pool that is filled when it is needed."""
_MEASURES: tuple[tuple[str, Callable[[Footprint], float], float, float], ...] = (
    ("memory", lambda taken: taken.private_bytes, MEMORY_BYTES, MEMORY_PART),
    ("files", lambda taken: taken.files, FILES, 0.0),
    ("threads", lambda taken: taken.threads, THREADS, 0.0),
    ("processes", lambda taken: taken.processes, PROCESSES, 0.0),
)


class Soaked(NamedTuple):
    """All blocks on one appliance."""

    configuration: SoakConfiguration
    lines: list[SoakLine]

    @property
    def kinds(self) -> list[str]:
        """Those that are there all the time."""
        return [kind for kind in self.lines[-1].taken if all(kind in line.taken for line in self.lines)]

    @property
    def at(self) -> list[int]:
        return list(accumulate(line.requests for line in self.lines))

    def growth(self, kind: str, measure: Callable[[Footprint], float]) -> Growth | None:
        return growth(self.at, [measure(line.taken[kind]) for line in self.lines])

    @property
    def problems(self) -> list[str]:
        """What grew, and what else should not have been."""
        found = list[str]()
        for kind in self.kinds:
            for name, measure, amount, part in _MEASURES:
                grown = self.growth(kind, measure)
                if grown is not None and grown.is_more_than(amount, part):
                    found.append(f"the {name} of {kind} grew from {grown.first:,.0f} to {grown.last:,.0f}")
        found += [f"{line.pages_left} pages in use at rest" for line in self.lines if line.pages_left != 0]
        wrong = {kind: count for kind, count in self.verdicts.items() if kind not in (EQUAL, REFUSED)}
        found += [f"{count} requests {kind}" for kind, count in wrong.items()]
        return found + [f"a rotation failed: {reason}" for line in self.lines for reason in line.failed]

    @property
    def verdicts(self) -> Counter[str]:
        return sum((Counter(line.verdicts) for line in self.lines), Counter())

    @property
    def heading(self) -> str:
        asked = self.configuration
        users = f"{asked.streams} streaming and {asked.whole} other users"
        return f"{asked.serves}, {asked.gateway_workers} gateway workers, {users}"

    @property
    def sentence(self) -> str:
        """What was done, and what came of it."""
        verdicts, lines = self.verdicts, self.lines
        took = sum(line.seconds for line in lines)
        problems = "; ".join(self.problems)
        if not problems:
            known = any(self.growth(kind, lambda taken: taken.files) for kind in self.kinds)
            problems = "nothing grew" if known else "too few blocks to say whether anything grew"
        return (
            f"{verdicts.total():,} requests in {took / 60:.0f} minutes, {verdicts[EQUAL]:,} with the undisturbed "
            f"answer, {sum(line.rotations for line in lines)} rotations to new processes, {len(lines)} looks at rest: "
            f"{problems}. Load average of the machine: up to {max(line.load_average for line in lines):g} on "
            f"{lines[0].origin.machine.cpus} cores."
        )


def soaked(lines: Iterable[SoakLine]) -> list[Soaked]:
    """By appliance, in the order in which they were first measured."""
    groups = together(lines, lambda line: (line.configuration, line.appliance))
    return [Soaked(asked, group) for (asked, _), group in groups.items()]


def rows(soak: Soaked) -> list[tuple[str, ...]]:
    """One for each kind of process: first → last of what counts, and how much a thousand requests add by the line."""
    return [
        (
            kind,
            _cell(soak, kind, lambda taken: taken.private_bytes / (1 << 20), 1),
            _cell(soak, kind, lambda taken: taken.files, 0),
            _cell(soak, kind, lambda taken: taken.threads, 0),
            str(soak.lines[-1].taken[kind].processes),
        )
        for kind in soak.kinds
    ]


def _cell(soak: Soaked, kind: str, measure: Callable[[Footprint], float], places: int) -> str:
    grown = soak.growth(kind, measure)
    if grown is None:
        values = [measure(line.taken[kind]) for line in soak.lines]
        return f"{values[0]:.{places}f} → {values[-1]:.{places}f}"
    a_thousand = round(1000 * grown.fitted / (soak.at[-1] - soak.at[WARM_SAMPLES]), 2) + 0.0  # never −0
    return f"{grown.first:.{places}f} → {grown.last:.{places}f} ({a_thousand:+.2f} a 1,000)"


def as_rich(soak: Soaked) -> Table:
    table = Table(*HEADINGS, title=soak.heading, caption=soak.sentence)
    for cells in rows(soak):
        table.add_row(*cells)
    return table
