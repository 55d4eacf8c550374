"""The running batch: who joins, who leaves, who is given pages ahead of need. Decode is the principal of the pool."""

from __future__ import annotations

from engine.request import RequestState
from engine.scheduler.limits import Limits
from engine.scheduler.live_request import LiveRequest
from engine.storage.allocator import PageAllocator
from engine.wire.to_worker import DecodeOrder, Grant, Join


class DecodeBatch:
    """Requests in the decode worker, oldest first, and the changes that worker has not been told yet."""

    def __init__(self, limits: Limits, allocator: PageAllocator):
        self._limits = limits
        self._allocator = allocator
        self.running: dict[int, LiveRequest] = {}
        self._joins: dict[int, LiveRequest] = {}
        self._leaves: list[int] = []
        self._grants: dict[int, list[int]] = {}

    def join(self, live: LiveRequest, epoch: int) -> None:
        """Take over a request whose first token is out, with its last, half-full page."""
        live.state = RequestState.DECODING
        self._allocator.hand_over(live.id, epoch)
        self.running[live.id] = self._joins[live.id] = live

    def leave(self, live: LiveRequest) -> bool:
        """Ask the worker to let go of a request. True if the worker never heard of it, so that nothing is in flight."""
        if self._joins.pop(live.id, None) is not None:
            self._grants.pop(live.id, None)
            return True
        self._leaves.append(live.id)
        return False

    def remove(self, live: LiveRequest) -> None:
        """The worker has let go of it."""
        self.running.pop(live.id, None)
        self._grants.pop(live.id, None)

    def grow(self, epoch: int) -> list[LiveRequest]:
        """Grant pages ahead, oldest first; returns those that cannot write their next token for want of a page."""
        starving = []
        for live in sorted(self.running.values(), key=lambda other: other.age):
            if live.exit is not None:
                continue
            missing = self._missing_pages(live, self._limits.grant_ahead_tokens)
            if not missing:
                continue
            pages = self._allocator.allocate(live.id, missing, epoch)
            if pages is None and self._missing_pages(live, 0):
                pages = self._allocator.allocate(live.id, 1, epoch)
                if pages is None:
                    starving.append(live)
            if pages and live.id not in self._joins:  # a join carries the whole table
                self._grants.setdefault(live.id, []).extend(pages)
        return starving

    def _missing_pages(self, live: LiveRequest, ahead: int) -> int:
        wanted = min(live.length + ahead, live.written_length)
        return max(0, self._allocator.pages_for(wanted) - len(self._allocator.table(live.id)))

    def take_order(self, epoch: int, sequence: int) -> DecodeOrder | None:
        """The changes since the last order, or None if there are none."""
        if not (self._joins or self._leaves or self._grants):
            return None
        order = DecodeOrder(
            epoch=epoch,
            sequence=sequence,
            joins=tuple(self._join_message(live) for live in self._joins.values()),
            leaves=tuple(self._leaves),
            grants=tuple(Grant(request_id, pages) for request_id, pages in self._grants.items()),
        )
        self._joins, self._leaves, self._grants = {}, [], {}
        return order

    def forget_orders(self) -> None:
        """The worker is gone: what it was to be told means nothing to another."""
        self._joins, self._leaves, self._grants = {}, [], {}

    def _join_message(self, live: LiveRequest) -> Join:
        return Join(
            request_id=live.id,
            token_id=live.output_ids[-1],
            position=live.length - 1,
            output_index=len(live.output_ids),
            pages=list(self._allocator.table(live.id)),
            sampling=live.request.sampling,
        )
