"""The recent past: from request records, or reported percentiles, to what the policy reads. No clock of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from appliance.slo.metrics import RequestRecord, WorkloadMetrics, WorkTotals
from appliance.slo.offered import Arrivals, Load
from appliance.slo.percentiles import Percentiles, Weighted, percentiles

LATEST = 0.2
"""Of a window: what prefill did in its last part tells whether it has time now."""


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """`samples`: requests that TTFT or TPOT was read from. `waiting_prompt_tokens`: of requests without a first token,
    and `waited_prompt_tokens` of those that had come before the window and had none when it began.

    `prompt_tokens` of a request on average, and `next_prompt_tokens` as forecast; 0.0 where nobody tells. `is_mixed`:
    the load took a step within the window. `served_decode` is in tokens a second, and `latest_prefill` in prompt tokens
    a second of the window's last part, 0.0 where nobody tells. `work`: what the workers computed within the window,
    None if nobody reported it. `prefill_utilization`: as reported with percentiles, None otherwise.
    """

    at: float
    seconds: float
    samples: int = 0
    ttft_ms: Percentiles | None = None
    tpot_ms: Percentiles | None = None
    waiting: int = 0
    running: int = 0
    waiting_prompt_tokens: int = 0
    waited_prompt_tokens: int = 0
    offered: Load = field(default_factory=Load)
    forecast: Load = field(default_factory=Load)
    prompt_tokens: float = 0.0
    next_prompt_tokens: float = 0.0
    is_mixed: bool = False
    served_decode: float = 0.0
    latest_prefill: float = 0.0
    work: WorkTotals | None = None
    prefill_utilization: float | None = None

    @property
    def lanes(self) -> float | None:
        """Of a decode step on average, None where nobody tells."""
        return self.work and self.work.lanes


class _Reported(NamedTuple):
    at: float
    metrics: WorkloadMetrics


class _Counted(NamedTuple):
    at: float
    totals: WorkTotals


class Window:
    """Requests that finished within the last `seconds`, and all that have not finished."""

    def __init__(self, seconds: float):
        if not seconds > 0:
            raise ValueError(f"The window must be longer than 0 seconds, not {seconds!r}.")
        self.seconds = seconds
        self._records: dict[int, RequestRecord] = {}
        self._arrivals = Arrivals(seconds)
        self._reports: deque[_Reported] = deque()
        self._work: deque[_Counted] = deque()

    def resized(self, seconds: float) -> Window:
        """The same past, seen over another span; what this one has forgotten stays so."""
        window = Window(seconds)
        for record in sorted(self._records.values(), key=lambda record: record.arrived_at):
            window.observe(record)
        window._reports, window._work = self._reports, self._work
        return window

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, record: RequestRecord) -> None:
        """A request has come, or come further."""
        if record.request_id not in self._records:
            self._arrivals.add(record.arrived_at, record.prompt_tokens)
        self._records[record.request_id] = record

    def forget(self, request_id: int) -> None:
        """The request went away without an end that counts: its client left, or it failed."""
        self._records.pop(request_id, None)

    def report(self, metrics: WorkloadMetrics, now: float) -> None:
        """For those who have only percentiles: they stand for `request_count` requests."""
        self._reports.append(_Reported(now, metrics))

    def count_work(self, totals: WorkTotals, now: float) -> None:
        """What the workers have computed so far; a scheduler that is new counts from its own start."""
        if self._work and totals.decode_steps < self._work[-1].totals.decode_steps:
            self._work.clear()
        self._work.append(_Counted(now, totals))

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def summary(self, now: float) -> WindowSummary:
        self._expire(now)
        records = list(self._records.values())
        waiting = [record for record in records if record.is_waiting]
        running = [record for record in records if record.is_running]
        ttft = [Weighted(1000 * record.ttft_seconds(now)) for record in records if self._began_lately(record, now)]
        tpot = [Weighted(1000 * seconds) for record in records if (seconds := record.tpot_seconds(now)) is not None]
        offered = self._arrivals.offered(now, _mean_output(records))
        forecast = self._arrivals.forecast(
            now, offered, lambda since: _mean_output([record for record in records if record.arrived_at >= since])
        )
        summary = WindowSummary(
            at=now,
            seconds=self.seconds,
            samples=max(len(ttft), len(tpot)),
            ttft_ms=percentiles(ttft),
            tpot_ms=percentiles(tpot),
            waiting=len(waiting),
            running=len(running),
            waiting_prompt_tokens=sum(record.prompt_tokens for record in waiting),
            waited_prompt_tokens=sum(record.prompt_tokens for record in records if self._waited(record, now)),
            offered=offered.load,
            forecast=forecast.load,
            prompt_tokens=offered.prompt_tokens,
            next_prompt_tokens=forecast.prompt_tokens,
            is_mixed=forecast.is_new,
            served_decode=sum(self._tokens_within(record, now) for record in records) / self.seconds,
            latest_prefill=self._latest_prefill(now),
            work=self._work[-1].totals.since(self._work[0].totals) if len(self._work) > 1 else None,
        )
        return self._with_reports(summary, ttft, tpot) if self._reports else summary

    def _with_reports(self, own: WindowSummary, ttft: list[Weighted], tpot: list[Weighted]) -> WindowSummary:
        """Percentiles of percentiles, by count: the best that can be made of them."""
        reports = [report.metrics for report in self._reports]
        count = sum(metrics.request_count for metrics in reports)
        if not count:
            return own
        busy = sum(metrics.prefill_utilization * metrics.request_count for metrics in reports) / count
        load = Load(
            sum(metrics.prefill_throughput * metrics.request_count for metrics in reports) / count,
            sum(metrics.decode_throughput * metrics.request_count for metrics in reports) / count,
        )
        latest = reports[-1]
        return replace(
            own,
            samples=own.samples + count,
            ttft_ms=percentiles(ttft + [Weighted(m.ttft_p95, m.request_count) for m in reports]),
            tpot_ms=percentiles(tpot + [Weighted(m.tpot_p95, m.request_count) for m in reports]),
            waiting=own.waiting + latest.prefill_queue_length,
            running=own.running + latest.decode_queue_length,
            offered=own.offered.plus(load),
            forecast=own.forecast.plus(load),
            served_decode=own.served_decode + load.decode,
            prefill_utilization=min(1.0, max(0.0, busy)),
        )

    def _began_lately(self, record: RequestRecord, now: float) -> bool:
        return record.first_token_at is None or record.first_token_at >= now - self.seconds

    def _latest_prefill(self, now: float) -> float:
        """What was computed since a moment ago: in all of a window in which the load has just come, it is little."""
        since = [counted for counted in self._work if counted.at >= now - LATEST * self.seconds]
        seconds = since[-1].at - since[0].at if since else 0.0
        if not seconds:
            return 0.0
        return (since[-1].totals.prefill_tokens - since[0].totals.prefill_tokens) / seconds

    def _waited(self, record: RequestRecord, now: float) -> bool:
        """When the window began."""
        return record.arrived_at < now - self.seconds and self._began_lately(record, now)

    def _tokens_within(self, record: RequestRecord, now: float) -> float:
        """Output tokens that came within the window, as if they had come evenly."""
        first, last = record.first_token_at, record.last_token_at
        if first is None or last is None:
            return 0.0
        if last <= first:
            return float(record.output_tokens if first >= now - self.seconds else 0)
        return record.output_tokens * max(0.0, last - max(first, now - self.seconds)) / (last - first)

    def _expire(self, now: float) -> None:
        since = now - self.seconds
        for request_id in list(self._ended_before(since)):
            del self._records[request_id]
        while self._reports and self._reports[0].at < since:
            self._reports.popleft()
        while len(self._work) > 1 and self._work[1].at <= since:
            self._work.popleft()

    def _ended_before(self, since: float) -> Iterator[int]:
        for record in self._records.values():
            if record.is_finished and (record.last_token_at or record.arrived_at) < since:
                yield record.request_id


def _mean_output(records: list[RequestRecord]) -> float:
    """Tokens of an answer; one that is still being given is at least as long as it is, and as others are."""
    whole = [record.output_tokens for record in records if record.is_finished]
    usual = sum(whole) / len(whole) if whole else 0.0
    lengths = whole + [max(record.output_tokens, usual) for record in records if record.is_running]
    return sum(lengths) / len(lengths) if lengths else 0.0
