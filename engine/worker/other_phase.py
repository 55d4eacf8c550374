"""What the two workers of a group know of each other: whether the other computes, and nothing more."""

from __future__ import annotations

from engine.allocation import Phase
from engine.worker.busy_words import BusyWords


class OtherPhase:
    """The other phase of the group of `epoch`, seen from the worker of `phase`."""

    def __init__(self, words: BusyWords, phase: Phase, slot: str, epoch: int):
        (self._other,) = set(Phase) - {phase}
        self._words = words
        self._phase = phase
        self._slot = slot
        self._epoch = epoch

    def tell(self, is_busy: bool) -> None:
        """To be told before `is_idle` is asked: of two that begin at once, at least one then sees the other."""
        self._words.write(self._phase, self._slot, self._epoch, is_busy)

    @property
    def is_idle(self) -> bool:
        return not self._words.is_busy(self._other, self._slot, self._epoch)
