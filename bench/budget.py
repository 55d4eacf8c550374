"""How much of the machine's time may still be used."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.errors import SemiPDError

STOPPED = 75
"""Exit code (sysexits' EX_TEMPFAIL) of a command that has more to measure than its budget let it."""


class OutOfBudget(SemiPDError):
    """The next run would not end in time."""


class Budget:
    """`minutes` None: as long as it takes."""

    def __init__(self, minutes: float | None, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._end = None if minutes is None else clock() + minutes * 60

    def require(self, seconds: float, purpose: str) -> None:
        """Raises `OutOfBudget` where `seconds` are more than is left."""
        if self._end is not None and self._clock() + seconds > self._end:
            raise OutOfBudget(
                f"The budget is used up before {purpose}: give the same command again with --resume to go on there."
            )
