"""The running batch: who decodes where, who leaves, who gets pages ahead of need. Decode is the pool's principal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.request import RequestState
from engine.scheduler.groups import Worker
from engine.scheduler.limits import Limits
from engine.scheduler.live_request import LiveRequest
from engine.storage.allocator import PageAllocator
from engine.wire.to_worker import DecodeOrder, Grant, Join


@dataclass(slots=True)
class Changes:
    """What a worker has not been told yet."""

    joins: dict[int, LiveRequest] = field(default_factory=dict)
    leaves: list[int] = field(default_factory=list)
    grants: dict[int, list[int]] = field(default_factory=dict)


class DecodeBatch:
    """Requests that decode. Each has its lane in one worker at most: `LiveRequest.lane`.

    Moving to another worker is leaving the one and joining the other: between the two, nobody writes its pages.
    """

    def __init__(self, limits: Limits, allocator: PageAllocator):
        self._limits = limits
        self._allocator = allocator
        self.running: dict[int, LiveRequest] = {}
        self._changes: dict[Worker, Changes] = {}

    # ── lanes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, live: LiveRequest) -> None:
        """A request whose first token is out decodes from now on; `place` finds it a lane."""
        live.state = RequestState.DECODING
        self.running[live.id] = live

    def place(self, worker: Worker) -> None:
        """Bring every request to `worker`: those elsewhere are told to leave, those nowhere join."""
        for live in self.running.values():
            if live.exit is not None or live.lane is worker:
                continue
            if live.lane is None or self._withdraw(live):
                self._join(live, worker)
            elif not live.is_leaving:
                self._leave(live)

    def let_go(self, live: LiveRequest) -> bool:
        """Make a request leave its lane. True if no worker has heard of it, so that it has left already."""
        if live.lane is None or self._withdraw(live):
            return True
        if not live.is_leaving:
            self._leave(live)
        return False

    def left(self, live: LiveRequest) -> None:
        """The worker has let go of it: no step touches its pages."""
        live.lane = None
        live.is_leaving = False

    def remove(self, live: LiveRequest) -> None:
        """It decodes no more."""
        self.left(live)
        self.running.pop(live.id, None)

    def lanes_of(self, worker: Worker) -> list[LiveRequest]:
        return [live for live in self.running.values() if live.lane is worker]

    def owes(self, worker: Worker) -> bool:
        """True if the worker has a lane that can step, or that it was told to let go of."""
        return any(live.exit is not None or live.is_leaving or self._can_step(live) for live in self.lanes_of(worker))

    def _can_step(self, live: LiveRequest) -> bool:
        return not self._missing_pages(live, 0)

    def _join(self, live: LiveRequest, worker: Worker) -> None:
        """Its pages pass to the worker; the join carries the whole table."""
        self._allocator.hand_over(live.id, worker.epoch)
        live.lane = worker
        self._changes_for(worker).joins[live.id] = live

    def _leave(self, live: LiveRequest) -> None:
        assert live.lane is not None
        live.is_leaving = True
        changes = self._changes_for(live.lane)
        changes.grants.pop(live.id, None)
        changes.leaves.append(live.id)

    def _withdraw(self, live: LiveRequest) -> bool:
        """Take back a join that was not sent yet."""
        assert live.lane is not None
        if self._changes_for(live.lane).joins.pop(live.id, None) is None:
            return False
        live.lane = None
        return True

    # ── pages ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def grow(self, epoch: int) -> list[LiveRequest]:
        """Grant pages ahead, oldest first; returns those that cannot write their next token for want of a page."""
        starving = []
        for live in sorted(self.running.values(), key=lambda other: other.age):
            if live.exit is not None:
                continue
            missing = self._missing_pages(live, self._limits.grant_ahead_tokens)
            if not missing:
                continue
            writer = live.lane.epoch if live.lane else epoch
            pages = self._allocator.allocate(live.id, missing, writer)
            if pages is None and self._missing_pages(live, 0):
                pages = self._allocator.allocate(live.id, 1, writer)
                if pages is None:
                    starving.append(live)
            if pages:
                self._grant(live, pages)
        return starving

    def _grant(self, live: LiveRequest, pages: list[int]) -> None:
        """Tell its worker; one that is to join, now or elsewhere, will be told with the whole table."""
        if live.lane is None or live.is_leaving:
            return
        changes = self._changes_for(live.lane)
        if live.id not in changes.joins:
            changes.grants.setdefault(live.id, []).extend(pages)

    def _missing_pages(self, live: LiveRequest, ahead: int) -> int:
        wanted = min(live.length + ahead, live.written_length)
        return max(0, self._allocator.pages_for(wanted) - len(self._allocator.table(live.id)))

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def take_orders(self) -> Iterator[tuple[Worker, DecodeOrder]]:
        """For each worker the changes since its last order."""
        pending, self._changes = self._changes, {}
        for worker, changes in pending.items():
            if changes.joins or changes.leaves or changes.grants:
                yield worker, self._order(worker, changes)

    def forget(self, worker: Worker) -> None:
        """The worker is gone: what it was to be told means nothing to another."""
        self._changes.pop(worker, None)

    def _order(self, worker: Worker, changes: Changes) -> DecodeOrder:
        return DecodeOrder(
            epoch=worker.epoch,
            sequence=worker.next_sequence(),
            joins=tuple(self._join_message(live) for live in changes.joins.values()),
            leaves=tuple(changes.leaves),
            grants=tuple(Grant(request_id, pages) for request_id, pages in changes.grants.items()),
        )

    def _changes_for(self, worker: Worker) -> Changes:
        return self._changes.setdefault(worker, Changes())

    def _join_message(self, live: LiveRequest) -> Join:
        return Join(
            request_id=live.id,
            token_id=live.token_ids[live.length - 1],
            position=live.length - 1,
            output_index=live.output_count,
            pages=list(self._allocator.table(live.id)),
            sampling=live.request.sampling,
            history=live.known_ids if live.request.sampling.needs_history else [],
        )
