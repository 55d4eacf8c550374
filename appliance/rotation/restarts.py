"""How often a process may be started again: what ends again and again does not get better by it. No I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

MAX_LOSSES = 3
"""Within `LOSS_WINDOW_SECONDS`, after each of which another is started. One more ends the appliance."""
LOSS_WINDOW_SECONDS = 60.0


class Restarts:
    """Of one kind of process, named by `what`."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic):
        self._what = what
        self._clock = clock
        self._began: deque[float] = deque(maxlen=MAX_LOSSES)

    def note(self) -> None:
        """One has ended, and another is being started."""
        self._began.append(self._clock())

    def refusal(self) -> str:
        """Why no other is to be started if one ends now; empty if it is."""
        since = self._clock() - LOSS_WINDOW_SECONDS
        if sum(began > since for began in self._began) < MAX_LOSSES:
            return ""
        return f"It is the {MAX_LOSSES + 1}th {self._what} that ended within {LOSS_WINDOW_SECONDS:g} s."
