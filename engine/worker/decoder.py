"""The decode phase in a worker: lanes that run on by themselves; orders only change who is in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from engine.allocation import Phase
from engine.grammar.grammars import Grammars
from engine.model.history import History
from engine.model.lane import Lane
from engine.model.segment import Drawn, Segment
from engine.wire.to_scheduler import DecodeReport, Token
from engine.wire.to_worker import DecodeOrder


class _Step(NamedTuple):
    """A step that was launched and not yet reported: who draws which output, and the last order it knew of."""

    lanes: Sequence[Lane]
    output_indices: list[int]
    sequence: int


class Decoder:
    """All lanes that have a page for their next token take part in a step; the others skip it.

    A step may be launched while the one before it is in flight. A lane that turns out to have finished in the earlier
    one is then in the later one for nothing: what it draws there is dropped, and it has left only when no step touches
    its pages any more.
    """

    phase = Phase.DECODE

    def __init__(self, epoch: int, page_size: int, grammars: Grammars | None = None) -> None:
        self._epoch = epoch
        self._page_size = page_size
        self._grammars = grammars
        self._lanes: dict[int, Lane] = {}
        self._in_flight: deque[_Step] = deque()
        self._leaving: list[int] = []
        self._step = 0
        self._sequence = 0

    @property
    def has_work(self) -> bool:
        """True while a step is in flight, a lane can step, or somebody waits to hear that a request has left."""
        return bool(self._in_flight or self._leaving) or any(map(self._can_step, self._lanes.values()))

    def apply(self, order: DecodeOrder) -> None:
        """Leaves, joins, grants. One who has left already, or is unknown, needs no telling again."""
        self._sequence = order.sequence
        self._leaving += [request_id for request_id in order.leaves if self._lanes.pop(request_id, None)]
        for join in order.joins:
            self._lanes[join.request_id] = Lane(
                request_id=join.request_id,
                token_id=join.token_id,
                position=join.position,
                output_index=join.output_index,
                pages=list(join.pages),
                sampling=join.sampling,
                history=History.wanted_by(join.sampling, join.history, join.output_index, self._grammars),
            )
        for grant in order.grants:
            if lane := self._lanes.get(grant.request_id):
                lane.pages += grant.pages

    def ready(self) -> list[Lane]:
        """The lanes that can step now, if at most one step is in flight."""
        return [lane for lane in self._lanes.values() if self._can_step(lane)]

    def launched(self, lanes: Sequence[Lane]) -> None:
        """A step over `lanes` is in flight: they stand one token further. It will be reported."""
        indices = [lane.output_index for lane in lanes]
        self._in_flight.append(_Step(lanes, indices, self._sequence))
        for lane in lanes:
            lane.position += 1
            lane.output_index += 1

    def segments(self) -> list[Segment]:
        """A step over all lanes that are ready, as pieces of a step of the model; it counts as launched."""
        lanes = self.ready()
        segments = [lane.segment for lane in lanes]
        self.launched(lanes)
        return segments

    def report(self, drawn: Sequence[Drawn | None], seconds: float, borrowed_seconds: float = 0.0) -> DecodeReport:
        """What the oldest step in flight has drawn, and who has left now that it is done."""
        step = self._in_flight.popleft()
        tokens = []
        for lane, index, choice in zip(step.lanes, step.output_indices, drawn, strict=True):
            assert choice is not None, "a decode lane always draws"
            if not lane.is_finished:
                tokens.append(self._take(lane, index, choice))
        self._step += 1
        return DecodeReport(
            self._epoch, self._step, step.sequence, tuple(tokens), self._take_left(), seconds, borrowed_seconds
        )

    def _can_step(self, lane: Lane) -> bool:
        """False also for a lane whose last token is being drawn: that it ends there is known beforehand."""
        return lane.output_index < lane.sampling.max_tokens and lane.has_page(self._page_size)

    def _take(self, lane: Lane, index: int, choice: Drawn) -> Token:
        finish = lane.sampling.finish_reason(choice.token_id, index)
        if lane.history is not None:
            lane.history.append(choice.token_id)
        lane.token_id = choice.token_id
        if finish is not None:
            lane.is_finished = True
            if self._lanes.pop(lane.request_id, None):
                self._leaving.append(lane.request_id)
        return Token(lane.request_id, index, choice.token_id, finish, choice.logprob, choice.top_logprobs)

    def _take_left(self) -> tuple[int, ...]:
        """Those who leave and whom no step in flight touches; they are named once."""
        if not self._leaving:
            return ()
        touched = {lane.request_id for step in self._in_flight for lane in step.lanes}
        left = tuple(request_id for request_id in self._leaving if request_id not in touched)
        self._leaving = [request_id for request_id in self._leaving if request_id in touched]
        return left
