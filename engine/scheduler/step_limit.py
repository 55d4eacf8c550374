"""How many prompt tokens a step may have, by the targets and the speed that is seen."""

from __future__ import annotations

from engine.piece_size import PieceSize
from engine.scheduler.limits import Limits

TTFT_PART = 1 / 3
"""Of the target: so long a step may take. Who arrives waits for half of one, for one ordered ahead and for its own."""
TPOT_PART = 0.8
"""Of the target, where a step is one of decode as well: between two tokens of a stream lies a step, and steps over long
contexts take longer than those that were seen before."""
LEAST_PART = 6
"""A step may have so many times fewer tokens than the most: where no step keeps the targets, small ones only cost."""


class StepLimit:
    """`prefill_token_budget` of `limits` is the most, whatever the targets; without them it is the limit.

    `is_shared`: a step of prefill is one of decode as well, and streams wait for its end.
    """

    def __init__(self, limits: Limits):
        self._most = limits.prefill_token_budget
        self._size = PieceSize(0.0, self._most, least_tokens=self._most // LEAST_PART)
        self.is_shared = False
        self.aim(limits.ttft_target_seconds, limits.tpot_target_seconds)

    def aim(self, ttft_target_seconds: float, tpot_target_seconds: float) -> None:
        """The targets from now on, 0 for none."""
        self._prefill_seconds = TTFT_PART * ttft_target_seconds
        self._decode_seconds = TPOT_PART * tpot_target_seconds

    @property
    def _seconds(self) -> float:
        """What a step may take, 0 where nothing limits it."""
        parts = [self._prefill_seconds, self._decode_seconds if self.is_shared else 0.0]
        return min(filter(None, parts), default=0.0)

    @property
    def tokens(self) -> int:
        return min(self._most, self._size.tokens) if self._seconds else self._most

    def learn(self, tokens: int, seconds: float) -> None:
        """A step of so many tokens took so long."""
        self._size.seconds = self._seconds
        if self._size.seconds and seconds > 0:
            self._size.learn(tokens, seconds)
