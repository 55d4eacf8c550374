"""The CPU kernels against their definitions, written out."""

from __future__ import annotations

import pytest
import torch

from engine.kernels import cpu
from engine.kernels.cpu import CpuKernels
from engine.kernels.factory import kernels_for
from engine.resident.manifest import KVSpec
from tests.kernels.attention import attended, case, tensors, written

STEPS = {
    "decode": ([0, 3, 4, 5, 17, 8], [1, 1, 1, 1, 1, 1]),
    "one lane": ([9], [1]),
    "prefill from the start": ([0, 0], [13, 8]),
    "prefill chunk": ([5, 12], [7, 4]),
    "mixed": ([6, 0, 4, 11, 2], [1, 9, 1, 5, 1]),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("page_size", [1, 4, 16])
def test_attention(step: tuple[list[int], list[int]], heads: int, kv_heads: int, page_size: int) -> None:
    starts, lengths = step
    this = case(starts, lengths, page_size)
    given = tensors(this, heads, kv_heads, head_dim=10)
    kernels, kv = CpuKernels(page_size), given.kv.clone()
    out = kernels.attend(kernels.plan(starts, lengths, this.page_tables), kv, given.q, given.k, given.v)
    torch.testing.assert_close(out, attended(this, given), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kv, written(this, given), rtol=0, atol=0, equal_nan=True)


def test_many_lanes_are_computed_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "LANE_TOKENS", 48)
    starts = [0, 60, 11, 15, 3, 100, 12, 31, 5, 16]
    this = case(starts, [1] * len(starts), page_size=4)
    given = tensors(this, 6, 2, head_dim=10)
    kernels = CpuKernels(4)
    plan = kernels.plan(this.starts, this.lengths, this.page_tables)
    tokens = [(len(group.rows), group.mask.shape[-1]) for group in plan.groups]
    assert len(tokens) > 3
    assert all(lanes == 1 or lanes * longest <= 48 for lanes, longest in tokens)
    out = kernels.attend(plan, given.kv.clone(), given.q, given.k, given.v)
    torch.testing.assert_close(out, attended(this, given), rtol=1e-5, atol=1e-5)


def test_one_plan_serves_every_layer() -> None:
    this = case([6, 0, 4], [1, 9, 1], page_size=4)
    kernels = CpuKernels(4)
    plan = kernels.plan(this.starts, this.lengths, this.page_tables)
    for seed in (1, 2):
        given = tensors(this, heads=6, kv_heads=2, head_dim=8, seed=seed)
        out = kernels.attend(plan, given.kv.clone(), given.q, given.k, given.v)
        torch.testing.assert_close(out, attended(this, given), rtol=1e-5, atol=1e-5)


def test_views_of_one_matrix_product_are_taken_as_they_are() -> None:
    this = case([6, 0], [1, 9], page_size=4)
    given = tensors(this, heads=6, kv_heads=2, head_dim=8)
    q, k, v = torch.cat((given.q, given.k, given.v), dim=1).split((6, 2, 2), dim=1)
    assert not q.is_contiguous()
    kernels = CpuKernels(4)
    out = kernels.attend(kernels.plan(this.starts, this.lengths, this.page_tables), given.kv.clone(), q, k, v)
    torch.testing.assert_close(out, attended(this, given), rtol=1e-5, atol=1e-5)


def test_rms_norm() -> None:
    x, weight = torch.randn(5, 24), torch.randn(24)
    expected = torch.stack([row / ((row**2).sum() / 24 + 1e-2) ** 0.5 * weight for row in x])
    torch.testing.assert_close(CpuKernels(4).rms_norm(x, weight, 1e-2), expected)


def test_rms_norm_of_half_precision_is_computed_in_float32() -> None:
    x, weight = torch.full((1, 512), 300.0, dtype=torch.float16), torch.ones(512, dtype=torch.float16)
    normed = CpuKernels(4).rms_norm(x, weight, 1e-6)  # 300² does not fit a float16
    assert normed.dtype is torch.float16
    torch.testing.assert_close(normed, torch.ones_like(x))


def test_add_rms_norm_gives_the_norm_and_the_sum() -> None:
    x, residual, weight = torch.randn(5, 24), torch.randn(5, 24), torch.randn(24)
    kernels = CpuKernels(4)
    normed, total = kernels.add_rms_norm(x.clone(), residual.clone(), weight, 1e-5)
    torch.testing.assert_close(total, x + residual)
    torch.testing.assert_close(normed, kernels.rms_norm(x + residual, weight, 1e-5))


def test_rotate_turns_each_pair_by_its_angle() -> None:
    """As complex numbers: x[j] + i·x[j + half] is multiplied by e^(i·angle)."""
    angles = torch.rand(20, 4, dtype=torch.float64) * 6
    cos_sin = torch.cat((angles.cos(), angles.sin()), dim=-1).float()
    positions = torch.tensor([0, 19, 7])
    q, k = torch.randn(3, 4, 8), torch.randn(3, 2, 8)
    rotated = CpuKernels(4).rotate(q.clone(), k.clone(), positions, cos_sin)
    for before, after in zip((q, k), rotated, strict=True):
        turned = torch.complex(before[..., :4].double(), before[..., 4:].double()) * torch.polar(
            torch.ones_like(angles[positions]), angles[positions]
        ).unsqueeze(1)
        torch.testing.assert_close(after, torch.cat((turned.real, turned.imag), dim=-1).float())


def test_silu_and_mul() -> None:
    gate, up = torch.randn(3, 10), torch.randn(3, 10)
    expected = gate / (1 + torch.exp(-gate)) * up
    torch.testing.assert_close(CpuKernels(4).silu_and_mul(torch.cat((gate, up), dim=-1)), expected)


def test_the_factory_gives_a_cpu_its_kernels() -> None:
    kv = KVSpec(num_layers=1, num_pages=4, page_size=4, num_kv_heads=1, head_dim=8, dtype="float32")
    assert isinstance(kernels_for("cpu", kv, 2, torch.device("cpu")), CpuKernels)
