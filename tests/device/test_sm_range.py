"""Rounding of shares: whatever the chip, complementary parts do not overlap and leave nothing over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.allocation import Phase, SMAllocation
from engine.device.sm_range import SmGrid
from engine.errors import CannotStart

H200 = SmGrid(total=132, minimum=8, step=8)


@st.composite
def grids(draw: st.DrawFn) -> SmGrid:
    step = draw(st.sampled_from([1, 2, 4, 8]))
    minimum = step * draw(st.integers(1, 3))
    return SmGrid(draw(st.integers(2 * minimum, 300)), minimum, step)


@given(grids(), st.integers(1, 99))
def test_complementary_parts_are_disjoint_and_complete(grid: SmGrid, share: int) -> None:
    allocation = SMAllocation(share, 100 - share)
    prefill = grid.part(Phase.PREFILL, allocation)
    decode = grid.part(Phase.DECODE, allocation)
    assert [*prefill, *decode] == list(range(grid.total))
    assert len(prefill) >= grid.minimum
    assert len(decode) >= grid.minimum
    assert (len(prefill) - grid.minimum) % grid.step == 0


@given(grids(), st.integers(1, 98))
def test_a_larger_share_is_never_a_smaller_part(grid: SmGrid, share: int) -> None:
    assert grid.boundary(share) <= grid.boundary(share + 1)


@given(grids(), st.integers(1, 99))
def test_the_boundary_is_as_near_as_the_hardware_allows(grid: SmGrid, share: int) -> None:
    asked = share * grid.total / 100
    within = grid.minimum <= asked <= grid.total - grid.minimum - grid.step
    if within:
        assert abs(grid.boundary(share) - asked) <= grid.step / 2


@pytest.mark.parametrize(
    ("allocation", "prefill", "decode"),
    [
        (SMAllocation(50, 50), range(64), range(64, 132)),
        (SMAllocation(80, 20), range(104), range(104, 132)),
        (SMAllocation(1, 99), range(8), range(8, 132)),
        (SMAllocation(99, 1), range(120), range(120, 132)),
        (SMAllocation(80, 100), range(104), range(132)),
        (SMAllocation(100, 100), range(132), range(132)),
        (SMAllocation(70, 60), range(96), range(56, 132)),
    ],
)
def test_the_parts_of_an_h200(allocation: SMAllocation, prefill: range, decode: range) -> None:
    assert H200.part(Phase.PREFILL, allocation) == prefill
    assert H200.part(Phase.DECODE, allocation) == decode


def test_of_two_equally_near_boundaries_decode_gets_the_larger_part() -> None:
    assert SmGrid(total=40, minimum=8, step=8).boundary(50) == 16


def test_a_chip_too_small_to_divide_is_refused() -> None:
    with pytest.raises(CannotStart, match="14 SMs"):
        SmGrid(total=14, minimum=8, step=8).part(Phase.PREFILL, SMAllocation(50, 50))
