"""Greedy tokens in float32, one for one, against transformers' own models of each family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from engine.request import SamplingParams
from tests.checkpoints import save_random_model
from tests.model.serving import Server, prompts

MAX_TOKENS = 12
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
OWN_HEADS = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10}
ONE_KV_HEAD = {"num_attention_heads": 4, "num_key_value_heads": 1, "num_hidden_layers": 3}
SHARDED = {"max_shard_size": "20KB", "vocab_size": 301, "intermediate_size": 40}
TIED = {"num_key_value_heads": 4, "tie_word_embeddings": True}
MODELS: dict[str, dict[str, Any]] = {
    "llama, grouped heads of their own size": OWN_HEADS,
    "llama, one kv head": ONE_KV_HEAD,
    "llama, tied embeddings": TIED,
    "llama, sharded": SHARDED,
    "llama, llama3 rope": {"head_dim": 16, "rope_parameters": LLAMA3},
    "llama, another theta and epsilon": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "rms_norm_eps": 1e-3,
    },
    "llama, attention bias": {"attention_bias": True},
    "mistral, grouped heads of their own size": OWN_HEADS | {"sliding_window": None},
    "mistral, one kv head, tied, sharded": ONE_KV_HEAD | TIED | SHARDED | {"num_key_value_heads": 1},
    "qwen2, grouped heads of their own size": OWN_HEADS,
    "qwen2, one kv head, sharded": ONE_KV_HEAD | SHARDED,
    "qwen2, tied embeddings": TIED,
    "qwen3, grouped heads of their own size": OWN_HEADS,
    "qwen3, one kv head, tied, sharded": ONE_KV_HEAD | TIED | SHARDED | {"num_key_value_heads": 1, "head_dim": 16},
    "qwen3, attention bias": {"attention_bias": True, "head_dim": 8},
}


@pytest.fixture(scope="module", params=MODELS, ids=lambda name: name.replace(",", "").replace(" ", "-"))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family = request.param.split(",")[0]
    return save_random_model(tmp_path_factory.mktemp(family), family, **MODELS[request.param])


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()


def greedy(reference: PreTrainedModel, prompt: list[int]) -> list[int]:
    token_ids = list(prompt)
    with torch.inference_mode():
        for _ in range(MAX_TOKENS):
            logits = reference(input_ids=torch.tensor([token_ids]), use_cache=False).logits
            token_ids.append(int(logits[0, -1].argmax()))
    return token_ids[len(prompt) :]


@pytest.mark.parametrize(("chunk", "page_size"), [(7, 5), (64, 16)])
def test_chunked_prefill_then_batched_decode(
    checkpoint: Path, reference: PreTrainedModel, chunk: int, page_size: int
) -> None:
    server = Server(checkpoint, page_size)
    sequences = [server.sequence(prompt, MAX_TOKENS) for prompt in prompts(5, server.config.vocab_size, 40)]
    while not all(sequence.is_prefilled for sequence in sequences):
        server.step([sequence for sequence in sequences if not sequence.is_prefilled], chunk)
    for _ in range(MAX_TOKENS - 1):
        server.step(sequences, 1)
    for sequence in sequences:
        assert sequence.drawn == greedy(reference, sequence.token_ids)


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-5), ("float16", 0.01), ("bfloat16", 0.06)])
def test_log_probabilities_in_every_element_type(
    checkpoint: Path, reference: PreTrainedModel, dtype: str, error: float
) -> None:
    """The error's deviation stays below a part of the log-probabilities' own; it grows with the type's last bit."""
    server = Server(checkpoint, page_size=4, dtype=dtype)
    everything = SamplingParams(max_tokens=1, temperature=0.0, logprobs=server.config.vocab_size)
    for prompt in prompts(4, server.config.vocab_size, 30, seed=2):
        (drawn,) = server.runner.step([server.sequence(prompt, 1).segment(len(prompt), everything)])
        assert drawn is not None
        given = torch.tensor([logprob for _, logprob in sorted(drawn.top_logprobs)])
        with torch.inference_mode():
            wanted = reference(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1].log_softmax(-1)
        assert (given - wanted).std() < error * wanted.std()


def test_steps_that_mix_prefill_chunks_and_decode_lanes(checkpoint: Path, reference: PreTrainedModel) -> None:
    server = Server(checkpoint, page_size=4)
    waiting = [server.sequence(prompt, MAX_TOKENS) for prompt in prompts(6, server.config.vocab_size, 30, seed=1)]
    everyone, running = list(waiting), []
    while waiting or running:
        if waiting:
            running.append(waiting.pop(0))
        server.step(running, most=9)
        running = [sequence for sequence in running if len(sequence.drawn) < MAX_TOKENS]
    for sequence in everyone:
        assert sequence.drawn == greedy(reference, sequence.token_ids)
