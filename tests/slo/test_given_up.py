"""A split that was left is taken again only for a reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.slo.given_up import REMEMBERED_WINDOWS, GivenUp, Memory, fresh, give_up, may_return
from appliance.slo.offered import Load
from engine.allocation import SMAllocation

EVEN, OTHER = SMAllocation(50, 50), SMAllocation(60, 40)
LOAD = Load(1000.0, 500.0)
LEFT = give_up((), GivenUp(EVEN, 0.0, 1.0, LOAD))


def test_a_return_needs_a_worse_present_or_another_load() -> None:
    assert not may_return(LEFT, EVEN, 1.2, LOAD)
    assert may_return(LEFT, EVEN, 1.4, LOAD)
    assert may_return(LEFT, EVEN, 0.1, Load(1000.0, 800.0))
    assert may_return(LEFT, OTHER, 0.1, LOAD)


def test_what_is_long_past_is_forgotten() -> None:
    assert fresh(LEFT, 30.0 * REMEMBERED_WINDOWS - 1, 30.0) == LEFT
    assert fresh(LEFT, 30.0 * REMEMBERED_WINDOWS + 1, 30.0) == ()


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=300))
def test_going_in_circles_between_two_splits_ends(violations: list[float]) -> None:
    """However bad the windows look, each return asks for a fifth more than the one before."""
    memory: Memory = ()
    here, there, moves = EVEN, OTHER, 0
    for number, violation in enumerate(violations):
        if may_return(memory, there, violation, LOAD):
            memory = give_up(memory, GivenUp(here, float(number), violation, LOAD))
            here, there, moves = there, here, moves + 1
    assert moves <= 20
