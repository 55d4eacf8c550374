"""One row of metrics a second, from what the controller knows then and the requests that ended in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.dialects.sqlite import insert

from appliance.attention import Closed
from appliance.store import schema
from appliance.store.gpu_meter import GpuReading
from appliance.store.metrics_row import Latency, Row, Work, described, judged, latency_of, measured, rates
from appliance.store.schema import Resolution
from appliance.store.writer import Writer
from engine.wire.to_controller import LoadReport


class Sampler:
    """`observe` and `sample` are called in different threads."""

    def __init__(
        self,
        writer: Writer,
        status: Callable[[], dict[str, Any]],
        gpu: Callable[[], GpuReading | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ):
        self._writer = writer
        self._status = status
        self._gpu = gpu
        self._clock = clock
        self._lock = threading.Lock()
        self._ended: list[Latency] = []
        self._work: Work | None = None
        self._sampled = Work(time.monotonic())
        self._time = 0

    def observe(self, report: LoadReport) -> None:
        """What the scheduler says of its requests, once a second."""
        ended = [latency for progress in report.requests if progress.is_finished and (latency := latency_of(progress))]
        with self._lock:
            self._ended += ended
            self._work = Work(time.monotonic(), report.prefill_tokens, report.decode_tokens)

    def sample(self) -> None:
        """Have a row written for this second, once requests can be served.

        If the second has one already, what there is to say is said in the next.
        """
        now = int(self._clock())
        if self._work is None or now == self._time:
            return
        self._time = now
        try:
            status = self._status()
        except Closed:
            return  # the appliance stops
        with self._lock:
            ended, self._ended = self._ended, []
            work = self._work
        row = {"time": now, "samples": 1, **judged(ended, status["slo"]["target"]), **described(status)}
        row |= self._rates(work, status) | measured(self._gpu())
        self._writer.sample(lambda connection: connection.execute(_insert(row)))

    def _rates(self, work: Work | None, status: dict[str, Any]) -> Row:
        scheduler = status["scheduler"]
        if work is None or scheduler is None:
            return {"preemptions": 0, "prefill_tokens_per_second": None, "decode_tokens_per_second": None}
        now, before = work._replace(preemptions=scheduler["preemptions"]), self._sampled
        self._sampled = now
        return rates(before, now)


def _insert(row: Row) -> Any:
    """The clock may have been set back."""
    return insert(schema.metrics[Resolution.SECOND]).values(row).prefix_with("OR REPLACE")
