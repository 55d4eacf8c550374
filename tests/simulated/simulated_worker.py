"""A worker process: the product's own phases; what the loop and the device do between them is played."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from engine.allocation import Phase, SMAllocation
from engine.model.lane import Lane
from engine.model.segment import Segment
from engine.scheduler.outbox import Channel
from engine.wire.codec import Message
from engine.wire.to_scheduler import FROM_WORKER, Drained, ShareTaken, WorkerReady
from engine.wire.to_worker import TO_WORKER, DecodeOrder, Drain, PrefillOrder, TakeShare
from engine.worker.decoder import Decoder
from engine.worker.prefiller import Prefiller
from tests.simulated.process import Process
from tests.simulated.scheduler_process import Client
from tests.simulated.world import World


class Row(NamedTuple):
    """One lane in a step. Which token it feeds is known only when the step before has drawn it."""

    lane: Lane
    position: int
    output_index: int

    @property
    def segment(self) -> Segment:
        lane = self.lane
        return Segment([lane.token_id], self.position, lane.pages, lane.sampling, self.output_index, lane.history)


class Step(NamedTuple):
    """On the device. `order` and `rows` are None for a phase that has no part in it."""

    order: PrefillOrder | None
    chunks: list[Segment]
    rows: list[Row] | None

    @property
    def pieces(self) -> list[tuple[int, Segment]]:
        """Which request each segment is of."""
        ids = [chunk.request_id for chunk in self.order.chunks] if self.order else []
        return [*zip(ids, self.chunks, strict=True), *((row.lane.request_id, row.segment) for row in self.rows or [])]


class SimulatedWorker(Process):
    """`code` is 0 only after it drained. Once it has had orders it may write to pages, until it has ended."""

    def __init__(self, world: World, epoch: int, slot: str, phases: tuple[Phase, ...], split: SMAllocation):
        super().__init__(world, f"{'+'.join(phases)}-{slot}-{epoch}")
        self.epoch, self.slot, self.phases, self.split = epoch, slot, phases, split
        self.code = 1
        self.is_poisoned = False
        self.has_had_orders = False
        self.steps: deque[Step] = deque()
        self._prefiller, self._decoder = Prefiller(), Decoder(epoch, world.scenario.page_size)
        self._prefill_orders: deque[PrefillOrder] = deque()
        self._orders: list[Message] = []
        self._unsent: list[bytes] = []
        self._is_draining = self._is_busy = False
        self._on_death: Callable[[SimulatedWorker, bool], None] = lambda worker, was_computing: None
        self._client = Client(self.name.encode(), self, self._received, self._scheduler_ended)

    def begin(self) -> None:
        """It has mapped the memory and warmed up."""
        share = self.split.share(self.phases[0])
        self._send(WorkerReady(self.epoch, self.slot, self.phases, self.pid, "duty", share, 0, prepared=None))
        self.world.meet_scheduler(Channel.WORKER, self._client, self._connected)

    # ── its line ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _connected(self) -> None:
        unsent, self._unsent = self._unsent, []
        for data in unsent:
            self._client.send(data)

    def _send(self, message: Message) -> None:
        data = FROM_WORKER.encode(message)
        self.world.tell(self.name, data)
        if self._client.up is None and not self._is_draining:
            self._unsent.append(data)
        else:
            self._client.send(data)

    def _received(self, data: bytes) -> None:
        self.has_had_orders = True
        self._orders.append(TO_WORKER.decode(data))
        self._wake()

    def _scheduler_ended(self) -> None:
        self._orders.insert(0, Drain(0))
        self._wake()

    # ── its loop ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _wake(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self.after(0.0, self._turn)

    def _turn(self) -> None:
        """As `Worker.run`: orders, then a step is launched, then all but what may be in flight is seen."""
        if self.is_poisoned:
            return
        self._apply()
        launched = False if self._is_draining else self._launch()
        if len(self.steps) > (1 if launched and self.world.scenario.runs_ahead else 0):
            self.after(self.world.step_seconds(), self._see)
        elif self._is_draining:
            self._drained()
        elif launched:
            self.after(0.0, self._turn)
        else:
            self._is_busy = False

    def _apply(self) -> None:
        orders, self._orders = self._orders, []
        for order in orders:
            match order:
                case Drain():
                    self._is_draining = True
                case TakeShare() if order.epoch == self.epoch:
                    self._see_all()
                    self._send(ShareTaken(self.epoch, order.sequence, order.percentage, 0))
                case PrefillOrder() if order.epoch == self.epoch:
                    self._prefill_orders.append(order)
                    self._prefiller.apply(order)
                case DecodeOrder() if order.epoch == self.epoch:
                    self._decoder.apply(order)

    def _launch(self) -> bool:
        """What is ready goes to the device; a step over no lanes tells who has left. False if there is nothing."""
        order, rows = None, None
        if self._prefill_orders and not any(step.order for step in self.steps):
            order = self._prefill_orders[0]
        if self._decoder.has_work:
            lanes = self._decoder.ready()
            if lanes or not self.steps:
                rows = [Row(lane, lane.position, lane.output_index) for lane in lanes]
                self._decoder.launched(lanes)
        if order is None and rows is None:
            return False
        self.steps.append(Step(order, self._prefiller.segments() if order else [], rows))
        self.world.invariants.launched(self, self.steps[-1].pieces)
        return bool(rows)

    def _see(self) -> None:
        if not self.is_poisoned:
            self._see_oldest()
            self._turn()

    def _see_all(self) -> None:
        while self.steps:
            self._see_oldest()

    def _see_oldest(self) -> None:
        """The device is done with it: what it wrote is there, and is reported."""
        step = self.steps[0]
        self.world.invariants.writes(self, step.pieces)
        drawn = self.world.memory.step(segment for _, segment in step.pieces)
        self.steps.popleft()
        chunks = len(step.chunks)
        if step.order is not None:
            self._prefill_orders.popleft()
            self._send(self._prefiller.report(drawn[:chunks], self.world.scenario.step_seconds))
        if step.rows is not None:
            self._send(self._decoder.report(drawn[chunks:], self.world.scenario.step_seconds))

    # ── its end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drained(self) -> None:
        self._send(Drained(self.epoch))
        self.code = 0
        self.after(self.world.network.delay(), self.end)

    def has_ended(self) -> None:
        """What was on the device may be written, half written or not written, and on a GPU that may take a while."""
        was_computing = bool(self.steps)
        if self.world.scenario.on_gpu and was_computing:
            seconds = sum(self.world.step_seconds() for _ in self.steps)
            self.world.clock.after(self.world.chance.uniform(0.0, seconds), self._spoil)
        else:
            self._spoil()
        if self._client.up is not None and self.code:
            self._client.up.sender_ended(lambda: None)
        self._on_death(self, was_computing)

    def when_dead(self, act: Callable[[SimulatedWorker, bool], None]) -> None:
        """`act` hears at once, with whether it had work on the device: that is the device's business."""
        self._on_death = act

    def poison(self) -> None:
        """Its calls fail from now on: what is on the device is lost, and it says nothing more and exits."""
        self.is_poisoned = True
        self._spoil()
        self.after(self.world.network.delay(), self.end)

    def _spoil(self) -> None:
        for step in self.steps:
            self.world.invariants.let_go(self, step.pieces)
            for _, segment in step.pieces:
                self.world.memory.spoil(segment, self.world.chance)
        self.steps.clear()
