"""What a run amounts to, from its records alone: percentiles, speed, failures, attainment. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from bench.record import Observed, Record

LAG_LIMIT_MS = 2.0
"""A client that is later than this, at its 99th percentile, measures itself: its run does not count."""


class Targets(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a request is to keep to be attained; None: anything does."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    gap_ms: float | None = None

    def __bool__(self) -> bool:
        return (self.ttft_ms, self.tpot_ms, self.gap_ms) != (None, None, None)

    def __str__(self) -> str:
        given = (("TTFT", self.ttft_ms), ("TPOT", self.tpot_ms), ("gap", self.gap_ms))
        return ", ".join(f"{name} ≤ {limit:g} ms" for name, limit in given if limit is not None)

    def are_kept_by(self, record: Record) -> bool:
        """A request that failed keeps none. One token has neither TPOT nor gap, and so exceeds neither."""
        if record.failure is not None:
            return False
        pairs = (
            (record.ttft, self.ttft_ms),
            (record.tpot, self.tpot_ms),
            (record.longest_gap, self.gap_ms),
        )
        return all(seconds is None or limit is None or seconds * 1000 <= limit for seconds, limit in pairs)


class Percentiles(msgspec.Struct, frozen=True):
    """In milliseconds, linear between the two nearest values."""

    p50: float
    p90: float
    p95: float
    p99: float


class Summary(msgspec.Struct, frozen=True):
    """`requests` that were to be measured and `finished` of them; `failures` by kind. Rates are a second.

    `attainment`: the part of `requests` that kept the targets; where the run `is_cut_short`, the most it could have
    been. `late_ms_p99` and `loop_lag_ms_p99`: the client's own lag.
    """

    requests: int
    finished: int
    failures: dict[str, int]
    input_tokens: int
    output_tokens: int
    seconds: float
    output_tokens_per_second: float
    requests_per_second: float
    ttft_ms: Percentiles | None
    tpot_ms: Percentiles | None
    gap_ms: Percentiles | None
    end_to_end_ms: Percentiles | None
    attainment: float | None
    is_cut_short: bool
    late_ms_p99: float
    loop_lag_ms_p99: float
    tail_tpot_ms: float | None = None

    @property
    def counts(self) -> bool:
        return max(self.late_ms_p99, self.loop_lag_ms_p99) <= LAG_LIMIT_MS

    @property
    def verdict(self) -> str:
        """Why the run does not count, in a sentence; empty if it does."""
        if self.counts:
            return ""
        return (
            f"This run does not count: the client itself was late, by {self.late_ms_p99:.1f} ms in sending and "
            f"{self.loop_lag_ms_p99:.1f} ms in its event loop at the 99th percentile, where {LAG_LIMIT_MS:g} ms are "
            "allowed."
        )


def summarize(observed: Observed, begin: float, end: float, targets: Targets) -> Summary:
    """Of the requests that were due from `begin` to `end`, in seconds; those before are the warm-up."""
    measured = [record for record in observed.records if begin <= record.due < end]
    finished = [record for record in measured if record.failure is None]
    kept = sum(targets.are_kept_by(record) for record in measured)
    if observed.is_cut_short:
        kept += sum(record.failure == "unfinished" for record in measured)
    seconds = end - begin
    return Summary(
        requests=len(measured),
        finished=len(finished),
        failures=dict(Counter(record.failure for record in measured if record.failure is not None)),
        input_tokens=sum(record.input_tokens for record in finished),
        output_tokens=sum(record.output_tokens for record in finished),
        seconds=seconds,
        output_tokens_per_second=sum(record.tokens_within(begin, end) for record in observed.records) / seconds,
        requests_per_second=sum(_ended_within(record, begin, end) for record in observed.records) / seconds,
        ttft_ms=percentiles(record.ttft for record in finished),
        tpot_ms=percentiles(record.tpot for record in finished),
        gap_ms=percentiles(record.longest_gap for record in finished),
        end_to_end_ms=percentiles(record.end_to_end for record in finished),
        attainment=kept / len(measured) if targets and measured else None,
        is_cut_short=observed.is_cut_short,
        late_ms_p99=p99_ms([record.late for record in observed.records if record.sent]),
        loop_lag_ms_p99=p99_ms(observed.loop_lags),
    )


def percentiles(values: Iterable[float | None]) -> Percentiles | None:
    """Of the seconds that there are, in milliseconds; None if there are none."""
    seconds = sorted(value for value in values if value is not None)
    return Percentiles(*(_percentile(seconds, part) * 1000 for part in (0.50, 0.90, 0.95, 0.99))) if seconds else None


def p99_ms(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return _percentile(ordered, 0.99) * 1000 if ordered else 0.0


def _percentile(ordered: Sequence[float], part: float) -> float:
    """Linear between the two values nearest to that part of the way from the least to the greatest."""
    place = part * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (above - below) * (place % 1)


def tail_tpot_ms(rounds: Iterable[Sequence[Record]]) -> float | None:
    """The median time between two tokens while all streams of a round decode: from the moment the last of them has its
    first token until the first of them ends. None where no round has such a time.
    """
    tpots = [tpot for together in rounds for tpot in _tail_tpots(together)]
    return median(tpots) * 1000 if tpots else None


def _tail_tpots(together: Sequence[Record]) -> list[float]:
    if any(record.failure is not None for record in together):
        return []
    begin, end = max(record.events[0] for record in together), min(record.events[-1] for record in together)
    tails = [(record, [at for at in record.events if begin <= at <= end]) for record in together]
    return [
        (tail[-1] - tail[0]) / ((len(tail) - 1) * record.tokens_per_event) for record, tail in tails if len(tail) > 1
    ]


def _ended_within(record: Record, begin: float, end: float) -> bool:
    return record.failure is None and begin <= record.events[-1] < end
