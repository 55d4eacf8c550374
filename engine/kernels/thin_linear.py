"""Matrix products of a few rows, where all the time goes into reading the weights once. Imported only on CUDA.

Libraries compute them with tiles made for many rows and leave a tenth of the memory's bandwidth unused; here each block
of threads reads whole rows of the weights. With `LAUNCH_EARLY` a block begins to read them while the kernel before
it still runs (programmatic dependent launch), and waits before it reads what that one writes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

triton: Any = import_module("triton")  # by name: it comes with torch for CUDA and is not there without
tl: Any = import_module("triton.language")

MOST_ROWS = 4
LAUNCH_EARLY = True

_OUTPUTS = 2
"""Rows of the weights a block reads."""
_COLUMNS = (2048, 1024, 512, 256)
"""How many numbers of each it reads at a time: the first that divides a row."""
_WARPS = 4


def fits(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """True if `thin_linear` and `thin_gated` can compute this product, and should."""
    outputs, columns = weight.shape
    return len(x) in (1, 2, MOST_ROWS) and outputs % (2 * _OUTPUTS) == 0 and columns % _COLUMNS[-1] == 0


def thin_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x · weightᵀ + bias: x [rows, columns], weight [outputs, columns], bias [outputs]. Sums are float32."""
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
        ROWS=len(x),
        ROW_LENGTH=weight.shape[1],
        OUTPUTS=_OUTPUTS,
        COLUMNS=next(columns for columns in _COLUMNS if weight.shape[1] % columns == 0),
        HAS_BIAS=bias is not None,
        IS_GATED=is_gated,
        EARLY=LAUNCH_EARLY,
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
    ROWS: tl.constexpr,
    ROW_LENGTH: tl.constexpr,
    OUTPUTS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    IS_GATED: tl.constexpr,
    EARLY: tl.constexpr,
):
    rows = tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    mine = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    first_at = weight_at + mine[:, None].to(tl.int64) * ROW_LENGTH + columns[None, :]
    second_at = first_at + outputs.to(tl.int64) * ROW_LENGTH
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
    first = tl.load(first_at)
    if IS_GATED:
        second = tl.load(second_at)
    if EARLY:
        tl.extra.cuda.gdc_wait()
    sums = tl.zeros([ROWS, OUTPUTS, COLUMNS], dtype=tl.float32)
    second_sums = tl.zeros([ROWS, OUTPUTS, COLUMNS], dtype=tl.float32)
    for start in tl.static_range(0, ROW_LENGTH, COLUMNS):
        x = tl.load(x_at + rows[:, None] * ROW_LENGTH + start + columns[None, :]).to(tl.float32)[:, None, :]
        sums += x * first.to(tl.float32)[None, :, :]
        if IS_GATED:
            second_sums += x * second.to(tl.float32)[None, :, :]
        if start + COLUMNS < ROW_LENGTH:
            first = tl.load(first_at + start + COLUMNS)
            if IS_GATED:
                second = tl.load(second_at + start + COLUMNS)
    y = tl.sum(sums, axis=2)
    if HAS_BIAS:
        y += tl.load(bias_at + mine).to(tl.float32)[None, :]
    if IS_GATED:
        # Rounded as they are where both halves are written to memory first.
        gate = y.to(y_at.dtype.element_ty).to(tl.float32)
        up = tl.sum(second_sums, axis=2).to(y_at.dtype.element_ty).to(tl.float32)
        y = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(y_at + rows[:, None] * outputs + mine[None, :], y.to(y_at.dtype.element_ty))
