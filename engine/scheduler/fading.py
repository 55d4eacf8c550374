"""A pace that is seen again and again: what was done, and how long it took, of which the latest counts most."""

from __future__ import annotations


class Fading:
    """Two sums. `memory`: what the weight of everything before becomes when more is seen, below 1."""

    def __init__(self, memory: float):
        self._memory = memory
        self.amount = self.seconds = 0.0

    def saw(self, amount: float, seconds: float) -> None:
        self.amount = self._memory * self.amount + amount
        self.seconds = self._memory * self.seconds + seconds
