"""Who is prefilled next: first come, first served, long prompts in chunks, within a token budget."""

from __future__ import annotations

from bisect import insort

from engine.request import RequestState
from engine.scheduler.limits import Limits
from engine.scheduler.live_request import LiveRequest
from engine.storage.allocator import PageAllocator
from engine.wire.to_worker import PrefillChunk


class PrefillQueue:
    """Requests that wait, oldest first, and those whose prompt is being computed."""

    def __init__(self, limits: Limits, allocator: PageAllocator):
        self._limits = limits
        self._allocator = allocator
        self.waiting: list[LiveRequest] = []
        self.running: list[LiveRequest] = []

    def enqueue(self, live: LiveRequest) -> None:
        """A new request goes to the end; one that was preempted finds its old place."""
        insort(self.waiting, live, key=lambda other: other.age)

    def remove(self, live: LiveRequest) -> None:
        """Forget a request that leaves before its prompt was computed."""
        for queue in (self.waiting, self.running):
            if live in queue:
                queue.remove(live)

    def next_chunks(self, decoding: int, epoch: int) -> list[PrefillChunk]:
        """The next packed step, empty if nobody can be prefilled now. Prompts under way go before new ones."""
        budget = self._limits.prefill_token_budget
        chunks: list[PrefillChunk] = []
        for live in self.running:
            if budget and live.exit is None and live.ordered < live.length:
                chunks.append(self._cut(live, budget))
                budget -= len(chunks[-1].token_ids)
        while budget and self._admit_next(decoding, epoch):
            chunks.append(self._cut(self.running[-1], budget))
            budget -= len(chunks[-1].token_ids)
        return chunks

    def _admit_next(self, decoding: int, epoch: int) -> bool:
        """Give the oldest waiting request its pages, if they are free beyond decode's reserve of a page a request."""
        running = decoding + len(self.running)
        if not self.waiting or running >= self._limits.max_running_requests:
            return False
        live = self.waiting[0]
        needed = self._allocator.pages_for(min(live.length + 1, live.written_length))
        if needed + running > self._allocator.free_count and running:
            return False
        if self._allocator.allocate(live.id, needed, epoch) is None:
            return False
        live.state = RequestState.PREFILLING
        self.running.append(self.waiting.pop(0))
        return True

    def _cut(self, live: LiveRequest, budget: int) -> PrefillChunk:
        start, end = live.ordered, min(live.length, live.ordered + budget)
        live.ordered = end
        live.in_flight += 1
        is_last = end == live.length
        return PrefillChunk(
            request_id=live.id,
            token_ids=live.token_ids[start:end],
            start=start,
            pages=self._allocator.table(live.id)[: self._allocator.pages_for(end)],
            sampling=live.request.sampling if is_last else None,
            output_index=len(live.output_ids),
        )
