"""Pairs of rounds with and without difficult clients, added up: a column for each kind, for terminal and report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from rich.table import Table

from bench.faults.clients_result import ClientsConfiguration, ClientsLine
from bench.faults.difficult import Kind
from bench.results import together
from bench.table import digits

HEADINGS = (
    "",
    "there, at the median",
    "pairs of rounds",
    "TPOT p50 without them, ms",
    "TPOT p50 with them, ms",
    "a token takes longer, median pair",
    "rounds without them differ by",
    "new requests: first token p99 without them, ms",
    "new requests: first token p99 with them, ms",
    "failed of both, without them",
    "failed of both, with them",
    "pages in use afterwards",
    "largest gateway worker (PSS) without → with, MiB",
    "how their connections ended meanwhile",
)
DID = {
    Kind.LEAVERS: "leave mid-stream",
    Kind.READERS: "read 1 byte/s",
    Kind.SLOWLORIS: "slowloris",
    Kind.IDLE: "idle",
}


class Summed(NamedTuple):
    """All pairs of one configuration."""

    configuration: ClientsConfiguration
    lines: list[ClientsLine]

    @property
    def slower(self) -> float | None:
        """By what part of a token's time the round of a pair with them is slower: the median of the pairs."""
        pairs = [(line.calm, line.difficult) for line in self.lines]
        known = [median(hard.tpots) / median(calm.tpots) - 1 for calm, hard in pairs if calm.tpots and hard.tpots]
        return median(known) if known else None

    @property
    def differ(self) -> float | None:
        """How far the slowest and fastest round without them lie apart, as a part of the median: less may be noise."""
        calm = [median(line.calm.tpots) for line in self.lines if line.calm.tpots]
        return (max(calm) - min(calm)) / median(calm) if calm else None

    @property
    def heading(self) -> str:
        """What the load is, for the kinds that share it."""
        asked = self.configuration
        return (
            f"{asked.serves}, {asked.gateway_workers} gateway workers; {asked.streams} streaming users ask for "
            f"{asked.tokens} tokens each time, {asked.new_per_second:g} requests a second come in new, "
            f"{asked.seconds:g} s a round"
        )


def summaries(lines: Iterable[ClientsLine]) -> list[Summed]:
    """In the order in which they were first measured."""
    return [Summed(asked, group) for asked, group in together(lines, lambda line: line.configuration).items()]


def column(summed: Summed) -> tuple[str, ...]:
    """A cell for each of `HEADINGS`."""
    calm = [line.calm for line in summed.lines]
    hard = [line.difficult for line in summed.lines]
    asked = summed.configuration
    return (
        f"{asked.clients:,} {DID[asked.kind]}",
        "–" if asked.kind is Kind.LEAVERS else f"{round(median(one.present for one in hard)):,}",
        str(len(summed.lines)),
        _milliseconds([tpot for one in calm for tpot in one.tpots], 50),
        _milliseconds([tpot for one in hard for tpot in one.tpots], 50),
        "–" if summed.slower is None else f"{summed.slower:+.1%}",
        "–" if summed.differ is None else f"{summed.differ:.1%}",
        _milliseconds([ttft for one in calm for ttft in one.ttfts], 99),
        _milliseconds([ttft for one in hard for ttft in one.ttfts], 99),
        _counts(one.failures for one in calm),
        _counts(one.failures for one in hard),
        ", ".join(sorted({"not served" if one.pages_left is None else str(one.pages_left) for one in hard})),
        f"{max(one.worker_bytes for one in calm) >> 20} → {max(one.worker_bytes for one in hard) >> 20}",
        _counts(one.ends for one in hard),
    )


def rows(lines: Sequence[Summed]) -> list[tuple[str, ...]]:
    """Of one load: a heading, then a cell for each kind."""
    return list(zip(HEADINGS, *(column(summed) for summed in lines), strict=True))


def as_rich(lines: Sequence[Summed]) -> Table:
    """Of one load."""
    first, *others = rows(lines)
    table = Table(*first, title=lines[0].heading)
    for cells in others:
        table.add_row(*cells)
    return table


def by_load(summed: Iterable[Summed]) -> list[list[Summed]]:
    """Those that share a heading, together."""
    return list(together(summed, lambda one: one.heading).values())


def _milliseconds(seconds: Sequence[float], percent: int) -> str:
    return digits(1000 * float(np.percentile(seconds, percent))) if seconds else "–"


def _counts(each: Iterable[dict[str, int]]) -> str:
    total = sum((Counter(one) for one in each), Counter[str]())
    return ", ".join(f"{count} {kind}" for kind, count in sorted(total.items())) or "0"
