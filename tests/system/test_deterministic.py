"""With `--deterministic`, tokens and the bits of their log-probabilities are those of a request that is all alone."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import save_random_llama
from tests.system.appliance import Appliance, running_appliance

pytestmark = [pytest.mark.system]

CHUNK_TOKENS, OUTPUT_TOKENS, CONCURRENCY, ROUNDS = 48, 40, 12, 10
SHAPE: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "head_dim": 20,
}
PAGE_BYTES = 2 * 16 * 3 * 2 * 20 * 4
SMALL_POOL_BYTES = 40 * PAGE_BYTES
"""Not enough for twelve at a time."""

Answer = tuple[list[int], list[float], list[dict[str, float]]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_llama(tmp_path_factory.mktemp("model"), seed=3, **SHAPE)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """A token, a page, a chunk, one more and several; a third begin as another does."""
    draw = random.Random(5)
    prompts = [[draw.randrange(256) for _ in range(length)] for length in (1, 2, 16, 47, 48, 49, 97, 150, 300, 16)]
    return prompts + [[*draw.choice(prompts), *range(draw.randint(1, 60))] for _ in range(8)]


def ask(appliance: Appliance, prompt: list[int]) -> Answer:
    body: dict[str, Any] = {"temperature": 0, "max_tokens": OUTPUT_TOKENS, "ignore_eos": True, "logprobs": 3}
    answer = appliance.post("/v1/completions", prompt=prompt, return_token_ids=True, **body)["choices"][0]
    return answer["token_ids"], answer["logprobs"]["token_logprobs"], answer["logprobs"]["top_logprobs"]


@pytest.fixture(scope="module")
def alone(checkpoint: Path, prompts: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """One after the other, in one process."""
    options = [*common(checkpoint), "--mode", "colocated"]
    with running_appliance(tmp_path_factory.mktemp("alone"), *options) as appliance:
        return [ask(appliance, prompt) for prompt in prompts]


def common(checkpoint: Path) -> list[str]:
    lengths = ["--prefill-token-budget", str(CHUNK_TOKENS), "--max-running-requests", str(CONCURRENCY)]
    return ["--model", str(checkpoint), "--deterministic", *lengths]


def test_neighbours_preemption_and_rotations_change_no_bit(
    checkpoint: Path, prompts: list[list[int]], alone: list[Answer], tmp_path: Path
) -> None:
    options = [*common(checkpoint), "--kv-memory-bytes", str(SMALL_POOL_BYTES)]
    with running_appliance(tmp_path, *options) as appliance, ThreadPoolExecutor(CONCURRENCY) as clients:
        asked = [clients.submit(ask, appliance, prompt) for prompt in prompts * 2]
        for prefill, *more in (["60"], ["30", "--new-group"]):
            command = ["rotate", "--prefill", prefill, "--decode", str(100 - int(prefill)), *more]
            subprocess.run([sys.executable, "-m", "appliance", *command], env=appliance.serve.environment, check=True)
        answers = [each.result() for each in asked]
        for _ in range(ROUNDS):  # who meets whom in the pool is a matter of time
            if appliance.status["scheduler"]["preemptions"]:
                break
            answers += clients.map(partial(ask, appliance), prompts * 2)
        assert appliance.status["scheduler"]["preemptions"] > 0
    for at, answer in enumerate(answers):
        assert answer == alone[at % len(prompts)], at % len(prompts)
