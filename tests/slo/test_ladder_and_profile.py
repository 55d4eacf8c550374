"""Which splits there are, and how fast the phases are at them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.slo.ladder import Ladder
from appliance.slo.profile import Profile, Speeds
from engine.allocation import WHOLE, Phase, SMAllocation


def test_rungs_are_complementary_and_in_order() -> None:
    ladder = Ladder.in_steps_of(25)
    assert [str(split) for split in ladder] == ["25/75", "50/50", "75/25"]
    with pytest.raises(ValueError, match="must add up to 100"):
        Ladder([SMAllocation(80, 100)])
    with pytest.raises(ValueError, match="at least one split"):
        Ladder([])


def test_neighbours_end_at_the_ends() -> None:
    ladder = Ladder.in_steps_of(25)
    assert ladder.toward(Phase.PREFILL, SMAllocation(50, 50)) == SMAllocation(75, 25)
    assert ladder.toward(Phase.DECODE, SMAllocation(50, 50)) == SMAllocation(25, 75)
    assert ladder.toward(Phase.PREFILL, SMAllocation(75, 25)) is None
    assert ladder.toward(Phase.PREFILL, SMAllocation(60, 60)) == SMAllocation(75, 25)
    assert ladder.nearest(SMAllocation(80, 100)) == SMAllocation(50, 50)


def test_duty_is_proportional_to_share() -> None:
    assert Profile.duty().speeds(SMAllocation(70, 30)) == pytest.approx((0.7, 0.3))
    assert Profile.duty().speeds(WHOLE) == (1.0, 1.0)


MEASURED = Profile(
    {SMAllocation(75, 25): Speeds(0.7, 0.5), SMAllocation(50, 50): Speeds(0.5, 0.8)}, stretches_steps=True
)


def test_a_profile_goes_straight_between_what_was_measured() -> None:
    assert MEASURED.speeds(SMAllocation(75, 25)) == Speeds(0.7, 0.5)
    assert MEASURED.speeds(SMAllocation(60, 40)) == pytest.approx((0.58, 0.68))
    assert MEASURED.speeds(SMAllocation(10, 90)) == pytest.approx((0.1, 0.96))


@given(st.integers(1, 99))
def test_more_share_is_never_slower(share: int) -> None:
    less, more = (MEASURED.speeds(SMAllocation(part, 100 - part)) for part in (share, min(99, share + 1)))
    assert less.prefill <= more.prefill
    assert less.decode >= more.decode


def test_a_profile_survives_its_file_and_a_bad_one_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(MEASURED.as_dict()))
    again = Profile.load(path)
    assert (again.measured, again.stretches_steps) == (MEASURED.measured, True)
    path.write_text('{"splits": []}')
    with pytest.raises(ValueError, match="is no profile"):
        Profile.load(path)
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        Profile({WHOLE: Speeds(1.2, 1.0)}, stretches_steps=True)
