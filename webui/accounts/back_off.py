"""How long who gave wrong passwords must wait. By browser or address, not by account: nobody locks the owner out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

FREE_TRIES = 5
LONGEST_SECONDS = 60.0
FORGOTTEN_AFTER_SECONDS = 3600.0
MOST_KEPT = 10_000


class Failures(NamedTuple):
    """How many in a row, and when the latest was."""

    tries: int
    at: float

    @property
    def until(self) -> float:
        """The sixth try waits 1 s, the next 2, then 4 … 60."""
        excess = self.tries - FREE_TRIES
        return self.at + min(LONGEST_SECONDS, 2.0**excess) if excess >= 0 else self.at


class BackOff:
    """Thread-safe. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._failures: OrderedDict[str, Failures] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, who: str) -> float:
        """0.0 for who may try now."""
        with self._lock:
            failures = self._failures.get(who)
            return max(0.0, failures.until - self._clock()) if failures else 0.0

    def failed(self, who: str) -> None:
        now = self._clock()
        with self._lock:
            before = self._failures.pop(who, Failures(0, now))
            lately = before.tries if now - before.at < FORGOTTEN_AFTER_SECONDS else 0
            self._failures[who] = Failures(lately + 1, now)
            if len(self._failures) > MOST_KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, who: str) -> None:
        with self._lock:
            self._failures.pop(who, None)
