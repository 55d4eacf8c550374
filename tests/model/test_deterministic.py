"""The same bits of logits alone and among neighbours: prompts in chunks of their own, decode steps of one size."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.model.decode_runner import decode_runner_for
from engine.model.lane import Lane
from engine.model.segment import Segment
from tests.model.serving import GREEDY, Server, prompts

CHUNK, ROWS, STEPS, PAGE_SIZE = 16, 12, 20, 4


class Watched:
    """A server whose logits are kept: for each request the rows it was drawn from, in turn."""

    def __init__(self, path: Path, is_deterministic: bool = True):
        self._server = Server(path, PAGE_SIZE, num_pages=1000, is_deterministic=is_deterministic)
        self._decode = decode_runner_for(self._server.runner, ROWS, is_deterministic)
        self._latest = torch.empty(0)
        forward = self._server.runner.model.forward

        def kept(*arguments: Any) -> torch.Tensor:
            self._latest = forward(*arguments)
            return self._latest

        self._server.runner.model.forward = kept  # type: ignore[method-assign]

    def prefill(self, name: int, prompt: list[int]) -> tuple[Lane, list[torch.Tensor]]:
        """A lane that is ready to decode, and the logits of its first token."""
        drawn, pages = None, self._server.sequence(prompt, STEPS + 1).pages
        for start in range(0, len(prompt), CHUNK):
            tokens, is_last = prompt[start : start + CHUNK], start + CHUNK >= len(prompt)
            (drawn,) = self._server.runner.step([Segment(tokens, start, pages, GREEDY if is_last else None, 0)])
        assert drawn is not None
        return Lane(name, drawn.token_id, len(prompt), 1, pages, GREEDY, None), [self._latest[0].clone()]

    def decode(self, lanes: Sequence[Lane], seen: dict[int, list[torch.Tensor]]) -> None:
        for lane, drawn in zip(lanes, self._decode.launch(lanes).tokens(), strict=True):
            seen[lane.request_id].append(self._latest[lanes.index(lane)].clone())
            lane.token_id, lane.position, lane.output_index = drawn.token_id, lane.position + 1, lane.output_index + 1


def alone(path: Path, prompt: list[int]) -> list[torch.Tensor]:
    watched = Watched(path)
    lane, logits = watched.prefill(0, prompt)
    for _ in range(STEPS):
        watched.decode([lane], {0: logits})
    return logits


@pytest.fixture
def texts() -> list[list[int]]:
    """Of all lengths: less than a chunk, several, one token more than a whole one."""
    return [*prompts(ROWS - 2, 257, 60), list(range(17)), [5]]


def test_bits_do_not_depend_on_the_neighbours(small_llama: Path, texts: list[list[int]]) -> None:
    """Others join and leave, and every lane is computed now in this row and now in that."""
    draw, watched = random.Random(1), Watched(small_llama)
    lanes, seen = dict[int, Lane](), dict[int, list[torch.Tensor]]()
    for name, text in enumerate(texts):
        lanes[name], seen[name] = watched.prefill(name, text)
    while unfinished := [lane for name, lane in lanes.items() if len(seen[name]) <= STEPS]:
        watched.decode(draw.sample(unfinished, draw.randint(1, len(unfinished))), seen)
    for name, text in enumerate(texts):
        expected = alone(small_llama, text)
        assert len(seen[name]) == len(expected) == STEPS + 1
        assert all(torch.equal(one, other) for one, other in zip(seen[name], expected, strict=True)), name


def test_padding_leaves_pages_and_draws_alone(small_llama: Path) -> None:
    server = Server(small_llama, PAGE_SIZE, is_deterministic=True)
    before = server.kv_region.view(server.kv.num_layers, server.kv.num_pages, -1).clone()
    lane = Lane(1, 7, 0, 0, [9], GREEDY, None)
    drawn = decode_runner_for(server.runner, ROWS, is_deterministic=True).launch([lane]).tokens()
    assert len(drawn) == 1
    after = server.kv_region.view(server.kv.num_layers, server.kv.num_pages, -1)
    changed = {page for page in range(server.kv.num_pages) if not torch.equal(before[:, page], after[:, page])}
    assert changed == {0, 9}
