"""A phase's part of a device: how long steps take there."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.simulator.run import Pace
from appliance.simulator.step_times import StepTimes, token_context
from appliance.slo.profile import Profile
from engine.allocation import SMAllocation


@dataclass(frozen=True, slots=True)
class Part:
    """`full_step`: prompt tokens of a step that is as fast as the profile says; a shorter one mostly reads weights, of
    which a part of the SMs gets more than its share."""

    profile: Profile
    split: SMAllocation
    times: StepTimes
    full_step: int

    def prefill(self, seconds: float) -> Pace:
        """Of a step that takes so long on the whole device."""
        speed, reading = self.profile.speeds(self.split).prefill, self.profile.reading(self.split)
        fixed = self.times.c0
        full = self.times.prefill(self.full_step, token_context(0, self.full_step))
        if full == fixed:  # steps of any length are alike
            return self._at(speed)
        stretch = (full / speed - fixed / reading) / (full - fixed)
        return self._at(seconds / (fixed / reading + (seconds - fixed) * stretch))

    def decode(self, lanes: int) -> Pace:
        """Of a step of so many lanes."""
        return self._at(self.profile.speeds(self.split, lanes).decode)

    def _at(self, speed: float) -> Pace:
        return Pace.at_speed(speed, stretches_steps=self.profile.stretches_steps)
