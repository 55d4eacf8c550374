"""Equal steps one after the other: when each is reported, when the next can begin."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """From a step's seconds on the whole chip: `report` times that long it takes to be reported, `period` until the
    next may begin. A worker that rests reports before it does."""

    report: float = 1.0
    period: float = 1.0

    @classmethod
    def at_speed(cls, speed: float, *, stretches_steps: bool) -> Pace:
        return cls(1 / speed if stretches_steps else 1.0, 1 / speed)


@dataclass(slots=True)
class Run:
    """`steps` steps from `began` on. Step k (from 0) takes `first` + k · `growth` seconds on the whole chip: contexts
    grow by one token a step. `reported` steps are known to the scheduler."""

    began: float
    first: float
    growth: float
    steps: int
    pace: Pace
    reported: int = 0

    def seconds_of(self, steps: int) -> float:
        """Of the first `steps` steps, on the whole chip."""
        return steps * self.first + self.growth * steps * (steps - 1) / 2

    def step_seconds(self, step: int) -> float:
        return self.first + self.growth * step

    def report_at(self, step: int) -> float:
        """When step `step` (from 0) is reported."""
        return self.begins_at(step) + self.pace.report * self.step_seconds(step)

    def begins_at(self, step: int) -> float:
        """When step `step` (from 0) begins."""
        return self.began + self.pace.period * self.seconds_of(step)

    @property
    def ends_at(self) -> float:
        """When the step after the last may begin."""
        return self.begins_at(self.steps)

    @property
    def is_unreported(self) -> bool:
        return self.reported < self.steps

    def steps_by(self, now: float) -> int:
        """Steps that are reported at `now`."""
        if now < self.report_at(0):
            return 0
        guess = min(self.steps, self._guess(now))
        while guess < self.steps and self.report_at(guess) <= now:
            guess += 1
        while guess and self.report_at(guess - 1) > now:
            guess -= 1
        return guess

    def _guess(self, now: float) -> int:
        """Solves period · (n · first + growth · n² / 2) = now − began."""
        elapsed = (now - self.began) / self.pace.period
        if self.growth <= 0:
            return int(elapsed / self.first)
        root = math.sqrt(self.first**2 + 2 * self.growth * elapsed)
        return int((root - self.first) / self.growth)
