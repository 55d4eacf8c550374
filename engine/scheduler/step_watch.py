"""Notices a worker that has work and does not move. It reads no clock and ends nobody: whoever asks does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.scheduler.groups import Worker

FIRST_STEPS = 20
"""Steps of a worker in which something may be used for the first time: a kernel is loaded, a graph is captured."""
FIRST_SECONDS = 60.0
STEPS_BEHIND = 20
"""So many times the worker's usual step are borne beyond the setting, for one that is slow and not stuck: on a CPU a
worker of a tenth of it rests for nine times what it has computed."""
LONGEST_LOOK_SECONDS = 0.5
"""Counted of the time between two looks: who did not look cannot say that nothing moved."""


@dataclass(slots=True)
class _Wait:
    steps: int
    seconds: float = 0.0


class StepWatch:
    """`patience_seconds` for a process that is stopped, and the least for any other. `is_stopped` is asked by pid."""

    def __init__(self, patience_seconds: float, is_stopped: Callable[[int], bool]):
        self._patience_seconds = patience_seconds
        self._is_stopped = is_stopped
        self._waits: dict[Worker, _Wait] = {}
        self._looked_at: float | None = None

    def overdue(self, busy: Iterable[Worker], now: float) -> list[Worker]:
        """Those of `busy`, who owe a report, that have owed it for too long. To be asked after reports were read."""
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, LONGEST_LOOK_SECONDS)
        self._looked_at = now
        former, self._waits = self._waits, {}
        for worker in busy:
            wait = former.get(worker)
            seconds = wait.seconds + passed if wait is not None and wait.steps == worker.steps else 0.0
            self._waits[worker] = _Wait(worker.steps, seconds)
        return [worker for worker, wait in self._waits.items() if self._is_stuck(worker, wait.seconds)]

    def _is_stuck(self, worker: Worker, seconds: float) -> bool:
        if seconds < self._patience_seconds:
            return False
        return seconds >= allowed_seconds(worker, self._patience_seconds) or self._is_stopped(worker.ready.pid)


def allowed_seconds(worker: Worker, patience_seconds: float) -> float:
    """How long a worker that is not stopped may be without a report."""
    if worker.steps < FIRST_STEPS:
        return max(patience_seconds, FIRST_SECONDS)
    return patience_seconds + STEPS_BEHIND * worker.usual_step_seconds


def is_stopped(pid: int) -> bool:
    """True for a process that a signal or a debugger has stopped: proc(5), state T or t."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended
    return state in ("T", "t")
