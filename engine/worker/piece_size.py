"""How many prompt tokens prefill computes at once with the whole device, so that decode waits only briefly."""

from __future__ import annotations

from math import ceil

BORROW_SECONDS = 0.025
"""What a step of prefill over the whole device may take."""
FIRST_TOKENS = 1024
LEAST_TOKENS = 32
MOST_GROWTH = 2.0
SLACK = 1.15


class PieceSize:
    """Follows the speed that is seen, which only a full piece shows: a short one's time is mostly not the tokens'."""

    def __init__(self, tokens: int = FIRST_TOKENS):
        self.tokens = tokens

    def of(self, tokens: int) -> int:
        """The size of the next piece of so many tokens: equal pieces, each a little too large rather than one more."""
        pieces = max(1, ceil(tokens / (SLACK * self.tokens)))
        return ceil(tokens / pieces)

    def learn(self, tokens: int, seconds: float) -> None:
        """A piece of so many tokens took so long. What took too long counts whatever its size."""
        if tokens >= self.tokens or seconds > BORROW_SECONDS:
            wanted = min(tokens * BORROW_SECONDS / seconds, MOST_GROWTH * self.tokens)
            self.tokens = max(LEAST_TOKENS, int(wanted))
