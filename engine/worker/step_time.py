"""How long the device computes a step at least: until shortly before its end the next one need not be launched."""

from __future__ import annotations

from collections import deque

LAUNCH_SECONDS = 0.0015
"""Before the end of a step: what the host needs to launch the next, if it was not seen to need more."""
LATE_SECONDS = 0.0005
"""What a look at the clock may come late."""
REMEMBERED = 16


class StepTime:
    """The shortest of the last steps and the longest of the last launches, so that the device is not kept waiting.

    A step in the phase's own part says nothing of one with the whole device, which may be three times as fast: by the
    shorter of both, the step after a long one would be launched, and its part chosen, long before it begins.

    Steps count by the device's own clock: until when the host has waited says nothing of when they ended. By the
    host's, one launch that came late would make the next wait as long, and a load that had been slow would stay so.
    """

    def __init__(self) -> None:
        self._steps = {borrowed: deque[float](maxlen=REMEMBERED) for borrowed in (False, True)}
        self._launches: deque[float] = deque(maxlen=REMEMBERED)

    def launched(self, host_seconds: float) -> None:
        self._launches.append(host_seconds)

    def computed(self, device_seconds: float, borrowed: bool) -> None:
        self._steps[borrowed].append(device_seconds)

    def to_spare(self, running_seconds: float, borrowed: bool) -> float:
        """Seconds that may pass before the step after the one that has run for so long is launched; 0 at once."""
        lead = max(LAUNCH_SECONDS, max(self._launches, default=0.0) + LATE_SECONDS)
        return max(0.0, min(self._steps[borrowed], default=0.0) - lead - running_seconds)
