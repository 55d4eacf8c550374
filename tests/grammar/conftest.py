"""A small random model, made once; it has a token for each byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.checkpoints import save_random_llama


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_llama(tmp_path_factory.mktemp("small-llama"), max_position_embeddings=4096)
