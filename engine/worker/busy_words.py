"""Which phases compute now, in memory that all workers map: one word a phase and slot, each written by one worker."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Self

from engine.allocation import Phase
from engine.config import SLOTS

_WORDS = [(phase, slot) for slot in SLOTS for phase in Phase]
_SIZE = 8 * len(_WORDS)


class BusyWords:
    """A word is 2 · epoch + 1 while the worker of that epoch is busy. What another epoch has left there is idle.

    A word is read and written whole. Nothing orders one worker's write before its own read as the other sees it: for a
    step both may find the other idle, which is slow and not wrong.
    """

    def __init__(self, memory: mmap.mmap):
        self._words = memoryview(memory).cast("Q")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Whoever comes first makes the file; a new one says that nobody is busy."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, _SIZE)
            return cls(mmap.mmap(descriptor, _SIZE))
        finally:
            os.close(descriptor)

    def write(self, phase: Phase, slot: str, epoch: int, is_busy: bool) -> None:
        self._words[_WORDS.index((phase, slot))] = 2 * epoch + is_busy

    def is_busy(self, phase: Phase, slot: str, epoch: int) -> bool:
        return self._words[_WORDS.index((phase, slot))] == 2 * epoch + 1
