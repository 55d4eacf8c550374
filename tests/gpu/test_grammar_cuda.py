"""Grammars on the GPU: the same tokens are forbidden there as on the CPU, and nothing else is changed."""

from __future__ import annotations

import random

import pytest
import torch

from engine.model.adjustment import adjusted
from engine.model.history import History
from engine.request import SamplingParams
from tests.grammar.byte_grammars import END, SIZE, grammar, grammars, random_answer, random_schema

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.filterwarnings("ignore:::tvm_ffi"),  # theirs to mend
]


def test_the_same_tokens_are_forbidden_as_on_the_cpu() -> None:
    source, store = random.Random(4), grammars()
    params, histories = [], []
    for row in range(24):
        packed = grammar(random_schema(source)) if row % 3 else None
        output = random_answer(store.matcher(packed, []), source) if packed else []
        output = output[: source.randint(0, len(output))]
        params.append(SamplingParams(max_tokens=99, stop_token_ids=(END,), grammar=packed))
        histories.append(History.wanted_by(params[-1], [1, *output], len(output), store))
    indices = [0] * len(params)
    logits = torch.randn(len(params), SIZE, generator=torch.Generator().manual_seed(0))
    on_cpu = adjusted(logits, params, indices, histories)
    on_gpu = adjusted(logits.cuda(), params, indices, histories)
    assert torch.equal(on_gpu.cpu(), on_cpu)
    assert on_cpu.isinf().any(dim=1).tolist() == [row % 3 > 0 for row in range(24)]
