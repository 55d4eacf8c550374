"""A box to simulate: an 8-billion-parameter shape on a large GPU, estimated from bandwidth and arithmetic."""

from __future__ import annotations

from appliance.simulator.box import Box
from appliance.simulator.step_times import StepTimes
from appliance.slo.profile import Profile, Speeds
from engine.allocation import SMAllocation

LARGE = Box(
    times=StepTimes.estimated(
        weight_bytes=16e9, kv_bytes_a_token=131_072, flop_a_token=16e9, bandwidth=3.76e12, flops=425e12
    ),
    profile=Profile({SMAllocation(73, 27): Speeds(0.68, 0.48)}, stretches_steps=True),
    pages=28_000,
    max_model_len=40_000,
    max_running_requests=256,
    prefill_token_budget=4096,
)
SMALL = Box(times=StepTimes(c0=0.002, c1=2e-4, c2=1e-8, d0=0.004, d1=5e-4, d2=1e-7, overhead=0.005), pages=2000)
