"""A random checkpoint gives, through two processes, chunked and batched, the very tokens of transformers."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.checkpoints import save_random_model
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
def prompts() -> list[list[int]]:
    """Lengths from 1 token to many chunks; a third begin as another does."""
    draw = random.Random(11)
    prompts = [
        [draw.randrange(256) for _ in range(draw.choice([1, 2, 15, 16, 17, 47, 48, 100, 300]))] for _ in range(32)
    ]
    return prompts + [[*draw.choice(prompts), draw.randrange(256)] for _ in range(PROMPTS - len(prompts))]


class Reference:
    """A random checkpoint of a family, and what transformers makes of the prompts; made when first asked for."""

    def __init__(self, folder: Path, prompts: list[list[int]]):
        self._folder = folder
        self._prompts = prompts
        self._known: dict[str, tuple[Path, list[list[int]]]] = {}

    def of(self, family: str) -> tuple[Path, list[list[int]]]:
        """Where the checkpoint is, and the tokens of each prompt."""
        if family not in self._known:
            shape = {name: value for name, value in SHAPE.items() if name != "head_dim" or family != "qwen2"}
            path = save_random_model(self._folder / family, family, seed=3, **shape)
            model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
            self._known[family] = path, [greedy(model, prompt) for prompt in self._prompts]
        return self._known[family]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, prompts: list[list[int]]) -> Reference:
    return Reference(tmp_path_factory.mktemp("models"), prompts)


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
    ("family", "mode", "kv_bytes"),
    [
        pytest.param("llama", "semi_pd", None, id="two workers"),
        pytest.param("llama", "colocated", None, id="colocated"),
        pytest.param("llama", "semi_pd", SMALL_POOL_BYTES, id="under preemption"),
        pytest.param("mistral", "semi_pd", SMALL_POOL_BYTES, id="mistral under preemption", marks=pytest.mark.long),
        pytest.param("qwen2", "semi_pd", SMALL_POOL_BYTES, id="qwen2 under preemption", marks=pytest.mark.long),
        pytest.param("qwen3", "semi_pd", SMALL_POOL_BYTES, id="qwen3 under preemption", marks=pytest.mark.long),
    ],
)
def test_the_tokens_are_those_of_transformers(
    family: str,
    mode: str,
    kv_bytes: int | None,
    prompts: list[list[int]],
    reference: Reference,
    tmp_path: Path,
) -> None:
    checkpoint, expected = reference.of(family)
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
