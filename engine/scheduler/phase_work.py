"""What a phase has computed since the scheduler's start, by whichever worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class PhaseWork:
    """`seconds`: wall time of all steps together, rests left out; for `borrowed_seconds` of it the phase had the whole
    device. `tokens`: prompt tokens computed, or tokens drawn."""

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    borrowed_seconds: float = 0.0

    def did_step(self, seconds: float, tokens: int, borrowed_seconds: float = 0.0) -> None:
        self.steps += 1
        self.seconds += seconds
        self.tokens += tokens
        self.borrowed_seconds += borrowed_seconds
