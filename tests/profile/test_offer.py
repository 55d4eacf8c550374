"""What may be asked for, with a profile and without."""

from __future__ import annotations

import pytest

from appliance.profile.offer import GUESSED, UNTESTED_MPS, offer
from appliance.profile.store import Kept
from engine.allocation import Phase, SMAllocation, Splitter
from engine.config import Mode, ServerArgs
from tests.profile.measured import a_profile

GREEN = ServerArgs().for_device("cuda")
MPS = ServerArgs(splitter=Splitter.MPS).for_device("cuda")
FAILED = {(Phase.DECODE, 25): "down, 64 × 9 by 9 × 4 (library): 7 of 256 numbers were not written"}


def test_only_what_passed_is_on_the_ladder() -> None:
    offered = offer(GREEN, Kept(a_profile(FAILED)))
    assert offered.ladder is not None
    assert [str(split) for split in offered.ladder] == ["25/75", "50/50"]
    assert offered.profile.speeds(SMAllocation(50, 50)) == pytest.approx((0.5, 0.5))
    assert offered.profile.stretches_steps


def test_a_share_that_failed_is_refused_and_named() -> None:
    offered = offer(GREEN, Kept(a_profile(FAILED)))
    said = offered.refusal(SMAllocation(75, 25))
    assert "Decode at 25 % failed the self-test: down, 64 × 9" in said
    assert "were not written" in said
    assert "Shares that passed: 25, 50, 75, 100 for prefill, 50, 75, 100 for decode." in said
    assert any("Decode at 25 %" in notice for notice in offered.notices)
    assert offered.refusal(SMAllocation(25, 75)) == ""
    assert offered.refusal(SMAllocation(100, 25)), "beside whatever it is"


def test_green_needs_no_test_of_a_share_and_mps_does() -> None:
    kept = Kept(a_profile(FAILED))
    assert offer(GREEN, kept).refusal(SMAllocation(80, 100)) == ""
    assert "prefill at 80 % is none" in offer(MPS, kept).refusal(SMAllocation(80, 100))
    assert offer(MPS, kept).refusal(SMAllocation(50, 50)) == ""


def test_mps_without_a_profile_offers_nothing() -> None:
    assert offer(MPS, Kept()).refusal(SMAllocation(50, 50)) == UNTESTED_MPS
    assert offer(MPS, Kept(stale="It is old.")).refusal(SMAllocation(100, 90)) == UNTESTED_MPS


def test_one_worker_with_the_whole_device_needs_no_test() -> None:
    assert offer(MPS, Kept()).refusal(SMAllocation(100, 100)) == ""


def test_a_gpu_without_a_profile_says_what_is_guessed() -> None:
    offered = offer(GREEN, Kept())
    assert offered.notices == (GUESSED,)
    assert offered.ladder is not None
    assert [split.prefill_percentage for split in offered.ladder] == [20, 30, 40, 50, 60, 70, 80]
    assert offered.profile.speeds(SMAllocation(50, 50)) == pytest.approx((0.475, 0.6))
    assert offered.refusal(SMAllocation(35, 65)) == ""


def test_on_the_cpu_speed_is_share_until_it_is_measured() -> None:
    cpu = ServerArgs().for_device("cpu")
    assert offer(cpu, Kept()).notices == ()
    assert offer(cpu, Kept()).profile.speeds(SMAllocation(30, 70)) == pytest.approx((0.3, 0.7))
    assert offer(cpu, Kept(stale="It is old.")).notices == ("It is old.",)


def test_where_nothing_passed_there_is_no_ladder() -> None:
    everything = {(phase, share): "wrong" for phase in Phase for share in (25, 50, 75)}
    assert offer(GREEN, Kept(a_profile(everything))).ladder is None


def test_one_worker_has_no_split() -> None:
    colocated = ServerArgs(mode=Mode.COLOCATED).for_device("cuda")
    assert offer(colocated, Kept(a_profile(FAILED))).refusal(SMAllocation(75, 25)) == ""
