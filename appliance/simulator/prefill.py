"""The prefill phase of a simulated worker: the worker's own queue and its own rule for pieces, without a model."""

from __future__ import annotations

from appliance.simulator.step_times import token_context
from engine.model.segment import Drawn, Segment
from engine.piece_size import PieceSize
from engine.wire.to_scheduler import PrefillReport
from engine.wire.to_worker import PrefillOrder
from engine.worker.pieces import Pieces
from engine.worker.prefiller import Prefiller


class SimulatedPrefill:
    """An order is a step, or with the whole device several: pieces no larger than decode can wait for."""

    def __init__(self) -> None:
        self._orders = Prefiller()
        self._size = PieceSize.borrowed()
        self._begun: Pieces | None = None
        self._piece: list[Segment] = []
        self._borrows = False

    @property
    def has_work(self) -> bool:
        return self._orders.has_work

    def apply(self, order: PrefillOrder) -> None:
        self._orders.apply(order)

    def begin(self, borrows: bool) -> tuple[int, float]:
        """Take up the next piece; returns its tokens, and to how many they attend together."""
        pieces = self._begun = self._begun or Pieces(self._orders.segments())
        self._borrows = borrows
        self._piece = pieces.take(self._size.of(pieces.token_count) if borrows else pieces.token_count)
        return self._piece_tokens, sum(token_context(part.start, len(part.token_ids)) for part in self._piece)

    def done(self, seconds: float) -> PrefillReport | None:
        """The piece is computed; with the last one the order is answered."""
        assert self._begun is not None
        self._begun.computed([Drawn(0) if part.sampling else None for part in self._piece], seconds, self._borrows)
        if self._borrows:
            self._size.learn(self._piece_tokens, seconds)
        if not self._begun.is_over:
            return None
        done, self._begun = self._begun, None
        return self._orders.report(done.drawn, done.seconds, done.borrowed_seconds, done.steps)

    @property
    def _piece_tokens(self) -> int:
        return sum(len(part.token_ids) for part in self._piece)
