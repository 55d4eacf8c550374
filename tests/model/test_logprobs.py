"""The log-probabilities beside the tokens: the model's own, whatever was asked of the sampler."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.model.logprobs import with_logprobs
from engine.model.segment import Drawn
from engine.request import SamplingParams

VOCAB_SIZE = 30


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(6, VOCAB_SIZE, generator=torch.Generator().manual_seed(5)) * 4


def log_softmax(logits: torch.Tensor) -> np.ndarray:
    wide = logits.double().numpy()
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def test_each_row_gets_what_it_asked_for(logits: torch.Tensor) -> None:
    wanted = [None, 0, 1, 7, None, 100]
    token_ids = [3, 4, 5, 6, 7, 8]
    params = [SamplingParams(max_tokens=1, logprobs=count) for count in wanted]
    drawn = with_logprobs(torch.tensor(token_ids), logits, params)
    assert [each.token_id for each in drawn] == token_ids
    for each, count, expected in zip(drawn, wanted, log_softmax(logits), strict=True):
        if count is None:
            assert each == Drawn(each.token_id)
            continue
        assert each.logprob == pytest.approx(expected[each.token_id], abs=1e-5)
        best = np.argsort(-expected)[:count]
        assert [token_id for token_id, _ in each.top_logprobs] == best.tolist()
        assert [logprob for _, logprob in each.top_logprobs] == pytest.approx(expected[best].tolist(), abs=1e-5)


def test_a_batch_that_asks_for_nothing(logits: torch.Tensor) -> None:
    drawn = with_logprobs(torch.arange(6), logits, [SamplingParams(max_tokens=1)] * 6)
    assert drawn == [Drawn(token_id) for token_id in range(6)]


def test_they_do_not_depend_on_the_batch(logits: torch.Tensor) -> None:
    params = [SamplingParams(max_tokens=1, logprobs=count) for count in (2, 5, 0, 9, 1, 3)]
    together = with_logprobs(torch.arange(6), logits, params)
    alone = [with_logprobs(torch.tensor([row]), logits[[row]], [params[row]])[0] for row in range(6)]
    assert together == alone
