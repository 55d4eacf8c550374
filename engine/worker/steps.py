"""What a worker does in a turn of its loop: which steps it launches, and in which order it reports them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from engine.fault_point import FaultPoint, reached
from engine.model.decode_runner import DecodeRunner, StepDone, StepInFlight
from engine.model.lane import Lane
from engine.model.launched_step import LaunchedStep
from engine.model.runner import ModelRunner
from engine.wire.to_scheduler import DecodeReport, PrefillReport
from engine.wire.to_worker import DecodeOrder, PrefillOrder
from engine.worker.decoder import Decoder
from engine.worker.piece_size import PieceSize
from engine.worker.pieces import Pieces
from engine.worker.prefiller import Prefiller
from engine.worker.step_time import StepTime

Report = PrefillReport | DecodeReport

QUIET_SECONDS = 0.25
"""So long after its last report nobody is on the way from prefill to decode any more."""
ANSWER_SECONDS = 0.003
"""So soon after a report the scheduler's next order is there; few steps that keep a GPU busy are shorter."""
LOOK_SECONDS = 0.002
"""Between two looks whether it is there: only whole milliseconds are waited, and a little of it is over by then."""


class Steps(Protocol):
    """A worker's work, one turn at a time, all on torch's current stream."""

    @property
    def has_work(self) -> bool:
        """False if a turn would do nothing until there is an order."""
        ...

    @property
    def can_borrow(self) -> bool:
        """False where the next step would keep the whole device for too long. Only to be asked while there is work."""
        ...

    @property
    def seconds_to_spare(self) -> float:
        """How long orders may be waited for before the next turn: who joins in time is in the next step."""
        ...

    def apply(self, order: PrefillOrder | DecodeOrder) -> None: ...

    def turn(self, borrowed: bool = False) -> list[Report]:
        """Compute a step, or launch one and wait for the one before it. `borrowed`: it has the whole device."""
        ...

    def finish(self) -> list[Report]:
        """Wait for everything that is in flight, and launch nothing."""
        ...


class _Ordered(NamedTuple):
    """What was left of an order, as one step on the device. `at`: when it was launched."""

    pieces: Pieces
    step: LaunchedStep
    at: float


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
        self._size = PieceSize()
        self._begun: Pieces | None = None
        self._in_flight: deque[_Ordered] = deque()
        self._seen_at = 0.0

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
            return self._see_all_but(0) + self._piece()
        self._launch()
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
        """The device has something to do, and the scheduler may just be answering the last report."""
        if not self._in_flight or self._can_launch or self._in_flight[-1].step.is_over:
            return False
        return self._clock() - self._began(self._in_flight[-1]) < ANSWER_SECONDS

    def _launch(self) -> None:
        at, pieces, self._begun = self._clock(), self._pieces, None
        self._in_flight.append(_Ordered(pieces, self._runner.launch(pieces.take(pieces.token_count)), at))

    def _piece(self) -> list[Report]:
        pieces, started = self._pieces, self._clock()
        tokens = self._tokens_to_borrow_for(pieces)
        drawn = self._runner.launch(pieces.take(tokens)).tokens()
        self._seen_at = self._clock()
        pieces.computed(drawn, self._seen_at - started, borrowed=True)
        self._size.learn(tokens, self._seen_at - started)
        if not pieces.is_over:
            return []
        self._begun = None
        return [self._report(pieces)]

    def _see_all_but(self, count: int) -> list[Report]:
        reports: list[Report] = []
        while len(self._in_flight) > count:
            ordered = self._in_flight.popleft()
            drawn = ordered.step.tokens()
            began, self._seen_at = self._began(ordered), self._clock()
            ordered.pieces.computed(drawn, self._seen_at - began, borrowed=False)
            reports.append(self._report(ordered.pieces))
        return reports

    def _began(self, ordered: _Ordered) -> float:
        """A step begins when the one before it is over."""
        return max(ordered.at, self._seen_at)

    def _report(self, pieces: Pieces) -> Report:
        self._reported_at = self._clock()
        reached(FaultPoint.PREFILL_WRITTEN)
        return self._prefiller.report(pieces.drawn, pieces.seconds, pieces.borrowed_seconds)

    def _tokens_to_borrow_for(self, pieces: Pieces) -> int:
        """Of the next step with the whole device, which is only asked for while decode is idle."""
        is_quiet = self._clock() - self._reported_at >= QUIET_SECONDS
        return pieces.token_count if is_quiet else self._size.of(pieces.token_count)


class _Launched(NamedTuple):
    step: StepInFlight
    at: float
    borrowed: bool


class DecodeSteps:
    """Launches the next step before it waits for the last one: what the host does is done while the device computes.

    Not long before, though: a request that joins meanwhile would have to wait for one step more.
    """

    can_borrow = True

    def __init__(self, decoder: Decoder, runner: DecodeRunner, clock: Callable[[], float] = time.perf_counter):
        self._decoder = decoder
        self._runner = runner
        self._clock = clock
        self._time = StepTime()
        self._in_flight: deque[_Launched] = deque()
        self._seen_at = 0.0

    @property
    def has_work(self) -> bool:
        return self._decoder.has_work

    def apply(self, order: PrefillOrder | DecodeOrder) -> None:
        assert isinstance(order, DecodeOrder), "this worker decodes"
        self._decoder.apply(order)
        reached(FaultPoint.DECODE_JOINED)

    def turn(self, borrowed: bool = False) -> list[Report]:
        lanes = self._decoder.ready()
        if lanes or not self._in_flight:
            self._launch(lanes, borrowed)
        return self._see_all_but(1 if lanes and self._may_run_ahead(lanes) else 0)

    @property
    def seconds_to_spare(self) -> float:
        if not self._in_flight:
            return 0.0
        return self._time.to_spare(self._clock() - self._began(self._in_flight[0]))

    def finish(self) -> list[Report]:
        return self._see_all_but(0)

    def _began(self, launched: _Launched) -> float:
        """A step begins when the one before it is over."""
        return max(launched.at, self._seen_at)

    def _may_run_ahead(self, lanes: Sequence[Lane]) -> bool:
        return self._runner.runs_ahead and not any(lane.needs_the_last_token for lane in lanes)

    def _launch(self, lanes: Sequence[Lane], borrowed: bool) -> None:
        """A step over no lanes is there to say who has left."""
        at = self._clock()
        step = self._runner.launch(lanes) if lanes else StepDone([])
        self._decoder.launched(lanes)
        self._in_flight.append(_Launched(step, at, borrowed))

    def _see_all_but(self, count: int) -> list[Report]:
        reports: list[Report] = []
        while len(self._in_flight) > count:
            launched = self._in_flight.popleft()
            drawn = launched.step.tokens()
            reached(FaultPoint.DECODE_WRITTEN)
            began, self._seen_at = self._began(launched), self._clock()
            seconds = self._seen_at - began
            if not isinstance(launched.step, StepDone):
                self._time.learn(seconds)
            reports.append(self._decoder.report(drawn, seconds, seconds if launched.borrowed else 0.0))
        return reports
