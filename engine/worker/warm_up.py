"""What a worker computes before it says ready, on page 0, which belongs to nobody: a request finds it all loaded.

A first use costs where nobody counts on it: FlashInfer and Triton build or load a module, cuBLAS makes its workspace
and loads a kernel for a shape, CUDA loads each of torch's kernels when it is first asked for, torch's allocator asks
the driver for memory. The largest step is among them, so that what the worker takes of the device's memory shows too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from engine.model.decode_runner import DecodeRunner
from engine.model.history import History
from engine.model.lane import Lane
from engine.model.runner import ModelRunner
from engine.model.segment import Segment
from engine.request import SamplingParams

STEP_TOKENS = (256, 64, 16, 1)
"""Beside the largest step: matrix products of other heights are other kernels."""

GREEDY = SamplingParams(max_tokens=1, temperature=0.0)
DRAWS = (
    SamplingParams(max_tokens=1, temperature=0.8, top_k=2, top_p=0.9, min_p=0.01),
    SamplingParams(max_tokens=1, temperature=0.8, top_p=0.9),
    SamplingParams(max_tokens=1, temperature=0.0, logprobs=2),
    SamplingParams(max_tokens=1, temperature=0.0, logit_bias={0: 1.0}, min_tokens=1, stop_token_ids=(0,)),
    SamplingParams(max_tokens=1, repetition_penalty=1.1, presence_penalty=0.1, frequency_penalty=0.1),
)
"""Between them they use everything a draw can ask for but a grammar."""


def warm_up(runner: ModelRunner, page_size: int, most_tokens: int = 0) -> None:
    """A prompt's step, a decode step and every way to draw; with `most_tokens`, steps up to so many as well."""
    runner.step([Segment([0, 0], 0, [0, 0], GREEDY, 0)])
    runner.step([Segment([0], 1, [0, 0], GREEDY, 0)])
    runner.step([_drawing(sampling) for sampling in DRAWS])
    for tokens in (most_tokens, *(step for step in STEP_TOKENS if step < most_tokens)):
        if tokens:
            runner.step(prompt_of(tokens, runner.model.max_positions, page_size))


def warm_up_decode(runner: DecodeRunner, max_lanes: int) -> None:
    """Steps in which lanes join, draw in every way, and leave: what surrounds a graph is used, too."""
    lanes = [_lane(sampling) for sampling in (*DRAWS, GREEDY)][-max_lanes:]
    for staying in (lanes, lanes[-1:]):
        runner.launch(staying).tokens()


def _lane(sampling: SamplingParams) -> Lane:
    segment = _drawing(sampling)
    return Lane(0, 0, len(segment.token_ids) - 1, segment.output_index, segment.pages, sampling, segment.history)


def _drawing(sampling: SamplingParams) -> Segment:
    history = History([0, 0], output_count=1) if sampling.needs_history else None
    return Segment([0, 0], 0, [0, 0], sampling, 1, history)


def prompt_of(tokens: int, longest: int, page_size: int) -> Sequence[Segment]:
    """So many tokens as prompts of at most `longest`, all on page 0; the last one draws."""
    bounds = [*range(0, tokens, longest), tokens]
    lengths = [end - start for start, end in pairwise(bounds)]
    prompts = [Segment([0] * length, 0, [0] * -(-length // page_size), None, 0) for length in lengths]
    return [*prompts[:-1], prompts[-1]._replace(sampling=GREEDY)]
