"""How long a step takes in a part of the device."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.simulator.part import Part
from appliance.simulator.run import Pace
from appliance.simulator.step_times import StepTimes, token_context
from appliance.slo.profile import Profile, Speeds
from engine.allocation import SMAllocation

TIMES = StepTimes(c0=0.005, c1=2e-5, c2=1e-9, d0=0.005, d1=1e-5, d2=3e-8)
SPLIT, OTHER = SMAllocation(30, 70), SMAllocation(70, 30)
MEASURED = {SPLIT: Speeds(0.25, 0.8), OTHER: Speeds(0.65, 0.5)}


def part(profile: Profile) -> Part:
    return Part(profile, SPLIT, TIMES, full_step=2048)


def stretched(prefill: float) -> float:
    return part(Profile(MEASURED, stretches_steps=True)).prefill(prefill).report


def test_a_full_step_of_prefill_is_as_fast_as_was_measured() -> None:
    full = TIMES.prefill(2048, token_context(0, 2048))
    assert stretched(full) == pytest.approx(1 / 0.25)


def test_a_short_prompt_mostly_reads_weights_and_a_long_one_computes() -> None:
    """30 % of the device read at half its speed, as decode does there, and compute at a quarter."""
    assert stretched(TIMES.c0) == pytest.approx(1 / 0.5)
    assert stretched(0.01) < stretched(0.1) < stretched(1.0) < 1 / 0.2


def test_steps_that_are_all_alike_are_as_fast_as_was_measured() -> None:
    alike = Part(Profile(MEASURED, stretches_steps=True), SPLIT, replace(TIMES, c1=0.0, c2=0.0), full_step=2048)
    assert alike.prefill(0.005).report == pytest.approx(1 / 0.25)


def test_where_steps_keep_their_length_a_share_is_a_share() -> None:
    duty = part(Profile.duty())
    assert duty.prefill(0.005) == Pace(1.0, 1 / 0.3)
    assert duty.prefill(0.5).period == pytest.approx(1 / 0.3)
    assert duty.decode(3).period == pytest.approx(1 / 0.7)


def test_a_part_never_reads_more_slowly_than_it_computes() -> None:
    odd = Profile({SPLIT: Speeds(0.6, 0.4)}, stretches_steps=True)
    assert odd.reading(SPLIT) == 0.6
