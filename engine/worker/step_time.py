"""How long a step takes at least: until shortly before its end the next one need not be launched."""

from __future__ import annotations

from collections import deque

LAUNCH_SECONDS = 0.0015
"""Before the end of a step: what the host needs to launch the next, and what a look at the clock may come late."""
REMEMBERED = 16


class StepTime:
    """The shortest of the last steps, so that the device is not kept waiting by a step that is over early."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    def learn(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def to_spare(self, running_seconds: float) -> float:
        """Seconds that may pass before the step after the one that has run for so long is launched; 0 at once."""
        return max(0.0, min(self._seconds, default=0.0) - LAUNCH_SECONDS - running_seconds)
