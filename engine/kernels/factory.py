"""Chooses the kernels of a device."""

from __future__ import annotations

import os
from typing import Literal

import torch

from engine.kernel_cache import PRODUCTS, KernelCache
from engine.kernels.cpu import CpuKernels
from engine.kernels.cuda import CudaKernels
from engine.kernels.kernels import Kernels
from engine.kernels.product_choices import ProductChoices
from engine.kernels.products import on_this
from engine.resident.manifest import KVSpec


def kernels_for(
    device_kind: Literal["cpu", "cuda"],
    kv: KVSpec,
    num_heads: int,
    torch_device: torch.device,
    sm_count: int | None = None,
    is_deterministic: bool = False,
) -> Kernels:
    """Kernels for a model with `num_heads` query heads over the KV cache `kv`, for `sm_count` SMs (None: all).

    `is_deterministic`: a sequence's bits depend on its own tokens and on how many rows a step has, on nothing else.
    """
    if device_kind == "cpu":
        return CpuKernels(kv.page_size, is_deterministic)
    return CudaKernels(kv, num_heads, torch_device, sm_count, is_deterministic, choices_for(kv.dtype, torch_device))


def choices_for(dtype: str, torch_device: torch.device) -> ProductChoices:
    """What `semi-pd kernels build` has found on such a GPU with this library; none where it has not run."""
    folder = KernelCache.of(os.environ).root
    if not (folder / PRODUCTS).exists():
        return ProductChoices()
    return ProductChoices.load(folder, on_this(getattr(torch, dtype), torch_device))
