"""How far a long load has come, said at most once a second and not at all when it is short."""

from __future__ import annotations

import time
from collections.abc import Callable

_INTERVAL_SECONDS = 1.0


class Progress:
    """Called with the bytes done and the bytes in all; calls `say` with the percentage."""

    def __init__(self, say: Callable[[int], None], clock: Callable[[], float] = time.monotonic):
        self._say = say
        self._clock = clock
        self._said_at = clock()

    def __call__(self, done: int, total: int) -> None:
        if self._clock() - self._said_at >= _INTERVAL_SECONDS:
            self._said_at = self._clock()
            self._say(100 * done // total)
