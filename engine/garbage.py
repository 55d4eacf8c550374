"""Python's full garbage collections look at every object there is: 20 ms for a scheduler that knows 50,000 pages.

In the step loops they come when nothing runs. What dies young is collected as ever, which takes microseconds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

NEVER = 1 << 30
REST_SECONDS = 60.0
LONGEST_SECONDS = 600.0
"""After so long there is a full collection even if requests run: what is in cycles must not grow for ever."""


class Garbage:
    """To be made when everything that stays has been made: collections do not look at that any more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, collect: Callable[[], object] = gc.collect):
        self._clock = clock
        self._collect = collect
        collect()
        gc.freeze()
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, NEVER)
        self._collected_at = clock()

    def may_be_collected(self, is_at_rest: bool) -> None:
        """Called between two turns of a loop, `is_at_rest` if nobody would wait for a collection."""
        if self._clock() - self._collected_at >= (REST_SECONDS if is_at_rest else LONGEST_SECONDS):
            self._collect()
            self._collected_at = self._clock()
