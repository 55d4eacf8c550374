"""The real scheduler with the real phases of a worker, over a model that is a hash: it reads what the pages hold.

A token depends on every token before it *as read back from the pages*, so a page that is lost, mixed up or written by
two requests changes the output.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from engine.allocation import Phase
from engine.model.segment import Drawn, Segment
from engine.request import FinishReason, Request, SamplingParams
from engine.scheduler.limits import Limits
from engine.scheduler.outbox import Channel
from engine.scheduler.scheduler import Scheduler
from engine.storage.allocator import CACHE_OWNER, PageAllocator
from engine.storage.ledger import Ledger
from engine.wire.codec import Message
from engine.wire.to_controller import GroupIdle
from engine.wire.to_gateway import Accepted, Refused, Tokens
from engine.wire.to_scheduler import DecodeReport, Drained, PrefillReport, ShareTaken, WorkerReady
from engine.wire.to_worker import DecodeOrder, Drain, PrefillOrder, TakeShare
from engine.worker.decoder import Decoder
from engine.worker.prefiller import Prefiller

GATEWAY, CONTROLLER = b"gateway", b"controller"
VOCABULARY = 50


def next_token(token_ids: Iterable[int]) -> int:
    """The hash that stands for a model."""
    return hashlib.blake2b(repr(list(token_ids)).encode(), digest_size=8).digest()[0] % VOCABULARY


def undisturbed(request: Request) -> list[int]:
    """What a request must give, whatever happens to it on the way."""
    token_ids, output = list(request.prompt_ids), list[int]()
    while True:
        output.append(next_token(token_ids + output))
        if request.sampling.finish_reason(output[-1], len(output) - 1):
            return output


class HashModel:
    """K and V of a token is the token itself."""

    def __init__(self, num_pages: int, page_size: int):
        self._page_size = page_size
        self._slots: list[int | None] = [None] * (num_pages * page_size)

    def step(self, segments: Iterable[Segment]) -> list[Drawn | None]:
        return [self._compute(segment) for segment in segments]

    def _compute(self, segment: Segment) -> Drawn | None:
        for offset, token_id in enumerate(segment.token_ids):
            self._slots[self._slot(segment, segment.start + offset)] = token_id
        if segment.sampling is None:
            return None
        end = segment.start + len(segment.token_ids)
        read = [self._slots[self._slot(segment, position)] for position in range(end)]
        assert None not in read, "a page was read before it was written"
        return Drawn(next_token(token for token in read if token is not None))

    def _slot(self, segment: Segment, position: int) -> int:
        page = segment.pages[position // self._page_size]
        assert page != 0, "page 0 belongs to nobody"
        return page * self._page_size + position % self._page_size


class RehearsedWorker:
    """A worker process without the process: it works only when told to."""

    def __init__(self, peer: bytes, ready: WorkerReady, model: HashModel, page_size: int):
        self.peer = peer
        self.ready = ready
        self._model = model
        self._phases: dict[Phase, Prefiller | Decoder] = {
            phase: Prefiller() if phase is Phase.PREFILL else Decoder(ready.epoch, page_size) for phase in ready.phases
        }
        self.orders: deque[Message] = deque()
        self.is_drained = False

    def work(self) -> list[Message]:
        """Apply all orders, compute one step, return the reports."""
        while self.orders:
            match self.orders.popleft():
                case PrefillOrder() as order:
                    self._phases[Phase.PREFILL].apply(order)  # type: ignore[arg-type]
                case DecodeOrder() as order:
                    self._phases[Phase.DECODE].apply(order)  # type: ignore[arg-type]
                case TakeShare(epoch, sequence, share):
                    return [ShareTaken(epoch, sequence, share, sm_count=share)]
                case Drain():
                    self.is_drained = True
                    return [Drained(self.ready.epoch)]
        return [
            phase.report(self._model.step(phase.segments()), seconds=0.001)
            for phase in self._phases.values()
            if phase.has_work
        ]


class Rehearsal:
    """Everything between the gateways and the KV cache, moved by hand."""

    worker_type = RehearsedWorker
    model_type = HashModel

    def __init__(
        self,
        pages: int = 40,
        page_size: int = 4,
        *,
        colocated: bool = False,
        prefix_caching: bool = True,
        clock: Callable[[], float] = time.monotonic,
        **limits: int,
    ):
        self.page_size = page_size
        self.ledger = Ledger.create(bytearray(Ledger.bytes_for(pages + 1)), pages + 1)
        self.allocator = PageAllocator(self.ledger, page_size, prefix_caching=prefix_caching)
        bounds: dict[str, Any] = {
            "max_model_len": pages * page_size,
            "max_running_requests": 8,
            "max_queued_requests": 100,
            "prefill_token_budget": 16,
            "grant_ahead_tokens": page_size,
        } | limits
        self._limits = Limits(**bounds)
        self._prefix_caching = prefix_caching
        self._clock = clock
        self.scheduler = Scheduler(self._limits, self.allocator, self._clock)
        self.model = self.model_type(pages + 1, page_size)
        self.workers: dict[bytes, RehearsedWorker] = {}
        self.requests: dict[int, Request] = {}
        self.outputs: dict[int, list[int]] = {}
        self.finished: dict[int, FinishReason] = {}
        self.refused: dict[int, Refused] = {}
        self.timed: set[int] = set()
        self.told_controller: list[Message] = []
        self._colocated = colocated
        self.start_group(epoch=1)
        self.scheduler.activate(CONTROLLER, 1)
        self.settle()

    def start_group(self, epoch: int) -> None:
        roles = [tuple(Phase)] if self._colocated else [(phase,) for phase in Phase]
        for phases in roles:
            peer = f"{'+'.join(phases)}-{epoch}".encode()
            ready = WorkerReady(
                epoch, "a", phases, pid=1, splitter="duty", share_percentage=50, sm_count=0, prepared=None
            )
            self.workers[peer] = self.worker_type(peer, ready, self.model, self.page_size)
            self.scheduler.worker_ready(peer, ready)

    def lose(self, peer: bytes) -> None:
        """A worker's process ends; what it had not reported is gone with it."""
        del self.workers[peer]
        self.scheduler.worker_gone(peer)
        self.settle()

    def lose_scheduler(self, unwanted: Collection[int] = ()) -> None:
        """It ends, and its workers with it; the next adopts, and is handed in all but what is `unwanted`."""
        self.workers.clear()
        self.scheduler.outbox.take()
        self.allocator = PageAllocator.adopting(self.ledger, self.page_size, prefix_caching=self._prefix_caching)
        self.scheduler = Scheduler(self._limits, self.allocator, self._clock)
        self.scheduler.watch(CONTROLLER)
        for request_id, output in self.outputs.items():
            if request_id not in self.finished and request_id not in unwanted:
                request = msgspec.structs.replace(self.requests[request_id], emitted_ids=list(output))
                self.scheduler.resume(GATEWAY, request)
        self.timed -= self.outputs.keys() - self.finished.keys()  # the next one knows of no token before its own
        self.settle()

    @property
    def idle_epochs(self) -> list[int]:
        """Groups the controller may retire now."""
        told = [message.epoch for message in self.told_controller if isinstance(message, GroupIdle)]
        routed = {worker.epoch for worker in self.scheduler.groups.statuses() if worker.is_active}
        present = {worker.ready.epoch for worker in self.workers.values()}
        return [epoch for epoch in told if epoch in present and epoch not in routed]

    def retire(self, epoch: int) -> None:
        """Drain a group that serves no more; its processes end."""
        self.scheduler.retire(epoch)
        self.settle()
        for peer in [peer for peer, worker in self.workers.items() if worker.ready.epoch == epoch]:
            while not self.workers[peer].is_drained:
                self.work(peer)
            self.lose(peer)

    def submit(self, request_id: int, prompt: int | list[int], max_tokens: int, **sampling: object) -> Request:
        """A prompt given as a length begins unlike any other."""
        if isinstance(prompt, int):
            prompt = [(request_id * 7 + position) % VOCABULARY for position in range(prompt)]
        key_id, priority = str(sampling.pop("key_id", "")), int(sampling.pop("priority", 0))  # type: ignore[call-overload]
        params = SamplingParams(max_tokens=max_tokens, **sampling)  # type: ignore[arg-type]
        request = Request(request_id, prompt, params, key_id=key_id, priority=priority)
        self.requests[request_id] = request
        self.scheduler.submit(GATEWAY, request)
        self.settle()
        return request

    def cancel(self, request_id: int) -> None:
        self.scheduler.cancel(request_id)
        self.settle()

    def work(self, peer: bytes) -> bool:
        """Let one worker step and report; False if it had nothing to do, and then nobody decides anything either."""
        reports = self.workers[peer].work()
        for report in reports:
            match report:
                case PrefillReport():
                    self.scheduler.prefill_reported(peer, report)
                case DecodeReport():
                    self.scheduler.decode_reported(peer, report)
                case ShareTaken():
                    self.scheduler.share_taken(peer, report)
                case Drained():
                    self.scheduler.worker_drained(peer)
        if reports:
            self.settle()
        return bool(reports)

    def finish(self) -> None:
        """Let everybody work until there is nothing to do."""
        for _ in range(100_000):
            busy = [self.work(peer) for peer in list(self.workers)]
            if not any(busy):
                return
        raise AssertionError("the appliance never comes to rest")

    def settle(self) -> None:
        """Plan, and deliver what was decided. Then nothing is left to decide, until more happens."""
        self.scheduler.plan()
        letters = self.scheduler.outbox.take()
        self.scheduler.plan()
        assert not self.scheduler.outbox.take(), "something was to be decided, and nobody will plan before more happens"
        for channel, peer, message in letters:
            match channel:
                case Channel.WORKER if peer in self.workers:
                    self.workers[peer].orders.append(message)
                case Channel.GATEWAY:
                    self._deliver(message)
                case Channel.CONTROLLER:
                    self.told_controller.append(message)

    def _deliver(self, message: Message) -> None:
        match message:
            case Accepted(request_id):
                self.outputs[request_id] = []
            case Refused():
                self.refused[message.request_id] = message
            case Tokens(tokens):
                for token in tokens:
                    assert token.request_id not in self.finished, "a token after the last"
                    assert token.index == len(self.outputs[token.request_id]), "a token twice, or one is missing"
                    self.outputs[token.request_id].append(token.token_id)
                    if token.prefill_seconds is not None:
                        assert token.request_id not in self.timed, "a request has one first token"
                        self.timed.add(token.request_id)
                    if token.finish is not None:
                        self.finished[token.request_id] = token.finish

    def check_pages(self) -> None:
        """Every page is free, cached, or held by as many live requests as its references say; one alone writes it."""
        held = Counter(page for live in self.scheduler.live for page in self.allocator.table(live))
        cached = [page for page in self.ledger.used_pages() if self.ledger.owner(page) == CACHE_OWNER]
        for page in self.ledger.used_pages():
            assert self.ledger.references(page) == held[page] + (page in cached)
            assert page in cached or held[page] == 1
        assert set(held) <= set(self.ledger.used_pages())
        assert len(held) + self.allocator.free_count == self.allocator.total_pages
