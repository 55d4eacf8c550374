"""What requests change in the logits, against the same written out token by token."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from engine.model.adjustment import adjusted
from engine.model.history import History
from engine.model.sampler import Sampler
from engine.request import SamplingParams

VOCAB_SIZE = 40


class Row(NamedTuple):
    params: SamplingParams
    prompt: list[int]
    output: list[int]

    @property
    def history(self) -> History | None:
        return History.wanted_by(self.params, self.prompt + self.output, len(self.output))


def row(source: random.Random, **choices: Any) -> Row:
    """A request with random tokens, so few that most come more than once."""
    tokens = [source.randrange(VOCAB_SIZE // 2) for _ in range(30)]
    return Row(SamplingParams(max_tokens=99, **choices), tokens[: (split := source.randint(1, 30))], tokens[split:])


def written_out(logits: np.ndarray, row: Row) -> np.ndarray:
    """The definition, token by token, in float64."""
    changed = []
    for token_id, logit in enumerate(logits.tolist()):
        if len(row.output) < row.params.min_tokens and token_id in row.params.stop_token_ids:
            logit = -np.inf
        logit += row.params.logit_bias.get(token_id, 0.0)
        if token_id in row.prompt + row.output:
            logit *= row.params.repetition_penalty ** (-1 if logit > 0 else 1)
        times = row.output.count(token_id)
        changed.append(logit - times * row.params.frequency_penalty - (times > 0) * row.params.presence_penalty)
    return np.array(changed)


def random_choices(source: random.Random) -> dict[str, Any]:
    """Each feature on or off."""
    everything = {
        "min_tokens": source.randrange(40),
        "stop_token_ids": (source.randrange(VOCAB_SIZE), source.randrange(VOCAB_SIZE)),
        "logit_bias": {source.randrange(VOCAB_SIZE): source.uniform(-9, 9) for _ in range(5)},
        "repetition_penalty": source.uniform(0.5, 2.0),
        "frequency_penalty": source.uniform(-2, 2),
        "presence_penalty": source.uniform(-2, 2),
    }
    return {name: value for name, value in everything.items() if source.random() < 0.5}


def random_rows(count: int, seed: int = 0) -> tuple[torch.Tensor, list[Row]]:
    source = random.Random(seed)
    logits = torch.randn(count, VOCAB_SIZE, generator=torch.Generator().manual_seed(seed)) * 3
    return logits, [row(source, **random_choices(source)) for _ in range(count)]


def adjust(logits: torch.Tensor, rows: list[Row]) -> torch.Tensor:
    params, indices, histories = (
        [one.params for one in rows],
        [len(one.output) for one in rows],
        [one.history for one in rows],
    )
    return adjusted(logits, params, indices, histories)


def assert_as_written_out(logits: torch.Tensor, rows: list[Row]) -> None:
    expected = np.stack([written_out(of, one) for of, one in zip(logits.numpy(), rows, strict=True)])
    np.testing.assert_allclose(adjust(logits, rows).numpy(), expected, rtol=1e-6, atol=1e-5)


ONE_AT_A_TIME: list[dict[str, Any]] = [
    {"min_tokens": 31, "stop_token_ids": (3, 8)},
    {"logit_bias": {0: 100.0, 7: -100.0, VOCAB_SIZE - 1: 0.5}},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"frequency_penalty": 0.6},
    {"frequency_penalty": -0.6},
    {"presence_penalty": 1.5},
    {"presence_penalty": -1.5},
]


@pytest.mark.parametrize("choices", ONE_AT_A_TIME, ids=str)
def test_each_alone(choices: dict[str, Any]) -> None:
    source = random.Random(1)
    logits, _ = random_rows(8)
    rows = [row(source, **choices) for _ in range(8)]
    assert_as_written_out(logits, rows)
    assert not torch.equal(adjust(logits, rows), logits)


@pytest.mark.parametrize("seed", range(4))
def test_all_together_in_a_mixed_batch(seed: int) -> None:
    assert_as_written_out(*random_rows(40, seed))


def test_the_order_is_bias_repetition_deductions() -> None:
    params = SamplingParams(
        max_tokens=9, logit_bias={0: -3.0}, repetition_penalty=2.0, frequency_penalty=0.25, presence_penalty=1.0
    )
    logits = torch.tensor([[1.0, 1.0]])
    # 1 − 3 = −2 is not positive, so it is multiplied; then 2 · 0.25 and 1 are taken off.
    assert adjust(logits, [Row(params, [1], [0, 0])]).tolist() == [[-5.5, 0.5]]


def test_penalties_tell_the_prompt_from_the_output() -> None:
    logits = torch.tensor([[1.0, 1.0, 1.0]])
    frequency = SamplingParams(max_tokens=9, frequency_penalty=0.5)
    repetition = SamplingParams(max_tokens=9, repetition_penalty=2.0)
    assert adjust(logits, [Row(frequency, [0, 0, 1], [1])]).tolist() == [[1.0, 0.5, 1.0]]
    assert adjust(logits, [Row(repetition, [0, 0, 1], [1])]).tolist() == [[0.5, 0.5, 1.0]]


def test_tokens_outside_the_vocabulary_are_ignored() -> None:
    logits = torch.zeros(2, 5)
    params = SamplingParams(
        max_tokens=9, min_tokens=5, stop_token_ids=(5, -1, 10**12), logit_bias={5: 9.0, -1: 9.0, 4: 1.0}
    )
    assert adjust(logits, [Row(params, [1], []), Row(params, [1], [])]).tolist() == [[0, 0, 0, 0, 1.0]] * 2


def test_the_logits_given_are_kept_and_returned_where_nothing_is_asked_for() -> None:
    logits, rows = random_rows(12)
    before = logits.clone()
    assert adjust(logits, rows) is not logits
    assert torch.equal(logits, before)
    plain = [Row(SamplingParams(max_tokens=9, temperature=0.3, top_k=4, stop_token_ids=(1,)), [1], [2])] * 12
    assert adjust(logits, plain) is logits


def test_greedy_rows_are_adjusted_too() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]] * 3)
    asked = [{"logit_bias": {2: 5.0}}, {"presence_penalty": 1.5}, {}]
    params = [SamplingParams(max_tokens=9, temperature=0.0, **choices) for choices in asked]
    histories = [History.wanted_by(choice, [0, 0], 1) for choice in params]
    assert Sampler().sample(logits, params, [1, 1, 1], histories).tolist() == [2, 1, 0]
