"""Rounds with and without watchers, and what they say of each other. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles
from typing import NamedTuple

from rich.table import Table

from bench.record import Record
from engine.errors import SemiPDError


class TooFewAnswers(SemiPDError):
    """Answers that are not whole have no time per token."""


class Round(NamedTuple):
    """Seconds. `tpots`: of each answer. `console_cpu`: cores that console and controller kept busy meanwhile,
    `watchers_cpu`: the watchers. `looks`: that all of those have seen who came, to watch or to leave again.
    """

    is_watched: bool
    tpots: list[float]
    longest_gap: float
    console_cpu: float
    watchers_cpu: float = 0.0
    looks: int = 0

    @property
    def tpot(self) -> float:
        """The median answer's."""
        return median(self.tpots)


class Comparison(NamedTuple):
    """By how much of a token's time the watched round of a pair is slower than the other: the median of the pairs, and
    the quartiles. `differ`: the interquartile range of the rounds without watchers, as a part of their median: what is
    less than that may be the machine's doing."""

    slower: float
    lower: float
    upper: float
    differ: float

    @property
    def sentence(self) -> str:
        """For a person."""
        seen = f"With watchers a token took {abs(self.slower):.1%} {'more' if self.slower >= 0 else 'less'}"
        quartiles = f"half of the pairs between {self.lower:+.1%} and {self.upper:+.1%}"
        return f"{seen}, {quartiles}; the middle half of rounds without watchers lie {self.differ:.1%} apart."


def figures(records: Sequence[Record]) -> tuple[list[float], float]:
    """The time per token of each answer, and the longest silence in any. Raises `TooFewAnswers`."""
    whole = [record.tpot for record in records if record.tpot is not None]
    if len(whole) < len(records):
        raise TooFewAnswers(f"Only {len(whole)} of {len(records)} answers were whole: there is nothing to compare.")
    return whole, max(record.longest_gap or 0.0 for record in records)


def compared(rounds: Sequence[Round]) -> Comparison:
    """`rounds` in two pairs or more: of each, one without watchers and one with, in either order."""
    pairs = [sorted(pair, key=lambda one: one.is_watched) for pair in zip(rounds[::2], rounds[1::2], strict=True)]
    assert all(watched.is_watched > calm.is_watched for calm, watched in pairs)
    lower, middle, upper = quantiles([watched.tpot / calm.tpot - 1 for calm, watched in pairs], n=4)
    first, median_calm, third = quantiles([calm.tpot for calm, _ in pairs], n=4)
    return Comparison(middle, lower, upper, (third - first) / median_calm)


def as_table(rounds: Sequence[Round], watchers: str) -> Table:
    table = Table(
        "",
        "answers",
        "TPOT p50 of each round, ms",
        "longest gap, ms",
        "console and controller, cores",
        "watchers, cores",
    )
    for name, is_watched in (("nobody", False), (watchers, True)):
        these = [one for one in rounds if one.is_watched == is_watched]
        table.add_row(
            name,
            str(sum(len(one.tpots) for one in these)),
            " ".join(f"{1000 * one.tpot:.1f}" for one in these),
            f"{1000 * max(one.longest_gap for one in these):.0f}",
            f"{median(one.console_cpu for one in these):.3f}",
            f"{median(one.watchers_cpu for one in these):.3f}",
        )
    return table
