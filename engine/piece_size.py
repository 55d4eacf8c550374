"""How many prompt tokens are computed at once, so that whoever comes next waits only so long."""

from __future__ import annotations

from math import ceil
from typing import Self

BORROW_SECONDS = 0.025
"""What a step of prefill over the whole device may take."""
FIRST_TOKENS = 1024
LEAST_TOKENS = 32
MOST_GROWTH = 2.0
SLACK = 1.15


class PieceSize:
    """Follows the speed that is seen. A short piece shows too little of it: its time is mostly not the tokens'.

    `seconds`: what a piece may take. `tokens`: the size to begin with.
    """

    def __init__(self, seconds: float, tokens: int, least_tokens: int = LEAST_TOKENS):
        self.seconds = seconds
        self.tokens = tokens
        self._least_tokens = max(1, least_tokens)

    @classmethod
    def borrowed(cls) -> Self:
        """With the whole device, so that decode waits only briefly."""
        return cls(BORROW_SECONDS, FIRST_TOKENS)

    def of(self, tokens: int) -> int:
        """The size of the next piece of so many tokens: equal pieces, each a little too large rather than one more."""
        pieces = max(1, ceil(tokens / (SLACK * self.tokens)))
        return ceil(tokens / pieces)

    def learn(self, tokens: int, seconds: float) -> None:
        """A piece of so many tokens took so long. What took too long, or shows more speed, counts whatever its size."""
        wanted = int(min(tokens * self.seconds / seconds, MOST_GROWTH * self.tokens))
        if tokens >= self.tokens or seconds > self.seconds or wanted > self.tokens:
            self.tokens = max(self._least_tokens, wanted)
