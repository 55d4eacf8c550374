"""Difficult clients, as the one who measures holds them: there when it begins, gone when it is closed."""

from __future__ import annotations

import msgspec

from bench.faults.difficult import SETTLE_SECONDS, Seen, Task
from bench.held_process import HeldProcess
from engine.errors import SemiPDError


class NoCrowd(SemiPDError):
    """The process of the difficult clients has failed."""


class Crowd(HeldProcess):
    """Returns when all have come. Raises `NoCrowd`."""

    def __init__(self, task: Task):
        absent = NoCrowd(f"{task.clients} {task.kind} did not come.")
        super().__init__("bench.faults.difficult", task, 2 * SETTLE_SECONDS, absent)

    def leave(self) -> Seen:
        """All at once; what they have seen until then. Raises `NoCrowd`."""
        said = self.end()
        if said is None:
            raise NoCrowd("The difficult clients did not stay to the end.")
        return msgspec.json.decode(said, type=Seen)
