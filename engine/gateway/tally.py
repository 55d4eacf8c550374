"""Numbers that only grow, counted by each gateway worker and read by all of them. Knows nothing of what they mean."""

from __future__ import annotations

import mmap
import os
from array import array
from pathlib import Path
from typing import Self

_ITEM_BYTES = 8


class Tally:
    """A worker's own array of doubles in a file named by its process; what a worker that ended has counted stays."""

    def __init__(self, memory: mmap.mmap):
        self.values = memoryview(memory).cast("d")

    @classmethod
    def open(cls, directory: Path, size: int) -> Self:
        """This process's array, all zeros if it has none yet."""
        directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(directory / str(os.getpid()), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, size * _ITEM_BYTES)
            return cls(mmap.mmap(descriptor, size * _ITEM_BYTES))
        finally:
            os.close(descriptor)


def totals(directory: Path, size: int) -> list[float]:
    """The sums over all workers, also those that have ended."""
    sums = [0.0] * size
    for path in directory.iterdir() if directory.is_dir() else ():
        values = array("d", path.read_bytes())
        if len(values) == size:  # else it is being made
            sums = [total + value for total, value in zip(sums, values, strict=True)]
    return sums


def forget_former(directory: Path) -> None:
    """Forget what workers counted that have ended; in an upgrade those of another gateway are still at work."""
    for path in directory.iterdir() if directory.is_dir() else ():
        if not Path("/proc", path.name).exists():
            path.unlink(missing_ok=True)
