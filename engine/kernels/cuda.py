"""The kernels on NVIDIA GPUs, from FlashInfer. Everything runs on torch's current stream."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import linear

from engine.errors import CannotStart
from engine.kernels.upload import upload
from engine.resident.manifest import KVSpec

HEAD_DIMS = (64, 128, 256)
DTYPES = ("bfloat16", "float16")
WORKSPACE_BYTES = 128 << 20


class PagedBatch(NamedTuple):
    """A step in FlashInfer's words, int32 on the host. Sequence i owns entries indptr[i] … indptr[i + 1]."""

    batch_indices: np.ndarray
    """[T]: the sequence of each new token."""
    positions: np.ndarray
    """[T]: its position in that sequence."""
    qo_indptr: np.ndarray
    """[B + 1] into the new tokens."""
    kv_indptr: np.ndarray
    """[B + 1] into `kv_indices`."""
    kv_indices: np.ndarray
    """The page tables, one behind the other, cut to the pages in use."""
    last_page_len: np.ndarray
    """[B]: slots in use in the last page, 1 … page_size."""


class CudaPlan(NamedTuple):
    """A planned wrapper, and what `append_paged_kv_cache` needs on the device. Valid until the next `plan`."""

    wrapper: Any
    batch_indices: torch.Tensor
    positions: torch.Tensor
    kv_indptr: torch.Tensor
    kv_indices: torch.Tensor
    last_page_len: torch.Tensor


class CudaKernels:
    """Implements `Kernels`. `rotate` and `add_rms_norm` work in place: use what they return.

    `sm_count`: of the part of the chip they run on, None for all of it. `is_deterministic`: what a sequence gives
    follows from its own tokens and the number of rows of a step, not from the SMs or from other sequences.

    Raises `CannotStart` for what FlashInfer does not compute: other element types than bfloat16 and float16, other head
    dimensions than 64, 128 and 256.
    """

    def __init__(
        self,
        kv: KVSpec,
        num_heads: int,
        torch_device: torch.device,
        sm_count: int | None = None,
        is_deterministic: bool = False,
    ):
        _check(kv)
        self._flashinfer = flashinfer_module()
        thin = import_module("engine.kernels.thin_linear")  # needs Triton, which a CPU box has not
        self.is_deterministic = is_deterministic
        has_enough_sms = sm_count is None or sm_count >= thin.LEAST_SMS
        self._thin = thin if has_enough_sms and not is_deterministic else None
        self.kv = kv
        self.num_heads = num_heads
        self._device = torch_device
        workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=torch_device)
        # Decode's plain kernel reads K and V once for each query head; the one on tensor cores once for all that share
        # them, and it knows group sizes (5, 6, 7) that the plain one lacks.
        self._decode = self._flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            workspace, "NHD", use_tensor_cores=num_heads // kv.num_kv_heads >= 4
        )
        on_hopper = torch.cuda.get_device_capability(torch_device)[0] == 9
        self._prefill = self._flashinfer.BatchPrefillWithPagedKVCacheWrapper(
            workspace, "NHD", backend="fa3" if on_hopper else "fa2"
        )

    def plan(self, starts: Sequence[int], lengths: Sequence[int], page_tables: Sequence[Sequence[int]]) -> CudaPlan:
        batch = paged_batch(starts, lengths, page_tables, self.kv.page_size)
        on_device = (batch.batch_indices, batch.positions, batch.kv_indptr, batch.kv_indices, batch.last_page_len)
        together = upload(np.concatenate(on_device), self._device)
        parts = together.split([len(part) for part in on_device])
        has_lanes_only = max(lengths) == 1 and not self.is_deterministic  # their plan divides by SMs and other lanes
        plan = CudaPlan(self._decode if has_lanes_only else self._prefill, *parts)
        self._plan_attention(plan, batch)
        return plan

    def _plan_attention(self, plan: CudaPlan, batch: PagedBatch) -> None:
        # FlashInfer plans on the host. What it reads there must lie there, or it would wait for the GPU.
        kv_indptr, last_page_len = torch.from_numpy(batch.kv_indptr), torch.from_numpy(batch.last_page_len)
        shape = (self.num_heads, self.kv.num_kv_heads, self.kv.head_dim, self.kv.page_size)
        dtype = getattr(torch, self.kv.dtype)
        if plan.wrapper is self._decode:
            self._decode.plan(kv_indptr, plan.kv_indices, last_page_len, *shape, q_data_type=dtype, kv_data_type=dtype)
        else:
            self._prefill.plan(
                torch.from_numpy(batch.qo_indptr),
                kv_indptr,
                plan.kv_indices,
                last_page_len,
                *shape,
                causal=True,
                q_data_type=dtype,
                kv_data_type=dtype,
                disable_split_kv=self.is_deterministic,
            )

    def attend(
        self, plan: CudaPlan, kv: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        self._flashinfer.append_paged_kv_cache(
            k, v, plan.batch_indices, plan.positions, kv, plan.kv_indices, plan.kv_indptr, plan.last_page_len, "NHD"
        )
        return plan.wrapper.run(q, kv)

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        return self._flashinfer.rmsnorm(x, weight, eps)

    def add_rms_norm(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._flashinfer.fused_add_rmsnorm(x, residual, weight, eps)
        return x, residual

    def rotate(
        self, q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor, cos_sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._flashinfer.apply_rope_with_cos_sin_cache_inplace(positions, q, k, self.kv.head_dim, cos_sin)
        return q, k

    def silu_and_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        return self._flashinfer.silu_and_mul(gate_up)

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self._thin and self._thin.fits(x, weight):
            return self._thin.thin_linear(x, weight, bias)
        return linear(x, weight, bias)

    def gated(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if self._thin and self._thin.fits(x, weight):
            return self._thin.thin_gated(x, weight)
        return self.silu_and_mul(linear(x, weight))


def paged_batch(
    starts: Sequence[int], lengths: Sequence[int], page_tables: Sequence[Sequence[int]], page_size: int
) -> PagedBatch:
    """The index arrays of one step; arguments as for `Kernels.plan`."""
    new, first = np.array(lengths), np.array(starts)
    page_counts = -(-(first + new) // page_size)
    qo_indptr = np.cumsum([0, *lengths])
    pages = [np.array(table[:count]) for table, count in zip(page_tables, page_counts, strict=True)]
    arrays = (
        np.repeat(np.arange(len(lengths)), new),
        np.arange(qo_indptr[-1]) + np.repeat(first - qo_indptr[:-1], new),
        qo_indptr,
        np.cumsum([0, *page_counts]),
        np.concatenate(pages),
        first + new - (page_counts - 1) * page_size,
    )
    return PagedBatch(*(array.astype(np.int32) for array in arrays))


def _check(kv: KVSpec) -> None:
    if kv.dtype not in DTYPES:
        raise CannotStart(f"On CUDA, dtype cannot be {kv.dtype!r}: FlashInfer computes in {' or '.join(DTYPES)}.")
    if kv.head_dim not in HEAD_DIMS:
        raise CannotStart(
            f"On CUDA, head_dim cannot be {kv.head_dim}: FlashInfer has attention for {', '.join(map(str, HEAD_DIMS))}."
        )


def flashinfer_module() -> Any:
    """FlashInfer, imported only where it is used. Raises `CannotStart` where it is not installed."""
    try:
        return import_module("flashinfer")
    except ImportError as error:
        raise CannotStart(f"FlashInfer cannot be imported ({error}): install this package's extra 'cuda'.") from error
