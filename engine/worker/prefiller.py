"""The prefill phase in a worker: a queue of complete orders, one a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from engine.allocation import Phase
from engine.grammar.grammars import Grammars
from engine.model.history import History
from engine.model.segment import Drawn, Segment
from engine.wire.to_scheduler import PrefillReport, Token
from engine.wire.to_worker import PrefillOrder


class Prefiller:
    """Takes `PrefillOrder`s in turn; what it reports is written and visible."""

    phase = Phase.PREFILL

    def __init__(self, grammars: Grammars | None = None) -> None:
        self._grammars = grammars
        self._orders: deque[PrefillOrder] = deque()
        self._taken_up = 0

    @property
    def has_work(self) -> bool:
        return bool(self._orders)

    @property
    def has_order(self) -> bool:
        """True if an order is there that was not taken up."""
        return len(self._orders) > self._taken_up

    def apply(self, order: PrefillOrder) -> None:
        self._orders.append(order)

    def segments(self) -> list[Segment]:
        """The next order's chunks: it is taken up, and will be reported."""
        order = self._orders[self._taken_up]
        self._taken_up += 1
        return [
            Segment(
                chunk.token_ids,
                chunk.start,
                chunk.pages,
                chunk.sampling,
                chunk.output_index,
                History.wanted_by(chunk.sampling, chunk.history, chunk.output_index, self._grammars),
            )
            for chunk in order.chunks
        ]

    def report(
        self, drawn: Sequence[Drawn | None], seconds: float, borrowed_seconds: float = 0.0, steps: int = 1
    ) -> PrefillReport:
        """Account for the steps that computed the oldest order; `drawn`: a token for each prompt that is complete."""
        order = self._orders.popleft()
        self._taken_up -= 1
        tokens = tuple(
            Token(
                chunk.request_id,
                chunk.output_index,
                choice.token_id,
                chunk.sampling.finish_reason(choice.token_id, chunk.output_index),
                choice.logprob,
                choice.top_logprobs,
            )
            for chunk, choice in zip(order.chunks, drawn, strict=True)
            if choice is not None and chunk.sampling is not None
        )
        token_count = sum(len(chunk.token_ids) for chunk in order.chunks)
        return PrefillReport(order.epoch, order.sequence, tokens, seconds, token_count, borrowed_seconds, steps)
