"""A decode step as its worker sees it: launched, and at some later time seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from engine.kernels.cuda import CudaKernels
from engine.model.decode_graphs import GraphDecodeRunner, buckets_up_to
from engine.model.lane import Lane
from engine.model.runner import ModelRunner
from engine.model.segment import Drawn, Segment
from engine.model.transformer import Transformer
from engine.request import SamplingParams


class StepInFlight(Protocol):
    """A step that was launched. K and V it writes are not there before its tokens are."""

    def tokens(self) -> list[Drawn]:
        """What was drawn for each lane, in the order they were given. Waits for the step; to be asked once."""
        ...

    @property
    def device_seconds(self) -> float | None:
        """How long the device has computed it, right after its tokens were seen; None where it keeps no time."""
        ...


class DecodeRunner(Protocol):
    """Launches steps in which each lane feeds one token and draws the next."""

    runs_ahead: bool
    """True if a step may be launched while the one before it is in flight: it then feeds what that one draws."""

    def launch(self, lanes: Sequence[Lane]) -> StepInFlight:
        """Start a step over `lanes`, at least one. Steps are computed in the order they are launched in."""
        ...


class PartsRunner(DecodeRunner, Protocol):
    """Launches them in several parts of the device: on torch's current stream, if that was prepared."""

    def captures(self, model: Transformer) -> Iterator[None]:
        """Make torch's current stream one to launch on, piece by piece: `GraphDecodeRunner.captures`."""
        ...


class StepDone(NamedTuple):
    """A step that was computed when it was launched."""

    drawn: list[Drawn]
    device_seconds: float | None = None

    def tokens(self) -> list[Drawn]:
        return self.drawn


_PADDING = Segment([0], 0, [0], SamplingParams(max_tokens=1, temperature=0.0), 0)


class PlainDecodeRunner:
    """Decode steps like any other step of the model: computed at once.

    With `rows`, every step has so many: those of nobody are a token each on page 0.
    """

    runs_ahead = False

    def __init__(self, runner: ModelRunner, rows: int = 0):
        self._runner = runner
        self._rows = rows

    def launch(self, lanes: Sequence[Lane]) -> StepDone:
        padding = [_PADDING] * (self._rows - len(lanes))
        drawn = self._runner.step([*(lane.segment for lane in lanes), *padding])[: len(lanes)]
        return StepDone([choice for choice in drawn if choice is not None])

    def captures(self, model: Transformer) -> Iterator[None]:
        """Any stream will do."""
        return iter(())


def decode_runner_for(runner: ModelRunner, max_lanes: int, is_deterministic: bool = False) -> PartsRunner:
    """Decode steps of the runner's model: as CUDA graphs over up to `max_lanes` lanes where its kernels are CUDA's.

    With `is_deterministic` all steps have `max_lanes` rows.
    """
    if isinstance(runner.kernels, CudaKernels):
        buckets = (max_lanes,) if is_deterministic else buckets_up_to(max_lanes)
        return GraphDecodeRunner(runner.model, runner.kernels, runner.kv_layers, runner.sampler, buckets)
    return PlainDecodeRunner(runner, max_lanes if is_deterministic else 0)
