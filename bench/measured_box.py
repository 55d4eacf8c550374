"""The H200 with the 8B shape as the simulator's box, made of what was measured on it (docs/measured.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from appliance.simulator.box import Box
from appliance.simulator.step_times import DecodeStep, PrefillStep, StepTimes, token_context
from appliance.slo.profile import Profile, Speeds
from engine.profile.record import MachineProfile

PROFILE = Path(__file__).parent / "results" / "profile-h200-8b.json"

PREFILL_STEPS = [
    PrefillStep(1024, token_context(0, 1024), 0.0252),
    PrefillStep(2048, token_context(0, 2048), 0.0474),
    PrefillStep(4096, token_context(0, 4096), 0.0902),
]
DECODE_STEPS = [
    DecodeStep(1, 2_200, 0.00462),
    DecodeStep(32, 22_400, 0.00585),
    DecodeStep(64, 45_056, 0.00702),
    DecodeStep(128, 89_600, 0.00859),
    DecodeStep(112, 168_000, 0.0110),
]
UNDER_LOAD = Speeds(prefill=0.90, decode=0.95)
"""Of the profile's speeds: fitted to the runs at 67/33. At less load less is lost (docs/measured.md)."""
PUNCTUAL_SINCE = "2026-11-22T23:00"
GATEWAY_SECONDS = 0.004
"""What a first token needs outside of steps: 2,048 tokens alone had it after 49.5 ms, and their step takes 47.4."""


def measured_box(under_load: Speeds = UNDER_LOAD) -> Box:
    """The appliance's own limits on that machine; without a target for the first token."""
    times = StepTimes.fitted(PREFILL_STEPS, DECODE_STEPS, overhead=GATEWAY_SECONDS)
    return Box(
        times=times,
        profile=slowed(Profile.of_machine(msgspec.json.decode(PROFILE.read_bytes(), type=MachineProfile)), under_load),
        pages=20_000,
        max_model_len=9_300,
        max_running_requests=256,
        prefill_token_budget=3072,
        launch_seconds=0.0015,
    )


def slowed(profile: Profile, factors: Speeds) -> Profile:
    speeds = {
        split: Speeds(speed.prefill * factors.prefill, speed.decode * factors.decode)
        for split, speed in profile.measured.items()
    }
    return Profile(speeds, stretches_steps=profile.stretches_steps)


def as_it_was(at: str, box: Box) -> Box:
    """For a run of that time: at first prompts were computed in their order, products were not made for a part
    (decision 18), nothing was lent, and a decode step was made up when the one before it began."""
    if at >= PUNCTUAL_SINCE:
        return box
    return replace(
        box,
        profile=slowed(box.profile, Speeds(prefill=0.97, decode=1.0)),
        prefill_token_budget=4096,
        ttft_target_ms=0.0,
        launch_seconds=0.01,
        borrowing=False,
    )
