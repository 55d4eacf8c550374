"""The last minutes' requests and what their steps took, reckoned to the whole device: what a simulation can go by."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from appliance.slo.metrics import RequestRecord, WorkTotals
from appliance.slo.profile import Speeds

SpeedsOf = Callable[[float | None], Speeds]
"""At so many lanes of a decode step; None where there was none."""
SPAN_SECONDS = 120.0
MOST_REQUESTS = 200
"""So that a simulation of them takes a second or two."""


class SeenRequest(msgspec.Struct, frozen=True):
    """`at_seconds` after the first of them. `output_tokens` of an answer that is still given: as others have, if it has
    no more already. Latencies in milliseconds, None where there is none."""

    at_seconds: float
    prompt_tokens: int
    output_tokens: int
    ttft_ms: float | None
    tpot_ms: float | None


class DecodeSample(msgspec.Struct, frozen=True):
    """The mean step of a second: `batch` requests that attended to `context` tokens together."""

    batch: float
    context: float
    seconds: float


class PrefillSample(msgspec.Struct, frozen=True):
    """All steps of a second: of so many prompt tokens together, in so much time."""

    steps: int
    tokens: int
    seconds: float


class RecentLoad(msgspec.Struct, frozen=True):
    """The latest requests, and for each second what its steps of either phase took of the whole device."""

    requests: tuple[SeenRequest, ...] = ()
    prefill: tuple[PrefillSample, ...] = ()
    decode: tuple[DecodeSample, ...] = ()


class _Second(NamedTuple):
    at: float
    prefill: PrefillSample | None
    decode: DecodeSample | None


class LoadMemory:
    """Told once a second, and asked in any thread. Times are those of the records."""

    def __init__(self) -> None:
        self._requests: dict[int, RequestRecord] = {}
        self._seconds: deque[_Second] = deque()
        self._totals: WorkTotals | None = None
        self._lock = threading.Lock()

    def observe(self, records: list[RequestRecord], totals: WorkTotals, speeds: SpeedsOf | None, now: float) -> None:
        """`totals` since the scheduler began; `speeds` of own steps relative to the whole device, None: not known."""
        with self._lock:
            before, self._totals = self._totals, totals
            self._requests |= {record.request_id: record for record in records}
            if before is not None and speeds is not None and totals.decode_steps >= before.decode_steps:
                self._seconds.append(_second(totals.since(before), speeds, records, now))
            self._forget(now - SPAN_SECONDS)

    def recent(self) -> RecentLoad:
        """Of the latest requests that have begun to be answered, the earliest first."""
        with self._lock:
            began = sorted((one for one in self._requests.values() if one.output_tokens), key=lambda r: r.arrived_at)
            seconds = list(self._seconds)
        began = began[-MOST_REQUESTS:]
        whole = [one.output_tokens for one in began if one.is_finished]
        usual = round(sum(whole) / len(whole)) if whole else 0
        return RecentLoad(
            tuple(_seen(one, began[0].arrived_at, usual) for one in began),
            tuple(second.prefill for second in seconds if second.prefill is not None),
            tuple(second.decode for second in seconds if second.decode is not None),
        )

    def _forget(self, since: float) -> None:
        while self._seconds and self._seconds[0].at < since:
            self._seconds.popleft()
        for request_id in [key for key, record in self._requests.items() if record.arrived_at < since]:
            del self._requests[request_id]


def _second(work: WorkTotals, speeds_of: SpeedsOf, records: list[RequestRecord], now: float) -> _Second:
    speeds = speeds_of(work.lanes)
    prefill = None
    if work.prefill_steps > 0 and work.prefill_seconds > 0:
        seconds = _whole(work.prefill_seconds, work.prefill_borrowed_seconds, speeds.prefill)
        prefill = PrefillSample(work.prefill_steps, work.prefill_tokens, seconds)
    running = [record.prompt_tokens + record.output_tokens for record in records if record.is_running]
    decode = None
    if (batch := work.lanes) and running:
        seconds = _whole(work.decode_seconds, work.decode_borrowed_seconds, speeds.decode) / work.decode_steps
        decode = DecodeSample(batch, batch * sum(running) / len(running), seconds)
    return _Second(now, prefill, decode)


def _whole(seconds: float, borrowed_seconds: float, speed: float) -> float:
    """What the same steps would have taken with the whole device, which they had while they borrowed."""
    return max(0.0, seconds - borrowed_seconds) * speed + borrowed_seconds


def _seen(record: RequestRecord, begin: float, usual_output: int) -> SeenRequest:
    tpot = record.tpot_seconds(record.last_token_at or record.arrived_at)
    ttft = None if record.first_token_at is None else 1000 * (record.first_token_at - record.arrived_at)
    return SeenRequest(
        record.arrived_at - begin,
        record.prompt_tokens,
        record.output_tokens if record.is_finished else max(record.output_tokens, usual_output),
        ttft,
        None if tpot is None else 1000 * tpot,
    )
