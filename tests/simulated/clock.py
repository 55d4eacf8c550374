"""Time that passes only from one event to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count


@dataclass(slots=True, order=True)
class Timer:
    """Something that is to happen `at` a time, in seconds since the beginning; of two at once, the older first."""

    at: float
    age: int
    act: Callable[[], None] = field(compare=False)
    is_cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.is_cancelled = True


class Clock:
    """Everything that is still to happen, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []
        self._ages = count()

    def at(self, time: float, act: Callable[[], None]) -> Timer:
        timer = Timer(max(time, self.now), next(self._ages), act)
        heappush(self._timers, timer)
        return timer

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        return self.at(self.now + seconds, act)

    def turn(self) -> bool:
        """Let the next thing happen; False if nothing is left."""
        while self._timers:
            timer = heappop(self._timers)
            if not timer.is_cancelled:
                self.now = timer.at
                timer.act()
                return True
        return False
