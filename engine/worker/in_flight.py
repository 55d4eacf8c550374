"""Steps that a worker has launched and not seen, and how long each takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from engine.model.launched_step import LaunchedStep

ANSWER_SECONDS = 0.003
"""So soon after a report the scheduler's next order is there; few steps that keep a GPU busy are shorter."""
LOOK_SECONDS = 0.002
"""Between two looks whether it is there: only whole milliseconds are waited, and a little of it is over by then."""


class Launched(Protocol):
    @property
    def at(self) -> float:
        """When it was launched, by the clock of those in flight."""
        ...


L = TypeVar("L", bound=Launched)


class InFlight(deque[L]):
    """The oldest first. A step begins when the one before it is over."""

    def __init__(self, clock: Callable[[], float]):
        super().__init__()
        self._clock = clock
        self._seen_at = 0.0

    def running_seconds(self, launched: L) -> float:
        """How long it has been computed, if those before it are over."""
        return self._clock() - max(launched.at, self._seen_at)

    def oldest_is_over(self) -> float:
        """It was seen, and is in flight no more; how many seconds it took."""
        seconds = self.running_seconds(self.popleft())
        self._seen_at = self._clock()
        return seconds


class OnDevice(Launched, Protocol):
    @property
    def step(self) -> LaunchedStep: ...


S = TypeVar("S", bound=OnDevice)


def may_be_answered(in_flight: InFlight[S]) -> bool:
    """True while the device has something to do, and the scheduler may just be answering the last report."""
    if not in_flight or in_flight[-1].step.is_over:
        return False
    return in_flight.running_seconds(in_flight[-1]) < ANSWER_SECONDS
