"""Checkpoints that several test files read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.checkpoints import save_random_llama


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, 6 query heads over 2 of K and V, with a head dimension that is not hidden / heads."""
    path = tmp_path_factory.mktemp("small-llama")
    return save_random_llama(path, num_attention_heads=6, num_key_value_heads=2, head_dim=10)
