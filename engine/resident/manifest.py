"""What the resident tells those who attach: what lies where in the memory it owns. Plain values, no torch."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class TensorSpec(msgspec.Struct, frozen=True):
    """One weight: `shape` elements at `offset` bytes in the weights' memory."""

    offset: int
    shape: tuple[int, ...]


class MemorySpec(msgspec.Struct, frozen=True):
    """How to map one region: a `memfd` whose descriptor travels beside the manifest, or a CUDA IPC `handle`."""

    kind: Literal["memfd", "cuda_ipc"]
    nbytes: int
    handle: bytes = b""


class KVSpec(msgspec.Struct, frozen=True):
    """The KV cache: `num_layers` tensors one behind the other, each in FlashInfer's paged NHD layout.

    A layer is [num_pages, 2 (K, V), page_size, num_kv_heads, head_dim]. Page 0 belongs to nobody: padding writes there.
    """

    num_layers: int
    num_pages: int
    page_size: int
    num_kv_heads: int
    head_dim: int
    dtype: str

    @property
    def layer_shape(self) -> tuple[int, int, int, int, int]:
        return (self.num_pages, 2, self.page_size, self.num_kv_heads, self.head_dim)

    @property
    def page_bytes(self) -> int:
        """Bytes of one page over all layers."""
        return self.num_layers * math.prod(self.layer_shape[1:]) * ITEM_BYTES[self.dtype]

    @property
    def nbytes(self) -> int:
        return self.num_pages * self.page_bytes


class Manifest(msgspec.Struct, frozen=True):
    """Everything a process needs to map the resident's memory. The ledger is always a `memfd`."""

    model_path: str
    device: Literal["cpu", "cuda"]
    dtype: str
    max_model_len: int
    weights: dict[str, TensorSpec]
    weights_memory: MemorySpec
    kv: KVSpec
    kv_memory: MemorySpec
    ledger_bytes: int
