"""Boxes to simulate: the bench's, an 8-billion-parameter shape on a large GPU, and a small one."""

from __future__ import annotations

from appliance.simulator.box import Box
from appliance.simulator.step_times import StepTimes
from bench.slo_simulate import LARGE

__all__ = ["LARGE", "SMALL"]

SMALL = Box(times=StepTimes(c0=0.002, c1=2e-4, c2=1e-8, d0=0.004, d1=5e-4, d2=1e-7, overhead=0.005), pages=2000)
