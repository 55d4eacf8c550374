"""The scheduler's decisions, free of sockets, clocks and torch: events in, letters out.

Every event is a method; `plan` then decides what follows from the new state. `engine.scheduler.service` feeds it from
sockets, tests and simulations feed it by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.allocation import Phase
from engine.request import Request, RequestState
from engine.scheduler.admission import refusal
from engine.scheduler.decode import DecodeBatch
from engine.scheduler.groups import Groups, Worker
from engine.scheduler.hand_over import HandingOver
from engine.scheduler.limits import Limits
from engine.scheduler.live_request import Exit, LiveRequest
from engine.scheduler.live_requests import LiveRequests
from engine.scheduler.outbox import Channel, Outbox
from engine.scheduler.phase_work import PhaseWork
from engine.scheduler.prefill import PrefillQueue
from engine.scheduler.progress import Progress
from engine.scheduler.split_change import SplitChange, next_to_change
from engine.scheduler.split_change import refusal as refusal_of_split
from engine.scheduler.succession import Succession
from engine.storage.allocator import PageAllocator
from engine.wire.to_controller import (
    Activated,
    GroupIdle,
    GroupLost,
    GroupReady,
    LoadReport,
    SplitChanged,
    Status,
)
from engine.wire.to_gateway import Accepted, Refused
from engine.wire.to_scheduler import (
    ChangeSplit,
    DecodeReport,
    PrefillReport,
    SharesPrepared,
    ShareTaken,
    Token,
    WorkerReady,
)
from engine.wire.to_worker import Drain, PrefillOrder


class Scheduler:
    """All live requests, their pages, and the workers that compute them."""

    def __init__(self, limits: Limits, allocator: PageAllocator, clock: Callable[[], float] = time.monotonic):
        self.limits = limits
        self.allocator = allocator
        self.groups = Groups()
        self.outbox = Outbox()
        self.live = LiveRequests()
        self.prefill = PrefillQueue(limits, allocator, clock)
        self.decode = DecodeBatch(limits, allocator)
        self.progress = Progress(clock)
        self._clock = clock
        self.preemptions = 0
        self.work = {phase: PhaseWork() for phase in Phase}
        self._watcher: bytes | None = None
        self._split_change: SplitChange | None = None
        self._hand_over: HandingOver | None = None
        self._succession: Succession | None = None

    # ── gateways ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def pool_tokens(self) -> int:
        return self.allocator.total_pages * self.allocator.page_size

    @property
    def free_pages(self) -> int:
        """The page of a probe comes back so soon that it is told as free."""
        return self.allocator.free_count + sum(len(self.allocator.table(probe)) for probe in self.live.probes)

    def submit(self, gateway: bytes, request: Request) -> None:
        """Admit a request or refuse it; either way its gateway is told."""
        waiting, of_key = len(self.prefill.waiting), self.live.by_key[request.key_id]
        problem = refusal(
            request, self.limits, waiting, self.prefill.wait_seconds, of_key, self.groups.is_routed, self.pool_tokens
        )
        if problem is not None:
            answer = Refused(request.request_id, problem.code or "", problem.message, problem.retry_after_seconds or 0)
            self.outbox.put(Channel.GATEWAY, gateway, answer)
            return
        self._admit(gateway, request)
        self.outbox.put(Channel.GATEWAY, gateway, Accepted(request.request_id))

    def resume(self, gateway: bytes, request: Request) -> None:
        """Go on with a request that was accepted, here or by the scheduler before this one."""
        live = self.live.get(request.request_id)
        if live is None:
            self._admit(gateway, request)
            return
        for index in range(len(request.emitted_ids), live.output_count):
            token_id = live.output_ids[index]
            finish = request.sampling.finish_reason(token_id, index)
            self.outbox.put_token(gateway, Token(live.id, index, token_id, finish))

    def _admit(self, gateway: bytes, request: Request) -> None:
        if not request.is_probe:
            self.prefill.waiting.arrive(request.key_id, self.live.by_key)
        self.prefill.add(self.live.admit(gateway, request, draws_again=bool(self.limits.chunk_tokens)))

    def cancel(self, request_id: int) -> None:
        """Nobody wants more tokens of this request; its pages come back once no step touches them."""
        live = self.live.get(request_id)
        if live is None or live.exit in (Exit.CANCELLED, Exit.FINISHED):
            return
        self._end(live, Exit.CANCELLED)

    def gateway_gone(self, gateway: bytes) -> None:
        """A gateway worker ended, and with it its clients' connections."""
        for live in self.live.of_gateway(gateway):
            self.cancel(live.id)

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def worker_ready(self, peer: bytes, ready: WorkerReady) -> None:
        """A worker waits for orders; with its group complete, the controller may activate it."""
        self.groups.add(Worker(peer, ready))
        if self.groups.is_complete(ready.epoch):
            self._tell_watcher(GroupReady(ready.epoch, self.groups.used_bytes(ready.epoch)))

    def prefill_reported(self, peer: bytes, report: PrefillReport) -> None:
        """A chunk's K and V are committed; a finished prompt moves on to decode."""
        worker = self.groups.workers[peer]
        worker.did_step(report.seconds, report.borrowed_seconds)
        worker.prefilled_tokens += report.token_count
        self.work[Phase.PREFILL].did(report.seconds, report.token_count, report.borrowed_seconds, report.steps)
        self.prefill.computed(report.token_count)
        order = worker.in_flight.pop(report.sequence)
        first_tokens = {token.request_id: token for token in report.tokens}
        for chunk in order.chunks:
            live = self.live[chunk.request_id]
            live.in_flight -= 1
            self._commit(live, chunk.start + len(chunk.token_ids))
            if live.id in first_tokens:
                self._prompt_done(live, first_tokens[live.id])
            elif live.exit is not None and not live.in_flight:
                self._quiet(live)

    def decode_reported(self, peer: bytes, report: DecodeReport) -> None:
        """Pass on the tokens of a step; give back the pages of those that have left."""
        worker = self.groups.workers[peer]
        worker.did_step(report.seconds, report.borrowed_seconds)
        self.work[Phase.DECODE].did(report.seconds, len(report.tokens), report.borrowed_seconds)
        if self._hand_over is not None:
            self._hand_over.see(worker, report.tokens, self._clock())
        for token in report.tokens:
            live = self.live.get(token.request_id)
            if live is not None:
                self._take_token(live, token)
                self._note_written(live)
        for request_id in report.left:
            live = self.live.get(request_id)
            if live is not None and live.lane is worker:
                self._left(live)

    def shares_prepared(self, peer: bytes, report: SharesPrepared) -> None:
        """The worker can take more shares in place than it could."""
        self.groups.workers[peer].prepared = report.shares

    def share_taken(self, peer: bytes, report: ShareTaken) -> None:
        """The worker computes in another part now."""
        self.groups.workers[peer].took(report.percentage, report.sm_count)

    def worker_drained(self, peer: bytes) -> None:
        """The worker has done what it was told and exits."""
        worker = self.groups.workers.get(peer)
        if worker is not None:
            worker.is_draining = True

    def owes(self, worker: Worker) -> bool:
        """True for one that has been told to compute something that it can compute, and has not reported it."""
        return bool(worker.in_flight) or self.decode.owes(worker)

    def fence(self, worker: Worker, because: str) -> None:
        """Nothing that the worker says counts any more, and it is told nothing more. Its group is lost.

        What it may write stays its own until `worker_gone`: a process that is killed may take its time to end.
        """
        worker.fenced_because = because
        self.groups.close(worker)
        self._tell_lost(worker, because)

    def worker_gone(self, peer: bytes) -> None:
        """The worker's process and its work have ended: nothing writes the pages of its requests, which go on elsewhere
        with them."""
        worker = self.groups.workers.get(peer)
        if worker is None:
            return
        self.groups.remove(worker)
        self.groups.close(worker)
        self.decode.forget(worker)
        if not worker.is_draining and not worker.fenced_because:
            self._tell_lost(worker, "ended unexpectedly")
        for live in list(self.live.values()):
            if live.lane is worker:
                self._left(live)
            elif live.in_flight and live.prefiller is worker:
                self._chunks_lost(live, worker)

    def _chunks_lost(self, live: LiveRequest, worker: Worker) -> None:
        """What it had not reported is ordered once more, of another worker; what it had is in the request's pages."""
        chunks = (chunk for order in worker.in_flight.values() for chunk in order.chunks)
        live.in_flight = 0
        if live.exit is not None:
            self._quiet(live)
        else:
            live.ordered = min(chunk.start for chunk in chunks if chunk.request_id == live.id)

    # ── controller ──────────────────────────────────────────────────────────────────────────────────────────────────

    def watch(self, peer: bytes) -> None:
        self._watcher = peer
        self.groups.recall_superseded()
        for epoch in self.groups.complete_epochs():
            self._tell_watcher(GroupReady(epoch, self.groups.used_bytes(epoch)))

    def activate(self, peer: bytes, epoch: int) -> None:
        """Route both phases to the group of `epoch`.

        What another group computes moves over by itself: each prompt at its chunk's end, each lane at its step's end,
        in the order of `Succession`.
        """
        problem = ""
        if not self.groups.is_complete(epoch):
            problem = f"The group of epoch {epoch} is not ready."
        else:
            prefill, decode = self.groups.route(Phase.PREFILL), self.groups.route(Phase.DECODE)
            self.groups.activate(epoch)
            heir = self.groups.route(Phase.DECODE)
            if heir is not None and heir is not decode:
                self._succession = Succession(prefill, decode, heir, heir.steps)
                self._hand_over = HandingOver.begin(epoch, self.decode.running.values())
        self.outbox.put(Channel.CONTROLLER, peer, Activated(epoch, problem))

    def change_split(self, peer: bytes, order: ChangeSplit) -> None:
        """Have a group take a split in place; `plan` sees to it, and answers when it is done."""
        problem = refusal_of_split(self.groups.of_epoch(order.epoch), order.split)
        if not self.groups.is_complete(order.epoch):
            problem = f"The group of epoch {order.epoch} is not ready."
        if problem:
            self.outbox.put(Channel.CONTROLLER, peer, SplitChanged(order.epoch, order.sequence, problem))
        else:
            self._split_change = SplitChange(peer, order.epoch, order.sequence, order.split, order.prepare)
            decoder = self.groups.route(Phase.DECODE)
            if decoder is not None and decoder.epoch == order.epoch:
                running = self.decode.running.values()
                self._hand_over = HandingOver.begin(order.epoch, running, order.split, order.sequence)

    def retire(self, epoch: int) -> None:
        """Let the workers of `epoch` (0: all) finish their step and exit."""
        for worker in list(self.groups.workers.values()):
            if epoch in (0, worker.epoch):
                self.groups.close(worker)
                worker.is_draining = True
                self.outbox.put(Channel.WORKER, worker.peer, Drain(worker.epoch))

    @property
    def status(self) -> Status:
        states = [live.state for live in self.live.of_clients]
        return Status(
            ready=self.groups.is_routed,
            waiting=states.count(RequestState.WAITING),
            prefilling=states.count(RequestState.PREFILLING),
            decoding=states.count(RequestState.DECODING),
            total_pages=self.allocator.total_pages,
            free_pages=self.free_pages,
            preemptions=self.preemptions,
            workers=self.groups.statuses(),
            cached_pages=self.allocator.cached_count,
        )

    def free_cached_pages(self) -> int:
        """Forget the pages that no request holds; returns how many that were."""
        return self.allocator.forget_cached()

    def load_report(self) -> LoadReport:
        """How far requests have come since the last report."""
        return self.progress.take_report(self.live.of_clients, self.work)

    # ── what follows ────────────────────────────────────────────────────────────────────────────────────────────────

    def plan(self) -> None:
        """Decide from the present state: decode's pages first, then who is prefilled, then what decode is told."""
        self._plan_split()
        self._plan_pages()
        self._plan_prefill()
        self._plan_decode()
        for epoch in self.groups.take_idle(lambda worker: bool(worker.in_flight or self.decode.lanes_of(worker))):
            self._tell_watcher(GroupIdle(epoch))
        if self._hand_over is not None and not self._hand_over.waiting:
            self.progress.handed_over(self._hand_over.told)
            self._hand_over = None

    def _plan_split(self) -> None:
        """Bring the group closer to the split it is to take. Who has lost a worker never does: another takes over."""
        change = self._split_change
        if change is None or not self.groups.is_complete(change.epoch):
            self._split_change = None
            return
        pending = next_to_change(self.groups.of_epoch(change.epoch), change.split)
        for worker in pending:
            if worker.order_share(change.split.share(worker.phase)):
                self.outbox.put(Channel.WORKER, worker.peer, change.order(worker))
        if not pending:
            self._split_change = None
            self.outbox.put(Channel.CONTROLLER, change.asked_by, SplitChanged(change.epoch, change.sequence))

    def _plan_pages(self) -> None:
        """Grant pages. Where more starve than pages are coming back for, somebody is preempted.

        A victim that nothing touches gives its pages back at once. Nobody will report that, so they are granted here.
        """
        worker = self._decoder
        while worker is not None and (starving := self.decode.grow(worker.epoch)):
            victim = self.live.youngest_running if len(starving) > self._pages_coming_back else None
            if victim is None:
                return
            self.preemptions += 1
            self._end(victim, Exit.PREEMPTED)

    @property
    def _pages_coming_back(self) -> int:
        return sum(len(self.allocator.table(live.id)) for live in self.live.values() if live.exit is not None)

    def _plan_prefill(self) -> None:
        if self._succession is not None:
            self._place_lanes()
            if self._succession.holds(self.decode):
                return
            self._succession = None
        worker = self.groups.route(Phase.PREFILL)
        while worker is not None and len(worker.in_flight) < self.limits.prefill_depth:
            chunks = self.prefill.next_chunks(len(self.decode.running), worker)
            if not chunks:
                return
            order = PrefillOrder(worker.epoch, worker.next_sequence(), tuple(chunks))
            worker.in_flight[order.sequence] = order
            for chunk in chunks:
                self.progress.started(self.live[chunk.request_id])
            self.outbox.put(Channel.WORKER, worker.peer, order)

    def _plan_decode(self) -> None:
        self._place_lanes()
        for told, order in self.decode.take_orders():
            if not told.fenced_because:
                self.outbox.put(Channel.WORKER, told.peer, order)

    def _place_lanes(self) -> None:
        if (worker := self._decoder) is not None:
            self.decode.place(worker)

    @property
    def _decoder(self) -> Worker | None:
        """Where lanes belong now."""
        stays = self._succession.stays if self._succession is not None else None
        return stays or self.groups.route(Phase.DECODE)

    # ── a request's way ─────────────────────────────────────────────────────────────────────────────────────────────

    def _prompt_done(self, live: LiveRequest, token: Token) -> None:
        """The first token after a prompt is out, and no chunk of it is in flight any more."""
        self._take_token(live, token)
        if live.exit is not None:
            self._quiet(live)
            return
        self.prefill.remove(live)
        self.decode.add(live)

    def _left(self, live: LiveRequest) -> None:
        """No step touches its pages any more. It ends here, or goes on in another worker."""
        self.decode.left(live)
        if live.exit is not None:
            self._commit(live, live.length - 1)  # the last token was never fed back
            self._quiet(live)

    def _take_token(self, live: LiveRequest, token: Token) -> None:
        """Pass a new token on; one that is already there, or that nobody wants, is dropped."""
        if live.exit is Exit.CANCELLED or token.index != live.output_count:
            return
        if live.behind:
            live.behind -= 1  # drawn again: the client has it
            return
        live.append(token.token_id)
        self.prefill.waiting.charge(live.request.key_id, output_tokens=1)
        self.outbox.put_token(live.gateway, self.progress.timed(live, token))
        if token.finish is not None:
            live.exit = Exit.FINISHED

    def _note_written(self, live: LiveRequest) -> None:
        """A token that was reported has the K and V of all before it; the ledger says so of each page they fill."""
        if (live.length - 1) % self.allocator.page_size == 0:
            written = self.prefill.shareable_tokens(live, live.length - 1)
            self.allocator.note_written(live.id, live.salt, live.token_ids, written)

    def _end(self, live: LiveRequest, reason: Exit) -> None:
        """Make a request leave; where nothing is in flight it has left at once."""
        live.exit = reason
        is_decoding = live.state is RequestState.DECODING
        if self.decode.let_go(live) if is_decoding else not live.in_flight:
            self._quiet(live)

    def _commit(self, live: LiveRequest, tokens: int) -> None:
        shareable = self.prefill.shareable_tokens(live, tokens)
        self.allocator.commit(live.id, live.salt, live.token_ids[:shareable])

    def _quiet(self, live: LiveRequest) -> None:
        """No step touches the request's pages any more: take them back, and start it again or forget it."""
        self.prefill.remove(live)
        self.decode.remove(live)
        if self._hand_over is not None:
            self._hand_over.drop(live)
        self.allocator.release(live.id)
        if live.exit is Exit.PREEMPTED:
            live.restart(draws_again=self.limits.chunk_tokens is not None)
            self.prefill.add(live)
        else:
            self._forget(live)

    def _forget(self, live: LiveRequest) -> None:
        live.state = RequestState.FINISHED
        self.live.forget(live)
        if not live.request.is_probe:
            self.progress.ended(live, is_finished=live.exit is Exit.FINISHED)

    def _tell_lost(self, worker: Worker, how: str) -> None:
        who = f"{' and '.join(worker.ready.phases)} worker of slot {worker.ready.slot}"
        self._tell_watcher(GroupLost(worker.epoch, f"The {who} (process {worker.ready.pid}) {how}."))

    def _tell_watcher(self, message: GroupReady | GroupIdle | GroupLost) -> None:
        if self._watcher is not None:
            self.outbox.put(Channel.CONTROLLER, self._watcher, message)
