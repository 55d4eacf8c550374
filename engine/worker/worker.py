"""The step loop: take orders, compute in this worker's part of the device, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from engine.device.device import Device, Partition
from engine.fault_point import FaultPoint, reached
from engine.garbage import Garbage
from engine.wire.to_scheduler import Drained, SharesPrepared, ShareTaken
from engine.wire.to_worker import DecodeOrder, Drain, PrefillOrder, TakeShare
from engine.worker.order_socket import Order, OrderSocket
from engine.worker.other_phase import OtherPhase
from engine.worker.parts import Parts
from engine.worker.preparation import Preparation
from engine.worker.steps import Report, Steps

QUIET_SECONDS = 0.5
"""Without work, before something is prepared: a piece takes tens of milliseconds, for which a request would wait that
comes meanwhile. Where one comes every now and then, or a hand-over is due, it is not begun."""


class Worker:
    """One phase, or in a colocated group both: `steps` knows which.

    `other` is the phase that it borrows from while that one is idle, None where it never does.
    """

    def __init__(
        self,
        epoch: int,
        steps: Steps,
        parts: Parts,
        device: Device,
        orders: OrderSocket,
        other: OtherPhase | None,
        preparation: Preparation,
    ):
        self._epoch = epoch
        self._steps = steps
        self._parts = parts
        self._device = device
        self._orders = orders
        self._other = other
        self._preparation = preparation
        self._draining = False
        self._garbage = Garbage()
        self._is_quiet = False
        self._owed_seconds = 0.0

    def run(self) -> None:
        """Step until told to drain; then nothing of this worker is in flight, and the scheduler knows."""
        while not self._draining:
            patience = self._patience_seconds()
            self._garbage.may_be_collected(is_at_rest=patience is None)
            orders = self._orders.receive(patience)
            self._is_quiet = not (orders or self._steps.has_work)
            self._apply(orders)
            self._apply(self._orders.rest(self._steps.seconds_to_spare))
            if self._steps.has_work and not self._draining:
                self._step()
            elif self._is_quiet:
                self._prepare()
        self._finish()
        self._device.synchronize()
        reached(FaultPoint.WORKER_DRAINED)
        self._orders.send(Drained(self._epoch))

    def order_drain(self) -> None:
        """What the scheduler orders otherwise; to be called from a signal's handler."""
        self._orders.order_drain()

    # ── between steps ───────────────────────────────────────────────────────────────────────────────────────────────

    def _patience_seconds(self) -> float | None:
        """How long to wait for an order; None where there is nothing to do without one."""
        if self._steps.has_work:
            return 0.0
        self._tell_other(is_busy=False)
        if self._preparation.is_over:
            return None
        return 0.0 if self._is_quiet else QUIET_SECONDS

    def _prepare(self) -> None:
        """A piece, between two looks at the orders."""
        if not self._preparation.is_over and self._preparation.advance() and self._parts.prepared is not None:
            self._orders.send(SharesPrepared(self._epoch, self._parts.prepared))

    def _apply(self, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Drain():
                    self._draining = True
                case TakeShare() if order.epoch == self._epoch:
                    self._take_share(order)
                case PrefillOrder() | DecodeOrder() if order.epoch == self._epoch:
                    self._steps.apply(order)

    def _take_share(self, order: TakeShare) -> None:
        """At the step boundary: nothing is in flight in the part that is left."""
        self._finish()
        self._parts.take(order.percentage)
        self._preparation.want(order.prepare)
        self._owed_seconds = 0.0
        self._orders.send(ShareTaken(self._epoch, order.sequence, order.percentage, self._parts.in_force.sm_count))

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _step(self) -> None:
        borrows = self._borrows()
        partition = self._parts.whole if borrows else self._parts.in_force
        self._compute(partition, lambda: self._steps.turn(borrows))
        self._rest(partition.rest_seconds)

    def _borrows(self) -> bool:
        """Whether the next step has the whole device. This phase tells that it is busy before it asks of the other."""
        self._tell_other(is_busy=True)
        if self._other is None or not self._parts.can_borrow:
            return False
        return self._other.is_idle and self._steps.can_borrow

    def _tell_other(self, is_busy: bool) -> None:
        if self._other is not None:
            self._other.tell(is_busy)

    def _finish(self) -> None:
        self._compute(self._parts.in_force, self._steps.finish)

    def _compute(self, partition: Partition, work: Callable[[], list[Report]]) -> None:
        with self._parts.step(partition):
            reports = work()
        for report in reports:
            self._orders.send(report)
            reached(FaultPoint.WORKER_REPORTED)

    def _rest(self, seconds: float) -> None:
        """Wait out the other phase's share; a wait that came out long is taken off the next."""
        self._owed_seconds += seconds
        started = time.monotonic()
        orders = self._orders.rest(self._owed_seconds)
        self._owed_seconds -= time.monotonic() - started
        self._apply(orders)
