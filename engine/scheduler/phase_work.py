"""What a phase has computed since the scheduler's start, by whichever worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class PhaseWork:
    """`seconds`: wall time of all steps together, rests left out; `tokens`: prompt tokens computed, or tokens drawn."""

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0

    def did_step(self, seconds: float, tokens: int) -> None:
        self.steps += 1
        self.seconds += seconds
        self.tokens += tokens
