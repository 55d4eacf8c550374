"""What a phase has computed since the scheduler's start, by whichever worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class PhaseWork:
    """`seconds`: wall time of all steps together."""

    steps: int = 0
    seconds: float = 0.0

    def did_step(self, seconds: float) -> None:
        self.steps += 1
        self.seconds += seconds
