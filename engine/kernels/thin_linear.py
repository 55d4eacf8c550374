"""Matrix products of one row, where all the time goes into reading the weights once. Imported only on CUDA.

Libraries compute them with tiles made for many rows, and the memory rests between one product and the next. Here each
block of threads reads whole rows of the weights, and with `LAUNCH_EARLY` it begins while the kernel before it still
runs (programmatic dependent launch), and waits before it reads what that one writes. Without that, nothing is gained.
The arithmetic is done without tensor cores: for more rows, or on a smaller part of the chip, it takes longer than the
reading. Both bounds were measured on an H200.
"""

# pyright: reportInvalidTypeForm=false, reportPossiblyUnboundVariable=false
from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

triton: Any = import_module("triton")  # by name: it comes with torch for CUDA and is not there without
tl: Any = import_module("triton.language")

MOST_ROWS = 1
LEAST_SMS = 100
LAUNCH_EARLY = True

_OUTPUTS = 2
"""Rows of the weights a block reads."""
_COLUMNS = (2048, 1024, 512, 256)
"""How many numbers of each it reads at a time: the most that divide a row, and for which sums stay in registers."""
_SUMS = 4096
_WARPS = 4


def fits(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """True if `thin_linear` and `thin_gated` can compute this product, and faster than a library."""
    outputs, columns = weight.shape
    return len(x) <= MOST_ROWS and outputs % (2 * _OUTPUTS) == 0 and columns % _COLUMNS[-1] == 0


def thin_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x · weightᵀ + bias: x [1, 2 or 4, columns], weight [outputs, columns], bias [outputs]. Sums are float32."""
    return _launch(x, weight, bias, len(weight), is_gated=False)


def thin_gated(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """silu(gate) · up, where x · weightᵀ [rows, 2 · n] holds gate in its first half."""
    return _launch(x, weight, None, len(weight) // 2, is_gated=True)


def _launch(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, outputs: int, is_gated: bool
) -> torch.Tensor:
    y = x.new_empty((len(x), outputs))
    _project[(outputs // _OUTPUTS,)](
        x,
        weight,
        weight if bias is None else bias,
        y,
        outputs,
        row_count=len(x),
        row_length=weight.shape[1],
        per_block=_OUTPUTS,
        width=next(each for each in _COLUMNS if weight.shape[1] % each == 0 and each * len(x) <= _SUMS),
        has_bias=bias is not None,
        is_gated=is_gated,
        early=LAUNCH_EARLY,
        num_warps=_WARPS,
        launch_pdl=LAUNCH_EARLY,
    )
    return y


@triton.jit
def _project(
    x_at,
    weight_at,
    bias_at,
    y_at,
    outputs,
    row_count: tl.constexpr,
    row_length: tl.constexpr,
    per_block: tl.constexpr,
    width: tl.constexpr,
    has_bias: tl.constexpr,
    is_gated: tl.constexpr,
    early: tl.constexpr,
):
    rows = tl.arange(0, row_count)
    columns = tl.arange(0, width)
    mine = tl.program_id(0) * per_block + tl.arange(0, per_block)
    first_at = weight_at + mine[:, None].to(tl.int64) * row_length + columns[None, :]
    second_at = first_at + outputs.to(tl.int64) * row_length
    if early:
        tl.extra.cuda.gdc_launch_dependents()
    first = tl.load(first_at)
    if is_gated:
        second = tl.load(second_at)
    if early:
        tl.extra.cuda.gdc_wait()
    sums = tl.zeros([row_count, per_block, width], dtype=tl.float32)
    second_sums = tl.zeros([row_count, per_block, width], dtype=tl.float32)
    for start in tl.static_range(0, row_length, width):
        x = tl.load(x_at + rows[:, None] * row_length + start + columns[None, :]).to(tl.float32)[:, None, :]
        sums += x * first.to(tl.float32)[None, :, :]
        if is_gated:
            second_sums += x * second.to(tl.float32)[None, :, :]
        if start + width < row_length:  # the next are on their way while these are added up
            first = tl.load(first_at + start + width)
            if is_gated:
                second = tl.load(second_at + start + width)
    y = tl.sum(sums, axis=2)
    if has_bias:
        y += tl.load(bias_at + mine).to(tl.float32)[None, :]
    if is_gated:
        # Rounded as they are where both halves are written to memory first.
        gate = y.to(y_at.dtype.element_ty).to(tl.float32)
        up = tl.sum(second_sums, axis=2).to(y_at.dtype.element_ty).to(tl.float32)
        y = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(y_at + rows[:, None] * outputs + mine[None, :], y.to(y_at.dtype.element_ty))
