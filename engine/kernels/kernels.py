"""The operations a model is made of, behind one interface: torch on the CPU, FlashInfer and our own kernels on CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch


class Kernels(Protocol):
    """Operations over packed tokens: T tokens of B sequences, one behind the other."""

    def of_part(self, sm_count: int | None) -> Self:
        """The same for a part of the device with so many SMs, None for all of it. Only one is to be used at a time."""
        ...

    def plan(self, starts: Sequence[int], lengths: Sequence[int], page_tables: Sequence[Sequence[int]]) -> Any:
        """Prepare attention for one step.

        Sequence i has `lengths[i]` new tokens at positions `starts[i]` …; `page_tables[i]` covers them and all before.
        Sequences may come in any order; decode lanes are computed fastest at the end.
        The result is handed to `rotate_and_attend` for every layer.
        """
        ...

    def rotate_and_attend(
        self,
        plan: Any,
        kv: torch.Tensor,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cos_sin: torch.Tensor,
    ) -> torch.Tensor:
        """Give q and k their positions, write k and v to their pages of `kv` (one layer), then attend causally.

        q and the result: [T, heads, head_dim]; k and v: [T, kv heads, head_dim]. q and k are rotated, halves with each
        other (Hugging Face's layout), and may be changed.

        `cos_sin`: float32 [max positions, head_dim]: cosines in the first half, sines in the second.
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

    def silu_and_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        """silu(gate) · up, where gate_up [T, 2·n] holds gate in its first half."""
        ...

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x · weightᵀ + bias, x [T, columns], weight [n, columns]; into `out`, if given, and then without bias."""
        ...

    def gated(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """silu(gate) · up, where x · weightᵀ [T, 2·n] holds gate in its first half."""
        ...
