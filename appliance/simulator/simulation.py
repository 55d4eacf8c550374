"""The real scheduler and allocator, moved from event to event by workers that only take time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count

from appliance.simulator.box import Box
from appliance.simulator.journal import Journal, Journey
from appliance.simulator.part import Part
from appliance.simulator.worker import DoneSteps, SimulatedWorker, phases_of
from appliance.slo.metrics import WorkTotals
from appliance.workload import Arrival
from engine.allocation import WHOLE, Phase, SMAllocation
from engine.request import Request, SamplingParams
from engine.scheduler.live_request import LiveRequest
from engine.scheduler.outbox import Channel
from engine.scheduler.scheduler import Scheduler
from engine.storage.allocator import PageAllocator
from engine.storage.ledger import Ledger
from engine.wire.codec import Message
from engine.wire.to_controller import GroupIdle
from engine.wire.to_scheduler import ChangeSplit, PrefillReport, ShareTaken, WorkerReady

GATEWAY, CONTROLLER = b"gateway", b"controller"


class Simulation:
    """One box and its load. `split` None is a colocated group. With `skips` equal decode steps are taken at once."""

    def __init__(self, box: Box, arrivals: Sequence[Arrival], split: SMAllocation | None, *, skips: bool = True):
        self.box = box
        self.now = 0.0
        self.split = split or WHOLE
        self.journal = Journal(box.times.overhead)
        self.changes: list[tuple[float, SMAllocation]] = []
        self.on_end: Callable[[Journey], None] = lambda journey: None
        ledger = Ledger.create(bytearray(Ledger.bytes_for(box.pages + 1)), box.pages + 1)
        self.scheduler = Scheduler(box.limits, PageAllocator(ledger, box.page_size), clock=lambda: self.now)
        self._is_colocated = split is None
        self._skips = skips
        self._arrivals: Iterator[Arrival] = iter(arrivals)
        self._next = next(self._arrivals, None)
        self._ids = count(1)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_ids = count()
        self._workers: dict[bytes, SimulatedWorker] = {}
        self._epoch = 0
        self.scheduler.watch(CONTROLLER)
        self.change_split(self.split)

    # ── for those who drive it ──────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Until every request has ended."""
        while self._next is not None or self.scheduler.live:
            self.step()

    def step(self) -> None:
        """To the next event, and what follows from it."""
        self.now, act = self._next_event()
        self._catch_up()
        act()
        self._settle()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` at that simulated time."""
        heappush(self._timers, (self.now + seconds, next(self._timer_ids), act))

    def change_split(self, split: SMAllocation) -> None:
        """A group at another split takes over now; the old one is retired when nothing of it is left."""
        self._epoch += 1
        self.split = split
        self.changes.append((self.now, split))
        for phases in phases_of(self._is_colocated):
            self._add_worker(phases, split)
        self.scheduler.activate(CONTROLLER, self._epoch)
        self._settle()

    def take_split(self, split: SMAllocation) -> None:
        """The group takes the split in place, as the scheduler has it done: who shrinks first."""
        self.split = split
        self.changes.append((self.now, split))
        self.scheduler.change_split(CONTROLLER, ChangeSplit(self._epoch, len(self.changes), split))
        self._settle()

    def live_journeys(self) -> Iterator[tuple[Journey, LiveRequest, float | None]]:
        """Requests that have not ended, and when their latest token came."""
        latest = max((worker.last_report_at for worker in self._workers.values()), default=0.0)
        for live in self.scheduler.live.values():
            journey = self.journal.journeys[live.id]
            if journey.finished_at is None:
                first = journey.first_token_at
                yield journey, live, None if first is None else max(first, latest)

    @property
    def totals(self) -> WorkTotals:
        prefill, decode = self.scheduler.work[Phase.PREFILL], self.scheduler.work[Phase.DECODE]
        return WorkTotals(
            prefill_tokens=prefill.tokens,
            prefill_seconds=prefill.seconds,
            decode_tokens=decode.tokens,
            decode_steps=decode.steps,
            decode_seconds=decode.seconds,
            prefill_borrowed_seconds=prefill.borrowed_seconds,
            decode_borrowed_seconds=decode.borrowed_seconds,
            prefill_steps=prefill.steps,
        )

    # ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _next_event(self) -> tuple[float, Callable[[], None]]:
        at, act = float("inf"), self._nothing
        if self._next is not None:
            at, act = self._next.at_seconds, self._arrive
        if self._timers and self._timers[0][0] < at:
            at, act = self._timers[0][0], self._ring
        for worker in self._workers.values():
            event_at = worker.next_event_at
            if event_at is not None and event_at < at:
                at, act = event_at, self._act_of(worker)
        return at, act

    def _nothing(self) -> None:
        raise AssertionError("requests are live and nothing will ever happen")

    def _ring(self) -> None:
        heappop(self._timers)[2]()

    def _arrive(self) -> None:
        arrival = self._next
        assert arrival is not None
        self._next = next(self._arrivals, None)
        request_id = next(self._ids)
        self.journal.begin(Journey(request_id, arrival.at_seconds, arrival.input_tokens, arrival.output_tokens))
        sampling = SamplingParams(max_tokens=arrival.output_tokens, temperature=0.0)
        request = Request(request_id, [request_id] * arrival.input_tokens, sampling, received_at=self.now)
        self.scheduler.submit(GATEWAY, request)

    def _act_of(self, worker: SimulatedWorker) -> Callable[[], None]:
        return lambda: self._work(worker)

    def _work(self, worker: SimulatedWorker) -> None:
        assert worker.run is not None
        if worker.run.is_unreported:
            self._report(worker)
        if worker.run.ends_at <= self.now:
            worker.end_run()

    def _report(self, worker: SimulatedWorker) -> None:
        for report in worker.reports():
            if isinstance(report, PrefillReport):
                self.scheduler.prefill_reported(worker.peer, report)
            else:
                self.scheduler.decode_reported(worker.peer, report)

    def _catch_up(self) -> None:
        """What the scheduler would have heard of decode steps by now. Their tokens end nothing and change no plan."""
        for worker in self._workers.values():
            if done := worker.catch_up(self.now):
                self._count(done)
                self.scheduler.decode.grow(worker.ready.epoch)  # what it wrote meanwhile had pages

    def _count(self, done: DoneSteps) -> None:
        work, waiting = self.scheduler.work[Phase.DECODE], self.scheduler.prefill.waiting
        tokens = done.steps * len(done.request_ids)
        work.did(done.seconds, tokens, done.seconds if done.borrowed else 0.0, done.steps)
        for request_id in done.request_ids:
            live = self.scheduler.live[request_id]
            live.output_ids += [0] * done.steps
            live.token_ids += [0] * done.steps
            waiting.charge(live.request.key_id, output_tokens=done.steps)

    # ── what follows ────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle(self) -> None:
        """Until there is nothing more to be done at this moment."""
        self._plan()
        while self._take_up():
            self._plan()
        for worker in self._workers.values():
            self._reconsider(worker)

    def _plan(self) -> None:
        self.scheduler.plan()
        for channel, peer, message in self.scheduler.outbox.take():
            match channel:
                case Channel.WORKER:
                    self._workers[peer].deliver(message, self.now)  # type: ignore[arg-type]
                case Channel.GATEWAY:
                    self._told_gateway(message)
                case Channel.CONTROLLER:
                    self._told_controller(message)

    def _take_up(self) -> bool:
        """Who stands between two steps reads its orders and begins; True if the scheduler heard of something."""
        answered = False
        for worker in [worker for worker in self._workers.values() if worker.run is None]:
            for answer in worker.read_orders(self.now):
                self._share_taken(worker, answer)
                answered = True
            if worker.is_drained:
                del self._workers[worker.peer]
                self.scheduler.worker_drained(worker.peer)
                self.scheduler.worker_gone(worker.peer)
        for worker in self._workers.values():
            if worker.run is None:
                free_pages = self.scheduler.allocator.free_count
                worker.begin(self.now, free_pages, borrows=self._may_borrow(worker), skips=self._skips)
        return answered

    def _share_taken(self, worker: SimulatedWorker, taken: ShareTaken) -> None:
        worker.part = self._part(self.split)
        self.scheduler.share_taken(worker.peer, taken)

    def _may_borrow(self, worker: SimulatedWorker) -> bool:
        """True while the other phase of its group has nothing to do."""
        if self._is_colocated or not self.box.borrowing:
            return False
        epoch = worker.ready.epoch
        return not any(
            other.is_busy for other in self._workers.values() if other is not worker and other.ready.epoch == epoch
        )

    def _reconsider(self, worker: SimulatedWorker) -> None:
        """A run of many steps goes on only as long as what it has is what it would be given now."""
        if worker.run is not None and worker.borrows != self._may_borrow(worker):
            worker.stop_after_step(self.now)

    def _told_gateway(self, message: Message) -> None:
        for journey in self.journal.take(message, self.now):
            self.on_end(journey)

    def _told_controller(self, message: Message) -> None:
        if isinstance(message, GroupIdle):
            self.after(0.0, lambda: self.scheduler.retire(message.epoch))

    def _add_worker(self, phases: tuple[Phase, ...], split: SMAllocation) -> None:
        peer = f"{'+'.join(phases)}-{self._epoch}".encode()
        share = 100 if self._is_colocated else split.share(phases[0])
        prepared = (share,) if self._is_colocated or not self.box.in_place else None
        ready = WorkerReady(self._epoch, "ab"[self._epoch % 2], phases, 1, "simulated", share, 0, prepared)
        self._workers[peer] = SimulatedWorker(
            peer, ready, self.box.times, self._part(split), self.box.page_size, self.box.launch_seconds
        )
        self.scheduler.worker_ready(peer, ready)

    def _part(self, split: SMAllocation) -> Part | None:
        if self._is_colocated:
            return None
        return Part(self.box.profile, split, self.box.times, self.box.prefill_token_budget)
