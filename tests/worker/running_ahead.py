"""A worker that runs ahead without a GPU: steps are launched before the last one is seen, and computed late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from engine.allocation import Phase
from engine.model.lane import Lane
from engine.model.launched_step import Fed
from engine.model.runner import ModelRunner
from engine.model.segment import Drawn, Segment
from engine.wire.codec import Message
from engine.wire.to_scheduler import Drained, ShareTaken
from engine.wire.to_worker import DecodeOrder, Drain, PrefillOrder, TakeShare
from engine.worker.colocated_steps import ColocatedSteps
from engine.worker.decode_steps import DecodeSteps
from engine.worker.decoder import Decoder
from engine.worker.prefill_steps import PrefillSteps
from engine.worker.prefiller import Prefiller
from engine.worker.steps import Steps
from tests.scheduler.rehearsal import HashModel, Rehearsal, RehearsedWorker


class LateStep:
    """Computed when it is seen: whoever gets one of its pages before that has it written over."""

    device_seconds = None

    def __init__(self, runner: LateRunner, lanes: Sequence[Lane]):
        self._runner = runner
        self._pieces = [(lane, lane.segment) for lane in lanes]

    def tokens(self) -> list[Drawn]:
        return [self._runner.compute(lane, segment) for lane, segment in self._pieces]


class LateRunner:
    """Keeps the tokens that were drawn, as the device does: those of lanes in flight are known nowhere else."""

    runs_ahead = True

    def __init__(self, model: HashModel):
        self._model = model
        self._tokens: dict[Lane, tuple[int, int]] = {}

    def launch(self, lanes: Sequence[Lane]) -> LateStep:
        assert lanes, "a step over nobody"
        return LateStep(self, lanes)

    def compute(self, lane: Lane, segment: Segment) -> Drawn:
        """Lanes that were in the step before feed what it drew, all others what the host knows."""
        position, token_id = self._tokens.get(lane, (-1, -1))
        if position == segment.start:
            segment = segment._replace(token_ids=[token_id])
        (drawn,) = self._model.step([segment])
        assert drawn is not None
        self._tokens[lane] = (segment.start + 1, drawn.token_id)
        return drawn


class LatePackedStep:
    """A packed step that is computed when it is seen: until then nobody knows what lanes of the next one feed."""

    def __init__(self, model: HashModel, segments: Sequence[Segment], fed: Fed | None, is_over: bool):
        self.is_over = is_over
        self._model = model
        self._segments = list(segments)
        self._fed = fed
        self._drawn: list[Drawn | None] = []

    def tokens(self) -> list[Drawn | None]:
        if self._fed:
            before = cast(LatePackedStep, self._fed.before)
            for at, drawn_by in self._fed.drawn_by.items():
                token = before._drawn[drawn_by]
                assert token is not None, "a lane is fed what was not drawn"
                self._segments[at] = self._segments[at]._replace(token_ids=[token.token_id])
        self._drawn = self._model.step(self._segments)
        return self._drawn


class LatePackedRunner:
    """A `ModelRunner` for packed steps."""

    def __init__(self, model: HashModel, is_over: bool = True):
        self._model = model
        self._is_over = is_over

    def launch(self, segments: Sequence[Segment], fed: Fed | None = None) -> LatePackedStep:
        return LatePackedStep(self._model, segments, fed, self._is_over)


class Ticking:
    """A clock on which nobody waits long: each look is a tenth of a second after the last."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 0.1
        return self._now


class AheadWorker(RehearsedWorker):
    """The worker's own turns over such a runner."""

    def __init__(self, peer: bytes, ready: Any, model: HashModel, page_size: int):
        super().__init__(peer, ready, model, page_size)
        self.steps = steps_of(ready.phases, ready.epoch, model, page_size)

    def work(self) -> list[Message]:
        while self.orders:
            match self.orders.popleft():
                case PrefillOrder() | DecodeOrder() as order:
                    self.steps.apply(order)
                case TakeShare(epoch, sequence, share):
                    return [*self.steps.finish(), ShareTaken(epoch, sequence, share, sm_count=share)]
                case Drain():
                    self.is_drained = True
                    return [*self.steps.finish(), Drained(self.ready.epoch)]
        reports: list[Message] = []
        while self.steps.has_work and not reports:  # the first turn only launches
            reports += self.steps.turn()
        return reports


def steps_of(phases: Sequence[Phase], epoch: int, model: HashModel, page_size: int) -> Steps:
    if tuple(phases) == (Phase.PREFILL,):
        return PrefillSteps(Prefiller(), cast(ModelRunner, LatePackedRunner(model, is_over=False)), clock=Ticking())
    decoder = Decoder(epoch, page_size)
    if tuple(phases) == (Phase.DECODE,):
        return DecodeSteps(decoder, LateRunner(model))
    return ColocatedSteps(Prefiller(), decoder, cast(ModelRunner, LatePackedRunner(model)), LateRunner(model))


class AheadRehearsal(Rehearsal):
    """The rehearsal with workers that run ahead."""

    worker_type = AheadWorker
