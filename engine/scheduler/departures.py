"""Workers whose process has ended, until the device has done what they had launched. It reads no clock.

On a GPU the end of a process is not the end of its kernels: under MPS they may run on for a moment, and write pages.
What they were at takes as long as such steps take; so long nobody else may write there, or read what they might write.
"""

from __future__ import annotations

from engine.scheduler.groups import Worker

STEPS_LAUNCHED = 2
"""Decode launches a step while another runs; prefill has one."""
SLACK = 1.5
LEAST_SECONDS = 0.05
FIRST_STEPS = 20
"""Before so many steps it is not known how long they take."""
FIRST_SECONDS = 0.5


def lingering_seconds(worker: Worker) -> float:
    """How long its work may go on at most, from the usual time of its steps, or of the prompts it was given."""
    usual = LEAST_SECONDS + SLACK * STEPS_LAUNCHED * worker.usual_step_seconds
    return usual if worker.steps >= FIRST_STEPS else max(usual, FIRST_SECONDS)


class Departures:
    """`device_lingers` is true for a GPU: on a CPU nothing is left of a process that has ended."""

    def __init__(self, device_lingers: bool):
        self._device_lingers = device_lingers
        self._until: dict[bytes, float] = {}

    def must_wait(self, worker: Worker, owes: bool, now: float) -> bool:
        """True if the worker, which has just ended, is to be waited for; `owes`: it had something to do."""
        if not (self._device_lingers and owes):
            return False
        self._until[worker.peer] = now + lingering_seconds(worker)
        return True

    def take_due(self, now: float) -> list[bytes]:
        """Peers that have been waited for long enough; each is named once."""
        due = [peer for peer, until in self._until.items() if until <= now]
        for peer in due:
            del self._until[peer]
        return due

    def wait_ms(self, now: float, most_ms: int | None) -> int | None:
        """How long to sleep so as to be there for the first that is due; `most_ms` as for a poller, None for ever."""
        if not self._until:
            return most_ms
        first = max(0, round(1000 * (min(self._until.values()) - now)) + 1)
        return first if most_ms is None else min(first, most_ms)
