"""Algorithms that are named compute what the library computes, on a part of the GPU and in a graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config import DEMO_MODEL
from engine.kernels.cublas_lt import WORKSPACE_BYTES, CublasLt, Shape
from engine.kernels.product_choices import Choice, ProductChoices
from engine.kernels.product_search import Comparison, Part, decode_parts, search
from engine.kernels.products import Products, ProductTools, on_this
from engine.model.config import ModelConfig

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
BF16 = torch.bfloat16
ALLOWED = 4 * torch.finfo(BF16).eps


@pytest.fixture(scope="module")
def part() -> Part:
    """As many SMs as decode has at 60/40 on an H200, or as near to that as there is."""
    torch.zeros(1, device=CUDA)  # makes the context, of which parts are taken
    return min(decode_parts(CUDA), key=lambda part: abs(part.sm_count - 52))


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    size = float(other.float().square().mean().sqrt())
    return torch.allclose(one.float(), other.float(), rtol=ALLOWED, atol=ALLOWED * size)


@pytest.mark.parametrize(
    "shape", [Shape(64, 6144, 4096), Shape(128, 4096, 14336), Shape(24, 1024, 512), Shape(384, 4096, 4096)]
)
def test_each_algorithm_that_is_named_computes_the_product(part: Part, shape: Shape) -> None:
    library = CublasLt(BF16)
    x, weight = (torch.randn(n, shape.columns, dtype=BF16, device=CUDA) for n in (shape.rows, shape.outputs))
    workspace = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=CUDA)
    wanted = torch.mm(x, weight.t())
    torch.cuda.synchronize()
    ways = [way for target in (0, part.sm_count) for way in library.algorithms(shape, target, 8)]
    assert ways
    with torch.cuda.stream(part.stream):
        for way in ways:
            assert library.can(shape, way)
            out = torch.full_like(wanted, torch.nan)
            library.multiply(way, x, weight, out, workspace)
            part.stream.synchronize()
            assert close(out, wanted), way


def test_the_best_is_not_slower_than_the_library_and_is_used(part: Part) -> None:
    pool = torch.randn(128 << 20, dtype=BF16, device=CUDA).mul_(0.02)
    torch.cuda.synchronize()
    choice = Comparison(pool).best(Shape(448, 28672, 4096), part)
    assert choice is not None, "on a part of an H200 the library's first choice takes nearly twice as long"
    assert choice.microseconds < choice.library_microseconds
    products = Products(ProductTools(BF16, CUDA, ProductChoices((choice,))), part.sm_count, is_deterministic=False)
    x, weight = torch.randn(448, 4096, dtype=BF16, device=CUDA), pool[: 28672 * 4096].view(28672, 4096)
    wanted = torch.mm(x, weight.t())
    torch.cuda.synchronize()
    with torch.cuda.stream(part.stream):
        graph, out = torch.cuda.CUDAGraph(), torch.empty_like(wanted)
        products.linear(x, weight, None, out)
        part.stream.synchronize()
        graph.capture_begin(capture_error_mode="thread_local")
        products.linear(x, weight, None, out)
        graph.capture_end()
        out.fill_(torch.nan)
        graph.replay()
        part.stream.synchronize()
    assert close(out, wanted)


def test_an_algorithm_of_another_library_is_left_alone(part: Part) -> None:
    nonsense = Choice(part.sm_count, 64, 4096, 4096, b"\xff" * 64, 1.0, 2.0)
    products = Products(ProductTools(BF16, CUDA, ProductChoices((nonsense,))), part.sm_count, is_deterministic=False)
    x, weight = (torch.randn(n, 4096, dtype=BF16, device=CUDA) for n in (64, 4096))
    assert close(products.linear(x, weight, None), torch.mm(x, weight.t()))


@pytest.mark.timeout(300)
def test_a_search_is_kept_and_found_again(tmp_path: Path) -> None:
    found = search(ModelConfig.load(DEMO_MODEL), BF16, CUDA)
    found.keep(tmp_path, on_this(BF16, CUDA))
    assert ProductChoices.load(tmp_path, on_this(BF16, CUDA)) == found
