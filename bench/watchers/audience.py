"""Those who watch, as the one who measures holds them: there when it begins, gone when it is closed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import psutil

from bench.held_process import HeldProcess
from bench.watchers.watching import Task
from engine.errors import SemiPDError

READY_SECONDS = 300.0


class NobodyWatches(SemiPDError):
    """The browsers did not come, or saw nothing."""


class Audience(HeldProcess):
    """Returns when every browser watches. Raises `NobodyWatches`."""

    def __init__(self, task: Task):
        absent = NobodyWatches(f"{task.browsers} browsers did not all come to watch, or not in {READY_SECONDS:g} s.")
        super().__init__("bench.watchers.watching", task, READY_SECONDS, absent)

    def cpu_seconds(self) -> float:
        """What the browsers have computed so far, all their processes together."""
        return cpu_seconds(family(self.process.pid))

    def leave(self) -> list[int]:
        """Looks that each has seen."""
        said = self.end()
        looks = msgspec.json.decode(said, type=list[int]) if said is not None else []
        if not looks or not all(looks):
            raise NobodyWatches("Some of the browsers saw nothing, so this was no watching.")
        return looks


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """That these have computed so far; one that has ended counts for nothing."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
