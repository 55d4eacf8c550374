"""Both phases in one worker, packed: prompts' chunks and all decode lanes in one step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.model.decode_runner import DecodeRunner
from engine.model.lane import Lane
from engine.model.launched_step import Fed, LaunchedStep
from engine.model.runner import ModelRunner
from engine.wire.to_worker import DecodeOrder, PrefillOrder
from engine.worker.decode_steps import DecodeSteps
from engine.worker.decoder import Decoder
from engine.worker.in_flight import LOOK_SECONDS, InFlight, may_be_answered
from engine.worker.prefiller import Prefiller
from engine.worker.steps import Report


class _Packed(NamedTuple):
    """A packed step: of how many chunks, and behind them which lanes, None where decode has no part in it."""

    step: LaunchedStep
    chunks: int
    lanes: Sequence[Lane] | None
    at: float
    must_be_seen: bool
    """Before another is launched."""


class ColocatedSteps:
    """Implements `Steps`: an order's chunks and all decode lanes are a step; without an order it is one of decode.

    Where decode's runner runs ahead, so do packed steps: the next is launched as soon as there is an order for it.
    There is nobody to borrow from.
    """

    can_borrow = False

    def __init__(
        self,
        prefiller: Prefiller,
        decoder: Decoder,
        runner: ModelRunner,
        decode_runner: DecodeRunner,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._prefiller = prefiller
        self._decoder = decoder
        self._runner = runner
        self._runs_ahead = decode_runner.runs_ahead
        self._decoding = DecodeSteps(decoder, decode_runner, clock)
        self._clock = clock
        self._in_flight = InFlight[_Packed](clock)

    @property
    def has_work(self) -> bool:
        return self._prefiller.has_work or self._decoding.has_work

    @property
    def seconds_to_spare(self) -> float:
        if self._in_flight:
            return LOOK_SECONDS if self._waits_for_an_order else 0.0
        return 0.0 if self._prefiller.has_work else self._decoding.seconds_to_spare

    def apply(self, order: PrefillOrder | DecodeOrder) -> None:
        if isinstance(order, PrefillOrder):
            self._prefiller.apply(order)
        else:
            self._decoder.apply(order)

    def turn(self, borrowed: bool = False) -> list[Report]:
        if self._waits_for_an_order:
            return []
        if not self._prefiller.has_order:
            return self._see_all_but(0) if self._in_flight else self._decoding.turn()
        reports = self._decoding.finish()
        self._launch()
        return reports + self._see_all_but(0 if self._in_flight[-1].must_be_seen else 1)

    def finish(self) -> list[Report]:
        return self._see_all_but(0) + self._decoding.finish()

    @property
    def _waits_for_an_order(self) -> bool:
        return not self._prefiller.has_order and may_be_answered(self._in_flight)

    def _launch(self) -> None:
        at, chunks, lanes = self._clock(), self._prefiller.segments(), self._decoder.ready()
        segments = [*chunks, *(lane.segment for lane in lanes)]  # lanes last: kernels look for them at a step's end
        is_asked_more = any(chunk.sampling and chunk.sampling.logprobs is not None for chunk in chunks)
        must_be_seen = is_asked_more or any(lane.needs_the_last_token for lane in lanes) or not self._runs_ahead
        step = self._runner.launch(segments, self._fed(lanes, len(chunks)))
        part = self._lanes_to_report(lanes)
        if part is not None:
            self._decoder.launched(part)
        self._in_flight.append(_Packed(step, len(chunks), part, at, must_be_seen))

    def _fed(self, lanes: Sequence[Lane], first: int) -> Fed | None:
        """Of lanes in the step in flight the host does not know the last token. `first`: the lanes' first segment."""
        if not self._in_flight:
            return None
        before = self._in_flight[-1]
        drawn_by = {lane: number for number, lane in enumerate(before.lanes or (), before.chunks)}
        return Fed(before.step, {at: drawn_by[lane] for at, lane in enumerate(lanes, first) if lane in drawn_by})

    def _lanes_to_report(self, lanes: Sequence[Lane]) -> Sequence[Lane] | None:
        """A report over no lanes is there to say who has left, where none in flight will."""
        is_reported = any(packed.lanes is not None for packed in self._in_flight)
        return lanes if lanes or (self._decoder.has_work and not is_reported) else None

    def _see_all_but(self, count: int) -> list[Report]:
        reports: list[Report] = []
        while len(self._in_flight) > count:
            packed = self._in_flight[0]
            drawn = packed.step.tokens()
            seconds = self._in_flight.oldest_is_over()
            reports.append(self._prefiller.report(drawn[: packed.chunks], seconds))
            if packed.lanes is not None:
                reports.append(self._decoder.report(drawn[packed.chunks :], seconds))
        return reports
