"""Products of one row, and of a few, against float64 on the same (rounded) numbers; and a chain of them at once."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from torch.nn.functional import silu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.timeout(300),  # the first use of a kernel compiles it
]

BF16 = torch.bfloat16
SHAPES = [(6144, 4096), (128, 14336), (64, 256), (768, 1536)]


@pytest.fixture(params=[True, False], ids=["early", "in turn"])
def thin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    from engine.kernels import thin_linear  # noqa: PLC0415  needs a package that a CPU box has not

    monkeypatch.setattr(thin_linear, "LAUNCH_EARLY", request.param)
    return thin_linear


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", dtype=BF16)


def poisoned(compute: Callable[[], torch.Tensor], *shape: int) -> torch.Tensor:
    """Computed into memory that held NaN: the block torch's allocator gives out next for this size."""
    torch.full(shape, torch.nan, dtype=BF16, device="cuda")
    return compute()


def assert_rounded(given: torch.Tensor, exact: torch.Tensor) -> None:
    """Rounding to bfloat16 costs up to 2⁻⁹ of a number; sums in float32 lose less than that of what was added up."""
    assert not given.isnan().any()
    torch.testing.assert_close(given.double(), exact, rtol=2**-8, atol=2**-10 * exact.std().item())


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_products(thin: ModuleType, rows: int, shape: tuple[int, int]) -> None:
    x, weight, bias = numbers(rows, shape[1]), numbers(*shape), numbers(shape[0])
    exact = x.double() @ weight.double().t()
    assert thin.fits(x, weight) == (rows == 1)
    assert_rounded(poisoned(lambda: thin.thin_linear(x, weight, None), rows, shape[0]), exact)
    assert_rounded(poisoned(lambda: thin.thin_linear(x, weight, bias), rows, shape[0]), exact + bias.double())
    gate, up = exact.to(BF16).double().chunk(2, dim=-1)
    given = poisoned(lambda: thin.thin_gated(x, weight), rows, shape[0] // 2)
    torch.testing.assert_close(given.double(), silu(gate) * up, rtol=2e-2, atol=2e-2 * up.std().item())


@pytest.mark.parametrize("shape", [(6, 256), (64, 100)])
def test_other_shapes_are_left_to_the_library(thin: ModuleType, shape: tuple[int, int]) -> None:
    assert not thin.fits(numbers(1, shape[1]), numbers(*shape))


def test_each_waits_for_what_it_reads(thin: ModuleType) -> None:
    """Each product feeds on the last one, as a graph and replayed at once: the same bits as with pauses in between."""
    weights = [numbers(4096, 4096) / 64 for _ in range(12)]
    x = numbers(1, 4096)

    def chain(pause: bool) -> torch.Tensor:
        y = x
        for weight in weights:
            y = thin.thin_linear(y, weight, None)
            if pause:
                torch.cuda.synchronize()
        return y

    wanted = chain(pause=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = chain(pause=False)
    for _ in range(20):
        captured.fill_(torch.nan)
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(captured, wanted)
