"""What is computed before a worker is ready touches page 0 alone, and reaches the largest step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import DEMO_MODEL
from engine.device.cpu import CpuDevice
from engine.kernels.build import PAGE_SIZE, layer_of, runner_of
from engine.model.config import ModelConfig
from engine.model.decode_runner import StepDone, decode_runner_for
from engine.model.lane import Lane
from engine.model.segment import Segment
from engine.model.transformer import Transformer
from engine.worker.start import decode_pieces
from engine.worker.warm_up import prompt_of, warm_up, warm_up_decode


@pytest.mark.parametrize(("tokens", "longest", "lengths"), [(5, 8, [5]), (8, 8, [8]), (20, 8, [8, 8, 4])])
def test_a_large_step_is_made_of_prompts_the_model_can_take(tokens: int, longest: int, lengths: list[int]) -> None:
    segments = prompt_of(tokens, longest, page_size=4)
    assert [len(segment.token_ids) for segment in segments] == lengths
    assert [len(segment.pages) for segment in segments] == [-(-length // 4) for length in lengths]
    assert {page for segment in segments for page in segment.pages} == {0}
    assert [segment.sampling is not None for segment in segments] == [False] * (len(lengths) - 1) + [True]


def test_only_the_page_of_nobody_is_written_and_the_largest_step_is_computed() -> None:
    runner = runner_of(layer_of(ModelConfig.load(DEMO_MODEL)), "float32", torch.device("cpu"))
    computed = list[int]()
    step = runner.step

    def counted(segments: Sequence[Segment]):
        computed.append(sum(len(segment.token_ids) for segment in segments))
        return step(segments)

    runner.step = counted  # type: ignore[method-assign]
    warm_up(runner, PAGE_SIZE, most_tokens=1500)
    assert max(computed) == 1500
    (layer,) = runner.kv_layers
    assert layer[0].any()
    assert not layer[1:].any()


class Recorded:
    """Launches, and how many lanes each had."""

    runs_ahead = False

    def __init__(self, lanes: int):
        self.runner = runner_of(layer_of(ModelConfig.load(DEMO_MODEL)), "float32", torch.device("cpu"))
        self._steps = decode_runner_for(self.runner, lanes)
        self.launched = list[int]()
        self.captured = 0

    def captures(self, model: Transformer) -> Iterator[None]:
        assert not self.launched
        self.captured += 1
        yield

    def launch(self, lanes: Sequence[Lane]) -> StepDone:
        self.launched.append(len(lanes))
        return StepDone(self._steps.launch(lanes).tokens())


@pytest.mark.parametrize(("most", "launched"), [(1, [1, 1]), (4, [4, 1]), (256, [6, 1])])
def test_decode_steps_are_tried_with_no_more_lanes_than_there_may_be(most: int, launched: list[int]) -> None:
    steps = Recorded(most)
    warm_up_decode(steps, most)
    assert steps.launched == launched
    (layer,) = steps.runner.kv_layers
    assert layer[0].any()
    assert not layer[1:].any()


def test_a_part_is_used_as_requests_use_it_before_it_is_prepared() -> None:
    """What a first launch asks the driver for, a request would wait for."""
    steps = Recorded(4)
    device = CpuDevice()
    part = device.partition(Phase.DECODE, SMAllocation(40, 60), Splitter.DUTY)
    for _ in decode_pieces(steps, steps.runner.model, 4, part):
        pass
    assert steps.captured == 1 and steps.launched == [4, 1]
