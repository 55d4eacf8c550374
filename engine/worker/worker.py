"""The step loop: take orders, compute one step in this worker's part of the device, report."""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.device.device import Device, Partition
from engine.model.runner import ModelRunner
from engine.model.segment import Segment
from engine.wire.to_scheduler import Drained
from engine.wire.to_worker import DecodeOrder, Drain, PrefillOrder
from engine.worker.decoder import Decoder
from engine.worker.order_socket import Order, OrderSocket
from engine.worker.prefiller import Prefiller


class Worker:
    """One phase, or in a colocated group both: then a step packs the prefill chunks and all decode lanes together."""

    def __init__(
        self,
        epoch: int,
        phases: Sequence[Prefiller | Decoder],
        runner: ModelRunner,
        partition: Partition,
        device: Device,
        orders: OrderSocket,
    ):
        self._epoch = epoch
        self._phases = phases
        self._runner = runner
        self._partition = partition
        self._device = device
        self._orders = orders
        self._draining = False
        self._owed_seconds = 0.0

    def run(self) -> None:
        """Step until told to drain; then nothing of this worker is in flight, and the scheduler knows."""
        while not self._draining:
            busy = [phase for phase in self._phases if phase.has_work]
            self._apply(self._orders.receive(wait=not busy))
            busy = [phase for phase in self._phases if phase.has_work]
            if busy and not self._draining:
                self._step(busy)
                self._rest()
        self._device.synchronize()
        self._orders.send(Drained(self._epoch))

    def _apply(self, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Drain():
                    self._draining = True
                case PrefillOrder() | DecodeOrder() if order.epoch == self._epoch:
                    self._phase_of(order).apply(order)  # type: ignore[arg-type]

    def _step(self, busy: Sequence[Prefiller | Decoder]) -> None:
        started = time.perf_counter()
        parts = [phase.segments() for phase in busy]
        segments = [segment for part in parts for segment in part]
        drawn = self._compute(segments) if segments else []
        seconds = time.perf_counter() - started
        first = 0
        for phase, part in zip(busy, parts, strict=True):
            self._orders.send(phase.report(drawn[first : first + len(part)], seconds))
            first += len(part)

    def _compute(self, segments: Sequence[Segment]) -> list[int | None]:
        with self._partition.step():
            return self._runner.step(segments)

    def _rest(self) -> None:
        """Wait out the other phase's share; a wait that came out long is taken off the next."""
        self._owed_seconds += self._partition.rest_seconds
        started = time.monotonic()
        self._apply(self._orders.rest(self._owed_seconds))
        self._owed_seconds -= time.monotonic() - started

    def _phase_of(self, order: PrefillOrder | DecodeOrder) -> Prefiller | Decoder:
        wanted = Prefiller if isinstance(order, PrefillOrder) else Decoder
        return next(phase for phase in self._phases if isinstance(phase, wanted))
