"""FlashInfer's index arrays, and what CUDA kernels refuse; neither needs a GPU."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from engine.errors import CannotStart
from engine.kernels.cuda import CudaKernels, lanes_at_the_end, paged_batch
from engine.resident.manifest import KVSpec


def test_index_arrays_of_a_mixed_step() -> None:
    batch = paged_batch(starts=[6, 0, 3], lengths=[1, 5, 1], page_tables=[[9, 2, 7], [4, 8, 1], [3, 5]], page_size=4)
    assert batch.batch_indices.tolist() == [0, 1, 1, 1, 1, 1, 2]
    assert batch.positions.tolist() == [6, 0, 1, 2, 3, 4, 3]
    assert batch.qo_indptr.tolist() == [0, 1, 6, 7]
    assert batch.kv_indptr.tolist() == [0, 2, 4, 5]
    assert batch.kv_indices.tolist() == [9, 2, 4, 8, 3]
    assert batch.last_page_len.tolist() == [3, 1, 4]
    assert all(array.dtype == np.int32 for array in batch)


@pytest.mark.parametrize(
    ("lengths", "lanes"),
    [([1], 1), ([1, 1, 1], 3), ([5], 0), ([5, 2], 0), ([5, 1, 2, 1, 1], 2), ([1, 5, 1], 1), ([1, 1, 5], 0)],
)
def test_lanes_are_the_one_token_sequences_that_nothing_longer_follows(lengths: list[int], lanes: int) -> None:
    assert lanes_at_the_end(lengths) == lanes


@pytest.mark.parametrize(
    ("dtype", "head_dim", "sentence"),
    [
        ("float32", 64, "On CUDA, dtype cannot be 'float32'"),
        ("bfloat16", 48, "On CUDA, head_dim cannot be 48: FlashInfer has attention for 64, 128, 256"),
    ],
)
def test_one_sentence_for_what_flashinfer_does_not_compute(dtype: str, head_dim: int, sentence: str) -> None:
    with pytest.raises(CannotStart, match=sentence):
        CudaKernels(spec(dtype, head_dim), num_heads=4, torch_device=torch.device("cuda"))


@pytest.mark.skipif(importlib.util.find_spec("flashinfer") is not None, reason="FlashInfer is installed here")
def test_one_sentence_where_flashinfer_is_not_installed() -> None:
    with pytest.raises(CannotStart, match=r"FlashInfer cannot be imported .* install this package's extra 'cuda'"):
        CudaKernels(spec("bfloat16", 64), num_heads=4, torch_device=torch.device("cuda"))


def spec(dtype: str, head_dim: int) -> KVSpec:
    return KVSpec(num_layers=1, num_pages=8, page_size=16, num_kv_heads=2, head_dim=head_dim, dtype=dtype)
