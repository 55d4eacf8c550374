"""A random checkpoint gives, through two processes, chunked and batched, the very tokens of transformers."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.checkpoints import save_random_llama
from tests.system.appliance import running_appliance

PROMPTS, OUTPUT_TOKENS, CONCURRENCY = 48, 64, 16
CHUNK_TOKENS = 48
SHAPE = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "tie_word_embeddings": False,
}
PAGE_BYTES = 2 * 16 * SHAPE["num_hidden_layers"] * SHAPE["num_key_value_heads"] * SHAPE["head_dim"] * 4
SMALL_POOL_BYTES = 50 * PAGE_BYTES
"""Two of the longest requests fill it."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_llama(tmp_path_factory.mktemp("models") / "random-llama", seed=3, **SHAPE)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Lengths from 1 token to many chunks; a third begin as another does."""
    draw = random.Random(11)
    prompts = [
        [draw.randrange(256) for _ in range(draw.choice([1, 2, 15, 16, 17, 47, 48, 100, 300]))] for _ in range(32)
    ]
    return prompts + [[*draw.choice(prompts), draw.randrange(256)] for _ in range(PROMPTS - len(prompts))]


@pytest.fixture(scope="module")
def expected(checkpoint: Path, prompts: list[list[int]]) -> list[list[int]]:
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    return [greedy(model, prompt) for prompt in prompts]


@torch.inference_mode()
def greedy(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    token_ids, cache, output = torch.tensor([prompt]), None, list[int]()
    while len(output) < OUTPUT_TOKENS:
        step = model(token_ids, past_key_values=cache, use_cache=True)
        output.append(int(step.logits[0, -1].argmax()))
        token_ids, cache = torch.tensor([[output[-1]]]), step.past_key_values
    return output


@pytest.mark.system
@pytest.mark.parametrize(
    ("mode", "kv_bytes"),
    [("semi_pd", None), ("colocated", None), ("semi_pd", SMALL_POOL_BYTES)],
    ids=["two workers", "colocated", "under preemption"],
)
def test_the_tokens_are_those_of_transformers(
    mode: str,
    kv_bytes: int | None,
    checkpoint: Path,
    prompts: list[list[int]],
    expected: list[list[int]],
    tmp_path: Path,
) -> None:
    options = ["--model", str(checkpoint), "--mode", mode, "--prefill-token-budget", str(CHUNK_TOKENS)]
    if kv_bytes:
        options += ["--kv-memory-bytes", str(kv_bytes)]
    with running_appliance(tmp_path, *options) as appliance:

        def ask(prompt: list[int]) -> list[int]:
            answer = appliance.post(
                "/v1/completions",
                prompt=prompt,
                temperature=0,
                max_tokens=OUTPUT_TOKENS,
                ignore_eos=True,
                return_token_ids=True,
            )
            return answer["choices"][0]["token_ids"]

        with ThreadPoolExecutor(CONCURRENCY) as clients:
            answers = list(clients.map(ask, prompts))
        assert answers == expected
        assert bool(kv_bytes) == bool(appliance.status["scheduler"]["preemptions"])
        assert appliance.pages_in_use == 0
