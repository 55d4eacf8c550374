"""The split: which share of the SMs each phase may use. Plain values, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The two computations of a request."""

    PREFILL = "prefill"
    DECODE = "decode"


class Splitter(StrEnum):
    """How a split is enforced."""

    GREEN = "green"
    MPS = "mps"
    DUTY = "duty"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SMAllocation:
    """Shares of the SMs, in percent, that prefill and decode ask for.

    Complementary pairs (x + y = 100) are disjoint; with x + y > 100 the two overlap. At 100/100 nothing is divided, and
    one worker computes both. Raises `ValueError`, with one sentence, for a share that is no whole percentage from 1 to
    100.
    """

    prefill_percentage: int
    decode_percentage: int

    def __post_init__(self) -> None:
        for phase, share in (("prefill", self.prefill_percentage), ("decode", self.decode_percentage)):
            if isinstance(share, bool) or not isinstance(share, int) or not 1 <= share <= 100:
                raise ValueError(f"The {phase} share must be a whole percentage from 1 to 100, not {share!r}.")

    def share(self, phase: Phase) -> int:
        """The share of one phase, in percent."""
        return self.prefill_percentage if phase is Phase.PREFILL else self.decode_percentage

    @property
    def is_complementary(self) -> bool:
        """True where the two parts do not overlap and nothing is left over."""
        return self.prefill_percentage + self.decode_percentage == 100

    @property
    def is_together(self) -> bool:
        """True where one worker has all of the SMs for both phases."""
        return self == WHOLE

    def __str__(self) -> str:
        return f"{self.prefill_percentage}/{self.decode_percentage}"


WHOLE = SMAllocation(100, 100)
