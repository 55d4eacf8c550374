"""The step loop: take orders, compute in this worker's part of the device, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from engine.device.device import Device, Partition
from engine.wire.to_scheduler import Drained
from engine.wire.to_worker import DecodeOrder, Drain, PrefillOrder
from engine.worker.order_socket import Order, OrderSocket
from engine.worker.steps import Report, Steps


class Worker:
    """One phase, or in a colocated group both: `steps` knows which."""

    def __init__(self, epoch: int, steps: Steps, partition: Partition, device: Device, orders: OrderSocket):
        self._epoch = epoch
        self._steps = steps
        self._partition = partition
        self._device = device
        self._orders = orders
        self._draining = False
        self._owed_seconds = 0.0

    def run(self) -> None:
        """Step until told to drain; then nothing of this worker is in flight, and the scheduler knows."""
        while not self._draining:
            self._apply(self._orders.receive(wait=not self._steps.has_work))
            if self._steps.has_work and not self._draining:
                self._compute(self._steps.turn)
                self._rest()
        self._compute(self._steps.finish)
        self._device.synchronize()
        self._orders.send(Drained(self._epoch))

    def _apply(self, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Drain():
                    self._draining = True
                case PrefillOrder() | DecodeOrder() if order.epoch == self._epoch:
                    self._steps.apply(order)

    def _compute(self, work: Callable[[], list[Report]]) -> None:
        with self._partition.step():
            reports = work()
        for report in reports:
            self._orders.send(report)

    def _rest(self) -> None:
        """Wait out the other phase's share; a wait that came out long is taken off the next."""
        self._owed_seconds += self._partition.rest_seconds
        started = time.monotonic()
        self._apply(self._orders.rest(self._owed_seconds))
        self._owed_seconds -= time.monotonic() - started
