"""A prefill worker's turns: an order, launched before the last one is seen, or with the whole device a piece of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from engine.fault_point import FaultPoint, reached
from engine.model.launched_step import LaunchedStep
from engine.model.runner import ModelRunner
from engine.piece_size import PieceSize
from engine.wire.to_worker import DecodeOrder, PrefillOrder
from engine.worker.in_flight import LOOK_SECONDS, InFlight, may_be_answered
from engine.worker.pieces import Pieces
from engine.worker.prefiller import Prefiller
from engine.worker.steps import Report

QUIET_SECONDS = 0.25
"""So long after its last report nobody is on the way from prefill to decode any more."""


class _Ordered(NamedTuple):
    """A part of an order on the device: all that was left of it, or a piece with the whole device (`borrowed`)."""

    pieces: Pieces
    step: LaunchedStep
    at: float
    tokens: int
    borrowed: bool
    is_last: bool


class PrefillSteps:
    """One order a turn, launched before the last one is seen; with the whole device, a piece of it, no larger than
    decode can wait for: all of it, where nobody can come to decode before it is reported.

    `may_cut` False: an order must be one step, since other shapes would change its bits.
    """

    def __init__(
        self,
        prefiller: Prefiller,
        runner: ModelRunner,
        *,
        may_cut: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._prefiller = prefiller
        self._runner = runner
        self._may_cut = may_cut
        self._clock = clock
        self._reported_at = -QUIET_SECONDS
        self._size = PieceSize.borrowed()
        self._begun: Pieces | None = None
        self._in_flight = InFlight[_Ordered](clock)

    @property
    def has_work(self) -> bool:
        return self._prefiller.has_work

    @property
    def can_borrow(self) -> bool:
        if not self._can_launch:
            return False
        return self._may_cut or self._tokens_to_borrow_for(self._pieces) == self._pieces.token_count

    @property
    def seconds_to_spare(self) -> float:
        return LOOK_SECONDS if self._waits_for_an_order else 0.0

    def apply(self, order: PrefillOrder | DecodeOrder) -> None:
        assert isinstance(order, PrefillOrder), "this worker prefills"
        self._prefiller.apply(order)
        reached(FaultPoint.PREFILL_ORDERED)

    def turn(self, borrowed: bool = False) -> list[Report]:
        if self._waits_for_an_order:
            return []
        if not self._can_launch:
            return self._see_all_but(0)
        if borrowed:
            reports = self._see_all_but(0)
            self._launch(self._tokens_to_borrow_for(self._pieces), borrowed=True)
            return reports + self._see_all_but(0)
        self._launch(self._pieces.token_count, borrowed=False)
        return self._see_all_but(0 if self._in_flight[-1].step.is_over else 1)

    def finish(self) -> list[Report]:
        return self._see_all_but(0)

    @property
    def _can_launch(self) -> bool:
        return self._begun is not None or self._prefiller.has_order

    @property
    def _pieces(self) -> Pieces:
        """Of the order whose turn it is."""
        self._begun = self._begun or Pieces(self._prefiller.segments())
        return self._begun

    @property
    def _waits_for_an_order(self) -> bool:
        return not self._can_launch and may_be_answered(self._in_flight)

    def _launch(self, tokens: int, borrowed: bool) -> None:
        at, pieces = self._clock(), self._pieces
        step = self._runner.launch(pieces.take(tokens))
        self._in_flight.append(_Ordered(pieces, step, at, tokens, borrowed, pieces.is_over))
        if pieces.is_over:
            self._begun = None

    def _see_all_but(self, count: int) -> list[Report]:
        reports: list[Report] = []
        while len(self._in_flight) > count:
            ordered = self._in_flight[0]
            drawn = ordered.step.tokens()
            seconds = self._in_flight.oldest_is_over()
            ordered.pieces.computed(drawn, seconds, ordered.borrowed)
            if ordered.borrowed:
                self._size.learn(ordered.tokens, seconds)
            if ordered.is_last:
                reports.append(self._report(ordered.pieces))
        return reports

    def _report(self, pieces: Pieces) -> Report:
        self._reported_at = self._clock()
        reached(FaultPoint.PREFILL_WRITTEN)
        return self._prefiller.report(pieces.drawn, pieces.seconds, pieces.borrowed_seconds, pieces.steps)

    def _tokens_to_borrow_for(self, pieces: Pieces) -> int:
        """Of the next step with the whole device, which is only asked for while decode is idle."""
        is_quiet = self._clock() - self._reported_at >= QUIET_SECONDS
        return pieces.token_count if is_quiet else self._size.of(pieces.token_count)
