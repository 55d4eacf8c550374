"""How long who comes now will wait: as many as wait already, times what passes between two that begin (Little's law).

It does not matter what they wait for: prefill, KV pages or a place among those that run.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.scheduler.fading import Fading

MEMORY = 0.97
"""What a beginning's weight becomes with the next one."""


class QueuePace:
    """`clock` in seconds. Only beginnings behind which others go on waiting count: they tell how fast a queue moves."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._since = clock()
        self._begun = Fading(MEMORY)

    def comes(self, waiting: int) -> None:
        """One more waits, behind so many."""
        if not waiting:
            self._since = self._clock()

    def begins(self, waiting: int) -> None:
        """One waits no more; so many still do."""
        now = self._clock()
        if waiting:
            self._begun.saw(1, now - self._since)
        self._since = now

    def wait_seconds(self, waiting: int) -> float:
        """Of the next one behind `waiting`; 0 while nobody had to wait yet."""
        return waiting * self._begun.seconds / self._begun.amount if self._begun.amount else 0.0
