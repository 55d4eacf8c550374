"""A decode step as its worker sees it: launched, and at some later time seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from engine.kernels.cuda import CudaKernels
from engine.model.decode_graphs import GraphDecodeRunner, buckets_up_to
from engine.model.lane import Lane
from engine.model.runner import ModelRunner
from engine.model.segment import Drawn


class StepInFlight(Protocol):
    """A step that was launched. K and V it writes are not there before its tokens are."""

    def tokens(self) -> list[Drawn]:
        """What was drawn for each lane, in the order they were given. Waits for the step; to be asked once."""
        ...


class DecodeRunner(Protocol):
    """Launches steps in which each lane feeds one token and draws the next."""

    runs_ahead: bool
    """True if a step may be launched while the one before it is in flight: it then feeds what that one draws."""

    def launch(self, lanes: Sequence[Lane]) -> StepInFlight:
        """Start a step over `lanes`, at least one. Steps are computed in the order they are launched in."""
        ...


class StepDone(NamedTuple):
    """A step that was computed when it was launched."""

    drawn: list[Drawn]

    def tokens(self) -> list[Drawn]:
        return self.drawn


class PlainDecodeRunner:
    """Decode steps like any other step of the model: computed at once."""

    runs_ahead = False

    def __init__(self, runner: ModelRunner):
        self._runner = runner

    def launch(self, lanes: Sequence[Lane]) -> StepDone:
        drawn = self._runner.step([lane.segment for lane in lanes])
        return StepDone([choice for choice in drawn if choice is not None])


def decode_runner_for(runner: ModelRunner, max_lanes: int) -> DecodeRunner:
    """Decode steps of the runner's model: as CUDA graphs over up to `max_lanes` lanes where its kernels are CUDA's."""
    if isinstance(runner.kernels, CudaKernels):
        return GraphDecodeRunner(
            runner.model, runner.kernels, runner.kv_layers, runner.sampler, buckets_up_to(max_lanes)
        )
    return PlainDecodeRunner(runner)
