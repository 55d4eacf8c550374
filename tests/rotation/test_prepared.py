"""Which splits a group is told to prepare beside its own."""

from __future__ import annotations

import pytest

from appliance.rotation.prepared import prepared_beside
from appliance.slo.ladder import Ladder
from engine.allocation import SMAllocation

LADDER = Ladder.in_steps_of(10)


@pytest.mark.parametrize(
    ("split", "beside"),
    [
        ((50, 50), {(40, 60), (60, 40)}),
        ((90, 10), {(80, 20)}),
        ((47, 53), {(50, 50), (40, 60), (60, 40)}),
        ((80, 100), {(40, 60), (30, 70), (50, 50)}),
    ],
)
def test_the_rungs_to_either_side(split: tuple[int, int], beside: set[tuple[int, int]]) -> None:
    prepared = prepared_beside(SMAllocation(*split), LADDER)
    assert set(prepared) == {SMAllocation(*rung) for rung in beside}
    assert len(prepared) == len(beside)


def test_without_a_ladder_nothing_is_prepared() -> None:
    assert prepared_beside(SMAllocation(50, 50), None) == ()
