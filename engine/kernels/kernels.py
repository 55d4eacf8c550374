"""The operations a model is made of, behind one interface: torch on the CPU, FlashInfer on CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Kernels(Protocol):
    """Operations over packed tokens: T tokens of B sequences, one behind the other."""

    def plan(self, starts: Sequence[int], lengths: Sequence[int], page_tables: Sequence[Sequence[int]]) -> Any:
        """Prepare attention for one step.

        Sequence i has `lengths[i]` new tokens at positions `starts[i]` …; `page_tables[i]` covers them and all before.
        The result is handed to `attend` for every layer.
        """
        ...

    def attend(self, plan: Any, kv: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Write k, v [T, kv heads, head_dim] to their pages of `kv` (one layer), then attend causally.

        q and the result: [T, heads, head_dim].
        """
        ...

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """x · weight / rms(x) over the last dimension of x [T, n] or [T, heads, n], computed in float32. x is kept."""
        ...

    def add_rms_norm(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(rms_norm(x + residual), x + residual). May work in place: use what is returned."""
        ...

    def rotate(
        self, q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor, cos_sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary embedding of q and k [T, heads, head_dim] at `positions` [T], halves rotated (Hugging Face's layout).

        May work in place: use what is returned.

        `cos_sin`: float32 [max positions, head_dim]: cosines in the first half, sines in the second.
        """
        ...

    def silu_and_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        """silu(gate) · up, where gate_up [T, 2·n] holds gate in its first half."""
        ...

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """x · weightᵀ + bias, for x [T, columns] and weight [n, columns]."""
        ...

    def gated(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """silu(gate) · up, where x · weightᵀ [T, 2·n] holds gate in its first half."""
        ...
