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

    def did(self, seconds: float, tokens: int, borrowed_seconds: float = 0.0, steps: int = 1) -> None:
        self.steps += steps
        self.seconds += seconds
        self.tokens += tokens
        self.borrowed_seconds += borrowed_seconds
