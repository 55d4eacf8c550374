"""What a step returns, and that memory is mapped, never copied."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.model.history import History
from engine.model.launched_step import Fed
from engine.model.runner import kv_layers_of
from engine.model.segment import Drawn, Segment
from engine.request import SamplingParams
from tests.model.serving import GREEDY, Server


@pytest.fixture
def server(small_llama: Path) -> Server:
    return Server(small_llama, page_size=4)


def test_only_segments_with_sampling_draw(server: Server) -> None:
    segments = [
        Segment([1, 2, 3], 0, [5], None, 0),
        Segment([1, 2, 3], 0, [6], GREEDY, 0),
        Segment([9], 0, [7], None, 0),
        Segment([1, 2, 3], 0, [8], GREEDY, 0),
    ]
    first, second, third, fourth = server.runner.step(segments)
    assert first is None
    assert third is None
    assert second is not None
    assert second == fourth


def test_a_step_without_draws_still_writes_k_and_v(server: Server) -> None:
    before = [layer[5].clone() for layer in kv_layers_of(server.kv_region, server.kv)]
    assert server.runner.step([Segment([1, 2, 3], 0, [5], None, 0)]) == [None]
    for old, layer in zip(before, kv_layers_of(server.kv_region, server.kv), strict=True):
        assert not torch.equal(old[:, :3], layer[5, :, :3])
        assert torch.equal(old[:, 3], layer[5, :, 3])


def test_the_last_layer_goes_on_for_what_is_drawn_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, gated = list[int](), server.runner.kernels.gated

    def counted(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return gated(x, weight)

    monkeypatch.setattr(server.runner.kernels, "gated", counted)
    server.runner.step([Segment([1, 2, 3], 0, [5], None, 0), Segment([1, 2, 3, 4], 0, [6], GREEDY, 0)])
    assert rows == [7, 1]
    server.runner.step([Segment([1, 2, 3], 0, [5], None, 0)])
    assert rows[2:] == [3]


def test_only_the_pages_of_the_segments_are_written(server: Server) -> None:
    before = server.kv_region.clone()
    server.runner.step([Segment(list(range(6)), 0, [9, 3], GREEDY, 0), Segment([7], 0, [11], GREEDY, 0)])
    pages_before, pages_after = (
        torch.stack(list(kv_layers_of(region, server.kv)), dim=1) for region in (before, server.kv_region)
    )
    written = [page for page in range(server.kv.num_pages) if not torch.equal(pages_before[page], pages_after[page])]
    assert written == [3, 9, 11]


def test_the_runner_reads_the_mapped_weights(server: Server) -> None:
    """Zeroed in place, they make every logit 0, and greedy takes the first token."""
    segment = Segment([1, 2, 3], 0, [5], GREEDY, 0)
    assert server.runner.step([segment]) != [Drawn(0)]
    server.weights_region.zero_()
    assert server.runner.step([segment]) == [Drawn(0)]


def test_a_seeded_draw_does_not_depend_on_the_company(server: Server) -> None:
    sampling = SamplingParams(max_tokens=9, seed=77, temperature=1.5, top_p=0.9)
    segment = Segment([4, 5, 6], 0, [5], sampling, 3)
    others = [Segment([index], 0, [20 + index], GREEDY, 0) for index in range(3)]
    alone = server.runner.step([segment])[0]
    assert server.runner.step([*others, segment])[3] == alone


def test_penalties_reach_the_draw(server: Server) -> None:
    """Without them the greedy token comes again for the same tokens; a heavy penalty on it brings another."""
    (plain,) = server.runner.step([Segment([1, 2, 3], 0, [5], GREEDY, 1)])
    assert plain is not None
    penalty = SamplingParams(max_tokens=9, temperature=0.0, presence_penalty=1e4)
    history = History([1, 2, plain.token_id], output_count=1)
    segments = [Segment([1, 2, 3], 0, [5], GREEDY, 1), Segment([1, 2, 3], 0, [6], penalty, 1, history)]
    unpunished, punished = server.runner.step(segments)
    assert unpunished == plain
    assert punished is not None
    assert punished.token_id != plain.token_id


def test_logprobs_are_reported_where_they_are_asked_for(server: Server) -> None:
    asking = SamplingParams(max_tokens=9, temperature=0.0, logprobs=3)
    segments = [Segment([1, 2, 3], 0, [page], sampling, 0) for page, sampling in ((5, asking), (6, GREEDY), (7, None))]
    first, second, third = server.runner.step(segments)
    assert first is not None
    assert first.top_logprobs[0] == (first.token_id, first.logprob)
    assert len(first.top_logprobs) == 3
    assert second == Drawn(first.token_id)
    assert third is None


def test_a_step_needs_a_segment(server: Server) -> None:
    with pytest.raises(AssertionError, match="at least one segment"):
        server.runner.step([])


def test_a_lane_is_fed_what_the_step_before_draws(server: Server) -> None:
    """Launched without a look at the first step's tokens: among them those of a prompt that draws nothing."""
    prompt, other = [1, 2, 3], list(range(10, 22))
    (first,) = server.runner.step([Segment(prompt, 0, [5, 6], GREEDY, 0)])
    assert first is not None
    lane = Segment([first.token_id], 3, [5, 6], GREEDY, 1)
    chunks = [Segment(other[at : at + 4], at, [7, 8, 9], None, 0) for at in (0, 4, 8)]
    before = server.runner.launch([chunks[0], lane])
    later = server.runner.launch([chunks[1], lane._replace(token_ids=[0], start=4)], Fed(before, {1: 1}))
    last = server.runner.launch([lane._replace(token_ids=[0], start=5), chunks[2]], Fed(later, {0: 1}))
    assert before.is_over
    drawn = [before.tokens()[1], later.tokens()[1], last.tokens()[0]]
    (wanted,) = server.runner.step([Segment(prompt, 0, [15, 16], GREEDY, 0)])
    for position, choice in enumerate(drawn, 3):
        assert wanted is not None
        (wanted,) = server.runner.step([Segment([wanted.token_id], position, [15, 16], GREEDY, position - 2)])
        assert choice == wanted
