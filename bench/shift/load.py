"""The requests of a shift, and who of them kept the targets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from appliance.workload import Arrival, draw, mix_named
from bench.record import Record
from bench.shift.result import Kept, Part
from bench.summary import Targets


def arrivals_of(parts: Sequence[Part], scale: float, seed: int) -> list[Arrival]:
    """Those of each part, one after the other; the same seed gives the same requests."""
    arrivals = list[Arrival]()
    for number, (begin, _) in enumerate(spans(parts)):
        part = parts[number]
        drawn = draw(mix_named(part.mix).scaled(scale), part.rate, part.seconds, seed + number)
        arrivals += [arrival._replace(at_seconds=begin + arrival.at_seconds) for arrival in drawn]
    return arrivals


def kept_by_part(
    records: Sequence[Record], parts: Sequence[Part], targets: Targets, window_seconds: float
) -> tuple[Kept, ...]:
    return tuple(_kept(records, begin, end, targets, window_seconds) for begin, end in spans(parts))


def spans(parts: Sequence[Part]) -> Iterator[tuple[float, float]]:
    """Begin and end of each part, in seconds since the first began."""
    return pairwise([0.0, *accumulate(part.seconds for part in parts)])


def _kept(records: Sequence[Record], begin: float, end: float, targets: Targets, window_seconds: float) -> Kept:
    own = [record for record in records if begin <= record.due < end]
    late = [record for record in own if record.due >= begin + window_seconds]
    kept, late_kept = (sum(map(targets.are_kept_by, group)) for group in (own, late))
    return Kept(len(own), kept, len(late), late_kept)
