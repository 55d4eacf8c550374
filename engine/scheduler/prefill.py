"""Who is prefilled next: long prompts in chunks, within a token budget, what is known already left out."""

from __future__ import annotations

from itertools import takewhile

from engine.request import RequestState
from engine.scheduler.groups import Worker
from engine.scheduler.limits import Limits
from engine.scheduler.live_request import LiveRequest
from engine.scheduler.waiting import WaitingQueue
from engine.storage.allocator import PageAllocator
from engine.wire.to_worker import PrefillChunk


class PrefillQueue:
    """Requests that wait, and those whose prompt is being computed."""

    def __init__(self, limits: Limits, allocator: PageAllocator):
        self._limits = limits
        self._allocator = allocator
        self.waiting = WaitingQueue()
        self.running: list[LiveRequest] = []

    def remove(self, live: LiveRequest) -> None:
        """Forget a request, whether it waits or its prompt is being computed."""
        self.waiting.remove(live)
        if live in self.running:
            self.running.remove(live)

    def next_chunks(self, decoding: int, worker: Worker) -> list[PrefillChunk]:
        """The next packed step for `worker`, empty if nobody can be prefilled now. Prompts under way go first.

        A prompt with a chunk unreported by another worker is not continued before it is: chunks are written in order.
        """
        budget = self._limits.prefill_token_budget
        chunks: list[PrefillChunk] = []
        for live in self.running:
            is_elsewhere = live.in_flight and live.prefiller is not worker
            if budget and live.exit is None and live.ordered < live.length and not is_elsewhere:
                chunks.append(self._cut(live, budget, worker))
                budget -= len(chunks[-1].token_ids)
        while budget and (live := self._admit_next(decoding, worker.epoch)):
            chunks.append(self._cut(live, budget, worker))
            budget -= len(chunks[-1].token_ids)
        return chunks

    def _admit_next(self, decoding: int, epoch: int) -> LiveRequest | None:
        """Give the next request its pages. Those behind it do not overtake it because they need fewer."""
        running = decoding + len(self.running)
        if running >= self._limits.max_running_requests:
            return None
        live = next((live for live in self.waiting.in_order() if not self._is_being_computed(live)), None)
        if live is None or not self._give_pages(live, running, epoch):
            return None
        self.waiting.remove(live)
        self.waiting.charge(live.request.key_id, prompt_tokens=live.length - live.ordered)
        live.state = RequestState.PREFILLING
        self.running.append(live)
        return live

    def _give_pages(self, live: LiveRequest, running: int, epoch: int) -> bool:
        """Known pages and new ones, if the new ones are free beyond decode's reserve of a page a running request."""
        known = self._allocator.known_pages(live.salt, live.token_ids)
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
        known = len(self._allocator.known_pages(live.salt, live.token_ids)) if self.running else 0
        return any(
            other.exit is None and other.salt == live.salt and common_pages(other, live, size) > known
            for other in self.running
        )

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
            output_index=len(live.output_ids),
            history=live.token_ids if sampling and sampling.needs_history else [],
        )


def common_pages(one: LiveRequest, other: LiveRequest, page_size: int) -> int:
    """Full pages with which both begin, leaving `other` a token to compute."""
    tokens, others = one.token_ids, other.token_ids
    starts = range(0, min(len(tokens), len(others) - 1) - page_size + 1, page_size)
    return len(list(takewhile(lambda at: tokens[at : at + page_size] == others[at : at + page_size], starts)))
