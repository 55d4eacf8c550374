"""What a worker does in a turn of its loop: which steps it launches, and in which order it reports them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from engine.model.decode_runner import DecodeRunner, StepDone, StepInFlight
from engine.model.lane import Lane
from engine.model.runner import ModelRunner
from engine.wire.to_scheduler import DecodeReport, PrefillReport
from engine.wire.to_worker import DecodeOrder, PrefillOrder
from engine.worker.decoder import Decoder
from engine.worker.prefiller import Prefiller

Report = PrefillReport | DecodeReport


class Steps(Protocol):
    """A worker's work, one turn at a time, all on torch's current stream."""

    @property
    def has_work(self) -> bool:
        """False if a turn would do nothing until there is an order."""
        ...

    def apply(self, order: PrefillOrder | DecodeOrder) -> None: ...

    def turn(self) -> list[Report]:
        """Compute a step, or launch one and wait for the one before it."""
        ...

    def finish(self) -> list[Report]:
        """Wait for everything that is in flight, and launch nothing."""
        ...


class PrefillSteps:
    """One order a turn."""

    def __init__(self, prefiller: Prefiller, runner: ModelRunner):
        self._prefiller = prefiller
        self._runner = runner

    @property
    def has_work(self) -> bool:
        return self._prefiller.has_work

    def apply(self, order: PrefillOrder | DecodeOrder) -> None:
        assert isinstance(order, PrefillOrder), "this worker prefills"
        self._prefiller.apply(order)

    def turn(self) -> list[Report]:
        return packed_step([self._prefiller], self._runner)

    def finish(self) -> list[Report]:
        return []


class _Launched(NamedTuple):
    step: StepInFlight
    at: float


class DecodeSteps:
    """Launches the next step before it waits for the last one: what the host does is done while the device computes."""

    def __init__(self, decoder: Decoder, runner: DecodeRunner):
        self._decoder = decoder
        self._runner = runner
        self._in_flight: deque[_Launched] = deque()
        self._seen_at = 0.0

    @property
    def has_work(self) -> bool:
        return self._decoder.has_work

    def apply(self, order: PrefillOrder | DecodeOrder) -> None:
        assert isinstance(order, DecodeOrder), "this worker decodes"
        self._decoder.apply(order)

    def turn(self) -> list[Report]:
        lanes = self._decoder.ready()
        if lanes or not self._in_flight:
            self._launch(lanes)
        return self._see_all_but(1 if lanes and self._may_run_ahead(lanes) else 0)

    def finish(self) -> list[Report]:
        return self._see_all_but(0)

    def _may_run_ahead(self, lanes: Sequence[Lane]) -> bool:
        return self._runner.runs_ahead and not any(lane.needs_the_last_token for lane in lanes)

    def _launch(self, lanes: Sequence[Lane]) -> None:
        """A step over no lanes is there to say who has left."""
        at = time.perf_counter()
        step = self._runner.launch(lanes) if lanes else StepDone([])
        self._decoder.launched(lanes)
        self._in_flight.append(_Launched(step, at))

    def _see_all_but(self, count: int) -> list[Report]:
        reports: list[Report] = []
        while len(self._in_flight) > count:
            launched = self._in_flight.popleft()
            drawn = launched.step.tokens()
            began, self._seen_at = max(launched.at, self._seen_at), time.perf_counter()
            reports.append(self._decoder.report(drawn, self._seen_at - began))
        return reports


class ColocatedSteps:
    """Both phases: a step packs prefill chunks and all decode lanes together; without chunks it is one of decode."""

    def __init__(self, prefiller: Prefiller, decoder: Decoder, runner: ModelRunner, decode_runner: DecodeRunner):
        self._prefiller = prefiller
        self._decoder = decoder
        self._runner = runner
        self._decoding = DecodeSteps(decoder, decode_runner)

    @property
    def has_work(self) -> bool:
        return self._prefiller.has_work or self._decoding.has_work

    def apply(self, order: PrefillOrder | DecodeOrder) -> None:
        if isinstance(order, PrefillOrder):
            self._prefiller.apply(order)
        else:
            self._decoder.apply(order)

    def turn(self) -> list[Report]:
        if not self._prefiller.has_work:
            return self._decoding.turn()
        reports = self._decoding.finish()
        both = [phase for phase in (self._prefiller, self._decoder) if phase.has_work]
        return reports + packed_step(both, self._runner)

    def finish(self) -> list[Report]:
        return self._decoding.finish()


def packed_step(phases: Sequence[Prefiller | Decoder], runner: ModelRunner) -> list[Report]:
    """One step of the model over all that the phases have to compute now."""
    started = time.perf_counter()
    parts = [phase.segments() for phase in phases]
    segments = [segment for part in parts for segment in part]
    drawn = iter(runner.step(segments) if segments else [])
    mine = [[next(drawn) for _ in part] for part in parts]
    seconds = time.perf_counter() - started
    return [phase.report(part, seconds) for phase, part in zip(phases, mine, strict=True)]
