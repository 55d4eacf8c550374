"""A decode worker's turns: the next step is launched before the last one is seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.fault_point import FaultPoint, reached
from engine.model.decode_runner import DecodeRunner, StepDone, StepInFlight
from engine.model.lane import Lane
from engine.wire.to_worker import DecodeOrder, PrefillOrder
from engine.worker.decoder import Decoder
from engine.worker.in_flight import InFlight
from engine.worker.step_time import StepTime
from engine.worker.steps import Report


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
        self._in_flight = InFlight[_Launched](clock)

    @property
    def has_work(self) -> bool:
        return self._decoder.has_work

    def apply(self, order: PrefillOrder | DecodeOrder) -> None:
        assert isinstance(order, DecodeOrder), "this worker decodes"
        self._decoder.apply(order)
        reached(FaultPoint.DECODE_JOINED)

    def turn(self, borrowed: bool = False) -> list[Report]:
        at, lanes = self._clock(), self._decoder.ready()
        if lanes or not self._in_flight:
            self._launch(lanes, at, borrowed)
        return self._see_all_but(1 if lanes and self._may_run_ahead(lanes) else 0)

    @property
    def seconds_to_spare(self) -> float:
        if not self._in_flight:
            return 0.0
        running = self._in_flight[0]
        return self._time.to_spare(self._in_flight.running_seconds(running), running.borrowed)

    def finish(self) -> list[Report]:
        return self._see_all_but(0)

    def _may_run_ahead(self, lanes: Sequence[Lane]) -> bool:
        return self._runner.runs_ahead and not any(lane.needs_the_last_token for lane in lanes)

    def _launch(self, lanes: Sequence[Lane], at: float, borrowed: bool) -> None:
        """A step over no lanes is there to say who has left."""
        step = self._runner.launch(lanes) if lanes else StepDone([])
        self._time.launched(self._clock() - at)
        self._decoder.launched(lanes)
        self._in_flight.append(_Launched(step, at, borrowed))

    def _see_all_but(self, count: int) -> list[Report]:
        reports: list[Report] = []
        while len(self._in_flight) > count:
            launched = self._in_flight[0]
            drawn = launched.step.tokens()
            reached(FaultPoint.DECODE_WRITTEN)
            seconds = self._in_flight.oldest_is_over()
            if launched.step.device_seconds is not None:
                self._time.computed(launched.step.device_seconds, launched.borrowed)
            reports.append(self._decoder.report(drawn, seconds, seconds if launched.borrowed else 0.0))
        return reports
