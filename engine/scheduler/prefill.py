"""Who is prefilled next: long prompts in chunks, within a token budget, what is known already left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

from engine.request import RequestState
from engine.scheduler.groups import Worker
from engine.scheduler.limits import Limits
from engine.scheduler.live_request import LiveRequest
from engine.scheduler.punctual import Punctual
from engine.scheduler.queue_pace import QueuePace
from engine.scheduler.step_limit import StepLimit
from engine.scheduler.step_size import fullest_step
from engine.scheduler.waiting import WaitingQueue
from engine.storage.allocator import PageAllocator
from engine.wire.to_worker import PrefillChunk


class PrefillQueue:
    """Requests that wait, and those whose prompt is being computed. `clock` is the one of `Request.received_at`."""

    def __init__(self, limits: Limits, allocator: PageAllocator, clock: Callable[[], float]):
        self._limits = limits
        self._allocator = allocator
        self._punctual = Punctual(limits.ttft_target_seconds, clock)
        self._step_limit = StepLimit(limits)
        self._pace = QueuePace(clock)
        self.waiting = WaitingQueue()
        self.running: list[LiveRequest] = []

    def aim(self, ttft_target_seconds: float, tpot_target_seconds: float) -> None:
        """The targets from now on, 0 for none."""
        self._punctual.target_seconds = ttft_target_seconds
        self._step_limit.aim(ttft_target_seconds, tpot_target_seconds)

    def computed(self, tokens: int) -> None:
        """A step of so many prompt tokens was reported."""
        self._step_limit.learn(tokens, self._punctual.computed(tokens))

    @property
    def wait_seconds(self) -> float:
        """How long a request that comes now would wait before it begins, as things go."""
        return self._pace.wait_seconds(len(self.waiting))

    def add(self, live: LiveRequest) -> None:
        """A request waits, for the first time or again."""
        self._pace.comes(len(self.waiting))
        self.waiting.add(live)

    def remove(self, live: LiveRequest) -> None:
        """Forget a request, whether it waits or its prompt is being computed."""
        self.waiting.remove(live)
        if live in self.running:
            self.running.remove(live)

    def next_chunks(self, decoding: int, worker: Worker) -> list[PrefillChunk]:
        """The next packed step for `worker`, empty if nobody can be prefilled now.

        Prompts under way go first and then who is next in the queue, as long as all can be in time. A prompt with a
        chunk unreported by another worker is not continued before it is: chunks are written in order. Where chunks have
        a fixed length, each is a step of its own: what is computed beside it would change its bits.
        """
        self._step_limit.is_shared = worker.is_colocated
        chunks: list[PrefillChunk] = []
        may_admit = decoding + len(self.running) < self._limits.max_running_requests
        prompts = [*self._under_way(worker), *(self.waiting.in_order() if may_admit else ())]
        budget = self._limits.chunk_tokens or self._step_tokens(prompts, worker, decoding)
        for live in self._punctual.in_turn(prompts, worker.ordered_tokens, self._step_limit.tokens):
            if live.state is RequestState.WAITING:
                may_admit = may_admit and (self._is_being_computed(live) or self._admit(live, decoding, worker.epoch))
            if live.state is RequestState.PREFILLING:
                chunks.append(self._cut(live, budget, worker))
                budget = self._left_of(budget, chunks[-1])
            if not budget:
                break
        return chunks

    def _step_tokens(self, prompts: Sequence[LiveRequest], worker: Worker, decoding: int) -> int:
        """Of the next step: where not everything fits into one, so many that the SMs are filled, with the lanes that a
        colocated worker packs behind them."""
        lanes, most = decoding if worker.is_colocated else 0, self._step_limit.tokens
        if sum(live.length - live.ordered for live in prompts) > most - lanes:
            most = fullest_step(most, worker.sm_count, self._limits.products)
        return max(1, most - lanes)

    def _under_way(self, worker: Worker) -> Iterator[LiveRequest]:
        for live in self.running:
            is_elsewhere = live.in_flight and live.prefiller is not worker
            if live.exit is None and live.ordered < live.length and not is_elsewhere:
                yield live

    def shareable_tokens(self, live: LiveRequest, written: int) -> int:
        """How many of the first `written` tokens others may begin with: all, or those of the prompt's whole chunks.

        With fixed chunks, K and V of the rest of a prompt and of the output were computed in steps of other shapes
        than those in which a longer prompt would compute them.
        """
        chunk = self._limits.chunk_tokens
        return written if chunk is None else min(written, len(live.request.prompt_ids)) // chunk * chunk

    def _left_of(self, budget: int, chunk: PrefillChunk) -> int:
        return 0 if self._limits.chunk_tokens else budget - len(chunk.token_ids)

    def _admit(self, live: LiveRequest, decoding: int, epoch: int) -> bool:
        """Give the next request its pages. If it cannot have them, those behind it do not overtake it."""
        running = decoding + len(self.running)
        if running >= self._limits.max_running_requests or not self._give_pages(live, running, epoch):
            return False
        self.waiting.remove(live)
        self._pace.begins(len(self.waiting))
        self.waiting.charge(live.request.key_id, prompt_tokens=live.length - live.ordered)
        live.state = RequestState.PREFILLING
        self.running.append(live)
        return True

    def _give_pages(self, live: LiveRequest, running: int, epoch: int) -> bool:
        """Known pages and new ones, if the new ones are free beyond decode's reserve of a page a running request."""
        known = self._known_pages(live)
        self._allocator.begin_with(live.id, known)
        needed = self._allocator.pages_for(min(live.length + 1, live.written_length)) - len(known)
        reserve = running
        if needed + reserve > self._allocator.free_count and running:
            self._allocator.release(live.id)
            return False
        if self._allocator.allocate(live.id, needed, epoch) is None:
            self._allocator.release(live.id)
            return False
        live.ordered = len(known) * self._allocator.page_size
        return True

    def _is_being_computed(self, live: LiveRequest) -> bool:
        """True if another prompt on its way has more of the same beginning than is known: sharing is sooner."""
        size = self._allocator.page_size
        known = len(self._known_pages(live)) if self.running else 0
        return any(
            other.exit is None
            and other.salt == live.salt
            and self._in_whole_chunks(common_pages(other, live, size)) > known
            for other in self.running
        )

    def _known_pages(self, live: LiveRequest) -> list[int]:
        """Pages it can begin with, in whole chunks where these have a fixed length."""
        pages = self._allocator.known_pages(live.salt, live.known_ids)
        return pages[: self._in_whole_chunks(len(pages))]

    def _in_whole_chunks(self, pages: int) -> int:
        chunk_pages = (self._limits.chunk_tokens or 0) // self._allocator.page_size or 1
        return pages // chunk_pages * chunk_pages

    def _cut(self, live: LiveRequest, budget: int, worker: Worker) -> PrefillChunk:
        start, end = live.ordered, min(live.length, live.ordered + budget)
        live.ordered = end
        if live.prefiller not in (None, worker):
            self._allocator.hand_over(live.id, worker.epoch)
        live.prefiller = worker
        live.in_flight += 1
        is_last = end == live.length
        sampling = live.request.sampling if is_last else None
        return PrefillChunk(
            request_id=live.id,
            token_ids=live.token_ids[start:end],
            start=start,
            pages=self._allocator.table(live.id)[: self._allocator.pages_for(end)],
            sampling=sampling,
            output_index=live.output_count,
            history=live.known_ids if sampling and sampling.needs_history else [],
        )


def common_pages(one: LiveRequest, other: LiveRequest, page_size: int) -> int:
    """Full pages with which both begin, leaving `other` a token to compute."""
    tokens, others = one.known_ids, other.known_ids
    starts = range(0, min(len(tokens), len(others) - 1) - page_size + 1, page_size)
    return len(list(takewhile(lambda at: tokens[at : at + page_size] == others[at : at + page_size], starts)))
