"""The H200 with the 8B shape as the simulator's box, made of what was measured on it (docs/measured.md)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from appliance.simulator.box import Box
from appliance.simulator.step_times import DecodeStep, PrefillStep, StepTimes, token_context
from appliance.slo.profile import Profile, Speeds
from engine.profile.record import MachineProfile

PROFILE = Path(__file__).parent / "results" / "profile-h200-8b.json"

PREFILL_STEPS = [
    PrefillStep(1024, token_context(0, 1024), 0.0243),
    PrefillStep(2048, token_context(0, 2048), 0.0457),
    PrefillStep(4096, token_context(0, 4096), 0.0870),
]
"""Of 2026-11-22, less 3.6 %: by so much prompts are faster in the profile since."""
ATTENTION_SECONDS = 4 * 4096 * 32 / 425e12
"""Of one token to one before it, in all layers: operations over the rate of FA3 there. Too little of such short prompts
to be seen in their steps; of a prompt of 16,384 it is more than a third."""
DECODE_STEPS = [
    DecodeStep(1, 2_200, 0.00435),
    DecodeStep(32, 22_400, 0.00584),
    DecodeStep(64, 45_056, 0.00642),
    DecodeStep(128, 89_600, 0.00839),
    DecodeStep(256, 180_224, 0.01405),
    DecodeStep(112, 168_000, 0.0105),
]
"""As served on 2026-11-30 where nothing was prefilled; the third and the fifth are the profile's of 2026-12-01, and the
last is that of 2026-11-22 less what attention gained since (docs/measured.md, "Decode attention")."""
KNEE = 128
"""Lanes up to which products mostly read: beyond, a lane with its 704 tokens takes 44 µs more, and 31 µs before."""
UNDER_LOAD = Speeds(prefill=0.92, decode=1.0)
"""Of the profile's speeds: fitted to the runs of azure-conv (docs/measured.md)."""
SINCE = "2026-11-30T23:40"
"""Runs before are of another engine."""
GATEWAY_SECONDS = 0.004
"""What a first token needs outside of steps: 2,048 tokens alone had it after 47.6 to 49.7 ms; their step takes 45.7."""


def measured_box(under_load: Speeds = UNDER_LOAD) -> Box:
    """The appliance's own limits on that machine; without a target for the first token."""
    times = StepTimes.fitted(PREFILL_STEPS, DECODE_STEPS, GATEWAY_SECONDS, KNEE, ATTENTION_SECONDS)
    return Box(
        times=times,
        profile=slowed(Profile.of_machine(msgspec.json.decode(PROFILE.read_bytes(), type=MachineProfile)), under_load),
        pages=52_365,
        max_model_len=33_800,
        max_running_requests=512,
        prefill_token_budget=3072,
        launch_seconds=0.0015,
    )


def slowed(profile: Profile, factors: Speeds) -> Profile:
    speeds = {
        split: Speeds(speed.prefill * factors.prefill, speed.decode * factors.decode)
        for split, speed in profile.measured.items()
    }
    crowded = {split: speed * factors.decode for split, speed in profile.crowded.items()}
    return Profile(speeds, stretches_steps=profile.stretches_steps, crowding=profile.crowding, crowded=crowded)
