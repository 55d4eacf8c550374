"""The decode phase of a simulated worker: what `engine.worker.decoder.Decoder` does, and many equal steps at once.

A token is only counted, never computed; a test holds both to the same reports.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.wire.to_scheduler import DecodeReport, Token
from engine.wire.to_worker import DecodeOrder, Join


@dataclass(slots=True)
class Lane:
    """`position` of the token that is fed next, `output_index` of the one that comes of it; `capacity` in tokens."""

    join: Join
    position: int
    output_index: int
    capacity: int

    @property
    def steps_left(self) -> int:
        return self.join.sampling.max_tokens - self.output_index


class Lanes:
    """All lanes that have a page for their next token take part in a step; the others skip it."""

    def __init__(self, epoch: int, page_size: int):
        self._epoch = epoch
        self._page_size = page_size
        self._lanes: dict[int, Lane] = {}
        self._stepping: list[Lane] = []
        self._left: list[int] = []
        self._step = 0
        self._sequence = 0

    @property
    def has_work(self) -> bool:
        return bool(self._left) or any(lane.position < lane.capacity for lane in self._lanes.values())

    def apply(self, order: DecodeOrder) -> None:
        """Leaves, joins, grants."""
        self._sequence = order.sequence
        self._left += [request_id for request_id in order.leaves if self._lanes.pop(request_id, None)]
        for join in order.joins:
            capacity = len(join.pages) * self._page_size
            self._lanes[join.request_id] = Lane(join, join.position, join.output_index, capacity)
        for grant in order.grants:
            if lane := self._lanes.get(grant.request_id):
                lane.capacity += len(grant.pages) * self._page_size

    def begin(self) -> tuple[int, int]:
        """Take up who steps next; returns how many they are, and to how many tokens they attend together."""
        self._stepping = [lane for lane in self._lanes.values() if lane.position < lane.capacity]
        return len(self._stepping), sum(lane.position + 1 for lane in self._stepping)

    def equal_steps(self, free_pages: int) -> int:
        """Steps until the batch changes by itself: somebody finishes, or somebody could be without a page.

        Pages that are granted meanwhile change nothing as long as there are enough of them for all.
        """
        batch = len(self._stepping)
        if self._left or not batch or batch < len(self._lanes):
            return 1
        enough = (free_pages // batch - 2) * self._page_size
        return max(1, min(enough, min(lane.steps_left for lane in self._stepping)))

    def skip(self, steps: int) -> list[int]:
        """Move on by steps in which nobody finishes; returns whose they were."""
        self._step += steps
        for lane in self._stepping:
            lane.position += steps
            lane.output_index += steps
        return [lane.join.request_id for lane in self._stepping]

    def report(self, seconds: float, borrowed_seconds: float = 0.0) -> DecodeReport:
        """The end of one step."""
        self._step += 1
        tokens = tuple(self._advance(lane) for lane in self._stepping)
        left, self._left = tuple(self._left), []
        return DecodeReport(self._epoch, self._step, self._sequence, tokens, left, seconds, borrowed_seconds)

    def _advance(self, lane: Lane) -> Token:
        index, request_id = lane.output_index, lane.join.request_id
        lane.position += 1
        lane.output_index += 1
        finish = lane.join.sampling.finish_reason(0, index)
        if finish is not None:
            del self._lanes[request_id]
            self._left.append(request_id)
        return Token(request_id, index, 0, finish)
