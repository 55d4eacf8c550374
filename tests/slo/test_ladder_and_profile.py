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
from tests.profile.measured import a_crowded_profile, a_profile


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


@given(st.integers(1, 99), st.floats(1, 600))
def test_a_crowded_decode_is_as_fast_as_its_times_say(share: int, lanes: float) -> None:
    """Between 64 and 256 lanes, and beyond, steps grow in a straight line here and on the whole chip."""
    profile, split = Profile.of_machine(a_crowded_profile()), SMAllocation(100 - share, share)
    few, many, here = (profile.speeds(split, count).decode for count in (64, 256, lanes))
    beyond = max(0.0, (lanes - 64) / 192)
    whole, part = 6.4 + 6.4 * beyond, 6.4 / few + (12.8 / many - 6.4 / few) * beyond
    assert here == pytest.approx(whole / part)
    assert min(few, many) - 1e-9 <= here <= max(few, many) + 1e-9 or lanes > 256
    assert profile.speeds(split).decode == pytest.approx(few) == profile.speeds(split, 1).decode


def test_what_was_measured_with_many_lanes_is_kept() -> None:
    profile = Profile.of_machine(a_crowded_profile())
    assert [profile.speeds(SMAllocation(100 - part, part), 256).decode for part in (25, 50, 75)] == pytest.approx(
        [0.25, 0.5, 0.75]
    )
    assert Profile.of_machine(a_profile()).crowding is None


def test_a_profile_survives_its_file_and_a_bad_one_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(MEASURED.as_dict()))
    again = Profile.load(path)
    assert (again.measured, again.stretches_steps, again.crowding) == (MEASURED.measured, True, None)
    crowded = Profile.of_machine(a_crowded_profile())
    path.write_text(json.dumps(crowded.as_dict()))
    assert (Profile.load(path).crowding, Profile.load(path).crowded) == (crowded.crowding, crowded.crowded)
    path.write_text('{"splits": []}')
    with pytest.raises(ValueError, match="is no profile"):
        Profile.load(path)
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        Profile({WHOLE: Speeds(1.2, 1.0)}, stretches_steps=True)
