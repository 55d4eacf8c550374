"""Decode attention, by a kernel of our own: rotary embedding, writing to the pages and attention in one launch.

It is compiled, kept and found again by FlashInfer's means, as FlashInfer's own kernels are.
"""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from engine.kernel_cache import OWN_SOURCE, own_digest
from engine.kernels.work_list import PIECE_NUMBERS
from engine.resident.manifest import KVSpec

_ELEMENT = {"bfloat16": "nv_bfloat16", "float16": "half"}


class Results(NamedTuple):
    """What the pieces of lanes that have several leave for each other. `arrived` is 0 before and after a launch."""

    sums: torch.Tensor
    """float32 [pieces, kv heads, query heads of each, head_dim]."""
    states: torch.Tensor
    """float32 [pieces, kv heads, query heads of each, 2]."""
    arrived: torch.Tensor
    """int32 [lanes, kv heads]."""


class LanesPlan(NamedTuple):
    """Attention of lanes with one new token each. What its tensors hold is read when the kernel runs."""

    pieces: torch.Tensor
    """int32 [pieces, PIECE_NUMBERS], as a `WorkList` fills them."""
    tables: torch.Tensor
    """int32 [lanes, table pages]."""
    results: Results


class DecodeAttention:
    """The kernel for one shape of KV cache, on torch's current stream. Compiled when it is first used."""

    def __init__(self, kv: KVSpec, num_heads: int):
        self._kv = kv
        self._group = num_heads // kv.num_kv_heads
        self._module: Any = None

    def results(self, pieces: int, lanes: int, device: torch.device) -> Results:
        """Room for up to so many pieces and lanes. One launch after another may use it."""
        heads = (pieces, self._kv.num_kv_heads, self._group)
        return Results(
            sums=torch.empty(*heads, self._kv.head_dim, dtype=torch.float32, device=device),
            states=torch.empty(*heads, 2, dtype=torch.float32, device=device),
            arrived=torch.zeros(lanes, self._kv.num_kv_heads, dtype=torch.int32, device=device),
        )

    def empty_pieces(self, count: int, device: torch.device) -> torch.Tensor:
        return torch.zeros(count, PIECE_NUMBERS, dtype=torch.int32, device=device)

    def run(
        self,
        plan: LanesPlan,
        kv: torch.Tensor,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cos_sin: torch.Tensor,
        out: torch.Tensor,
    ) -> None:
        """As `Kernels.rotate_and_attend`, into `out`, which is contiguous.

        q, k and v may be views of one tensor, and are kept as they are.
        """
        if self._module is None:
            self._module = self._spec().build_and_load()
        scale = 1 / math.sqrt(self._kv.head_dim)
        self._module.run(q, k, v, kv, out, cos_sin, plan.tables, plan.pieces, *plan.results, scale)

    def _spec(self) -> Any:
        """FlashInfer's `JitSpec`. Its name tells the source: what was compiled from another one is another module."""
        jit = import_module("flashinfer.jit")
        kv = self._kv
        shape = f"{kv.dtype}_{kv.head_dim}_{kv.num_kv_heads}_{self._group}"
        name = f"semi_pd_decode_attention_{shape}_{own_digest()}"
        source = Path(jit.env.FLASHINFER_GEN_SRC_DIR) / name / OWN_SOURCE.name
        source.parent.mkdir(parents=True, exist_ok=True)
        jit.utils.write_if_different(source, OWN_SOURCE.read_text())
        values = (
            ("DTYPE", _ELEMENT[kv.dtype]),
            ("DIM", kv.head_dim),
            ("KV_HEADS", kv.num_kv_heads),
            ("GROUP", self._group),
        )
        return jit.gen_jit_spec(name, [source], extra_cuda_cflags=[f"-D{macro}={value}" for macro, value in values])
