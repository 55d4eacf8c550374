"""The decode phase in a worker: lanes that run on by themselves; orders only change who is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.allocation import Phase
from engine.model.history import History
from engine.model.segment import Drawn, Segment
from engine.request import SamplingParams
from engine.wire.to_scheduler import DecodeReport, Token
from engine.wire.to_worker import DecodeOrder


@dataclass(slots=True)
class Lane:
    """One request: `token_id` at `position` is fed next, and output number `output_index` drawn from it."""

    request_id: int
    token_id: int
    position: int
    output_index: int
    pages: list[int]
    sampling: SamplingParams
    history: History | None

    def has_page(self, page_size: int) -> bool:
        return self.position < len(self.pages) * page_size


class Decoder:
    """All lanes that have a page for their next token take part in a step; the others skip it."""

    phase = Phase.DECODE

    def __init__(self, epoch: int, page_size: int) -> None:
        self._epoch = epoch
        self._page_size = page_size
        self._lanes: dict[int, Lane] = {}
        self._stepping: list[Lane] = []
        self._left: list[int] = []
        self._step = 0
        self._sequence = 0

    @property
    def has_work(self) -> bool:
        """True while a lane can step, or somebody waits to hear that a request has left."""
        return bool(self._left) or any(lane.has_page(self._page_size) for lane in self._lanes.values())

    def apply(self, order: DecodeOrder) -> None:
        """Leaves, joins, grants. One who has left already, or is unknown, needs no telling again."""
        self._sequence = order.sequence
        self._left += [request_id for request_id in order.leaves if self._lanes.pop(request_id, None)]
        for join in order.joins:
            self._lanes[join.request_id] = Lane(
                request_id=join.request_id,
                token_id=join.token_id,
                position=join.position,
                output_index=join.output_index,
                pages=list(join.pages),
                sampling=join.sampling,
                history=History.wanted_by(join.sampling, join.history, join.output_index),
            )
        for grant in order.grants:
            if lane := self._lanes.get(grant.request_id):
                lane.pages += grant.pages

    def segments(self) -> list[Segment]:
        """One token of every lane that can step."""
        self._stepping = [lane for lane in self._lanes.values() if lane.has_page(self._page_size)]
        return [
            Segment([lane.token_id], lane.position, lane.pages, lane.sampling, lane.output_index, lane.history)
            for lane in self._stepping
        ]

    def report(self, drawn: Sequence[Drawn | None], seconds: float) -> DecodeReport:
        """Move the lanes on by the tokens drawn; a finished one has left, since no other step is in flight."""
        self._step += 1
        tokens = []
        for lane, choice in zip(self._stepping, drawn, strict=True):
            assert choice is not None, "a decode lane always draws"
            tokens.append(self._advance(lane, choice))
        left, self._left = tuple(self._left), []
        return DecodeReport(self._epoch, self._step, self._sequence, tuple(tokens), left, seconds)

    def _advance(self, lane: Lane, choice: Drawn) -> Token:
        token = Token(
            lane.request_id,
            lane.output_index,
            choice.token_id,
            lane.sampling.finish_reason(choice.token_id, lane.output_index),
            choice.logprob,
            choice.top_logprobs,
        )
        if lane.history is not None:
            lane.history.append(choice.token_id)
        lane.token_id = choice.token_id
        lane.position += 1
        lane.output_index += 1
        if token.finish is not None:
            del self._lanes[lane.request_id]
            self._left.append(lane.request_id)
        return token
