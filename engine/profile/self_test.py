"""Matrix products in a part of the device against a reference in float32, in memory that held NaN before.

Under some shares of MPS, matrix libraries compute wrong numbers or leave some unwritten, and report no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import silu

from engine.kernels.kernels import Kernels
from engine.profile.products import Product

ROUNDINGS = 4
"""Parts of a sum may be rounded to the element type before they are added up: so many roundings are allowed, of the
number itself and of the size that numbers have on the whole. What is wrong differs by about that size."""
FLOAT32_ERROR = 1e-4
"""What sums in another order may differ by, in float32."""
REPEATS = 2
_OUTPUTS_AT_ONCE = 1 << 14

Expected = list[tuple[Product, torch.Tensor, torch.Tensor]]
"""A product, its x, and what it must be in float32."""


def reference_size(products: Sequence[Product], weights: Mapping[str, torch.Tensor]) -> int:
    """Bytes of all expected results."""
    return sum(product.rows * len(weights[product.weight]) for product in products) * torch.float32.itemsize


def expected(
    products: Sequence[Product], weights: Mapping[str, torch.Tensor], reference: torch.Tensor, is_computed: bool
) -> Expected:
    """What each product must be, as views of `reference` (uint8, `reference_size` bytes).

    It is computed here, on torch's current stream, unless another process has done so. x is the same in every process.
    """
    numbers = reference.view(torch.float32)
    source = _source(products, weights)
    found: Expected = []
    for product in products:
        outputs, columns = weights[product.weight].shape
        part, numbers = numbers[: product.rows * outputs], numbers[product.rows * outputs :]
        x, result = source[: product.rows, :columns].contiguous(), part.view(product.rows, outputs)
        if not is_computed:
            _compute(product, weights, x, result)
        found.append((product, x, result))
    return found


def _source(products: Sequence[Product], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Random numbers from which every x is cut, drawn on the host: a part of a GPU need not draw as the whole."""
    rows = max(product.rows for product in products)
    columns = max(weights[product.weight].shape[1] for product in products)
    weight = weights[products[0].weight]
    drawn = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return drawn.to(weight.device, weight.dtype)


def _compute(product: Product, weights: Mapping[str, torch.Tensor], x: torch.Tensor, out: torch.Tensor) -> None:
    """A slice of the weight at a time: in float32 a whole one may be gigabytes."""
    wide, weight = x.float(), weights[product.weight]
    for first in range(0, len(weight), _OUTPUTS_AT_ONCE):
        part = slice(first, first + _OUTPUTS_AT_ONCE)
        out[:, part] = wide @ weight[part].float().t()
    if product.bias:
        out += weights[product.bias].float()


@torch.inference_mode()
def problem_of(expected: Expected, weights: Mapping[str, torch.Tensor], kernels: Kernels) -> str:
    """A clause on the first product that is wrong on torch's current stream; empty if none is."""
    for product, x, wanted in expected:
        bias = weights[product.bias] if product.bias else None
        for _ in range(REPEATS):
            if wrong := _wrong(x, weights[product.weight], bias, wanted, kernels, product.is_gated):
                rows, columns = x.shape
                return f"{product.name}, {rows} × {columns} by {columns} × {wanted.shape[1]}, {wrong}"
    return ""


def _wrong(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    wanted: torch.Tensor,
    kernels: Kernels,
    is_gated: bool,
) -> str:
    """By the matrix library into memory that held NaN, and as the model has it done."""
    out = x.new_full(wanted.shape, torch.nan)
    got = torch.mm(x, weight.t(), out=out) if bias is None else torch.addmm(bias, x, weight.t(), out=out)
    if difference := _difference(got, wanted):
        return f"by the matrix library: {difference}"
    x.new_full(wanted.shape, torch.nan)  # freed at once, and likely to be what the next result is written to
    if difference := _difference(kernels.linear(x, weight, bias), wanted):
        return f"by the model's kernel: {difference}"
    if is_gated:
        gate, up = wanted.chunk(2, dim=-1)
        if difference := _difference(kernels.gated(x, weight), silu(gate).mul_(up)):
            return f"with its gate: {difference}"
    return ""


def _difference(got: torch.Tensor, wanted: torch.Tensor) -> str:
    """What is wrong in words; empty if nothing is."""
    unwritten = int(got.isnan().sum())
    if unwritten:
        return f"{unwritten:,} of {got.numel():,} numbers were not written"
    allowed = ROUNDINGS * torch.finfo(got.dtype).eps + FLOAT32_ERROR
    size = wanted.norm() / wanted.numel() ** 0.5
    distance = got.float().sub_(wanted).abs_()
    count = int((distance > wanted.abs().add_(size).mul_(allowed)).sum())
    if not count:
        return ""
    worst = float(distance.max() / size)
    return f"{count:,} of {got.numel():,} numbers are wrong, by up to {worst:.2g} times their usual size"
