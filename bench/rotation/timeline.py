"""What streams saw of a rotation: pauses and gaps, from the times at which tokens came. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from bench.record import Record

MOMENT_SECONDS = 1.0
"""How far around the hand-over the step time of that moment is read, and how long after it a pause still counts."""
LEAST_STEPS = 3
"""Steps of a stream before and after the hand-over without which its pause cannot be told."""


class Span(NamedTuple):
    """Seconds since the run began."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class Moments(NamedTuple):
    """When a rotation was ordered, its group was ready, live, and the old one gone; seconds since the run began."""

    ordered: float
    ready: float
    live: float
    gone: float

    @property
    def whole(self) -> Span:
        return Span(self.ordered, self.gone)

    @property
    def hand_over(self) -> Span:
        """From the first moment at which a stream can move to one at which it surely has."""
        return Span(self.ready, min(self.gone, self.live + MOMENT_SECONDS))


def longest_gap(records: Iterable[Record], span: Span) -> float:
    """The longest silence of any stream that lies at least partly in `span`; 0.0 where no stream ran."""
    return max((gap for record in records for gap in _gaps(record, span)), default=0.0)


def pauses(records: Iterable[Record], moments: Moments) -> list[float]:
    """For each stream that ran on across the hand-over, how much longer than a step its longest silence was.

    A step takes what most of this stream's steps took in the second before, or in the second after where that is more:
    the new split makes steps longer or shorter, which is no pause.
    """
    span = moments.hand_over
    before, after = Span(span.begin - MOMENT_SECONDS, span.begin), Span(span.end, span.end + MOMENT_SECONDS)
    return [pause for record in records if (pause := _pause(record, before, span, after)) is not None]


def _pause(record: Record, before: Span, span: Span, after: Span) -> float | None:
    usual = [list(_gaps(record, around)) for around in (before, after)]
    crossing = list(_gaps(record, span))
    if not crossing or min(map(len, usual)) < LEAST_STEPS:
        return None
    return max(0.0, max(crossing) - max(map(median, usual)))


def _gaps(record: Record, span: Span) -> Iterator[float]:
    for sooner, later in pairwise(record.events):
        if later > span.begin and sooner < span.end:
            yield later - sooner


def calm_pauses(records: Sequence[Record], calm: Span, seconds: float) -> list[float]:
    """Pauses at moments at which nobody handed anything over, `seconds` long: what is seen of the machine alone."""
    moments = _moments_of_calm(calm, seconds)
    return [pause for each in moments for pause in pauses(records, each)]


def _moments_of_calm(calm: Span, seconds: float) -> list[Moments]:
    every = seconds + 2 * MOMENT_SECONDS
    begins = [calm.begin + MOMENT_SECONDS + number * every for number in range(int(calm.seconds / every))]
    return [Moments(begin, begin, begin, begin + seconds) for begin in begins]


def calm_gaps(records: Sequence[Record], calm: Span, seconds: float) -> list[float]:
    """Longest gaps of as many spans as fit into `calm`, each as long as a rotation takes."""
    count = int(calm.seconds / seconds) if seconds > 0 else 0
    begins = [calm.begin + number * seconds for number in range(count)]
    return [longest_gap(records, Span(begin, begin + seconds)) for begin in begins]
