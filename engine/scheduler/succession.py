"""The order in which one group follows another: the old one's prompts first, then its lanes, and only then new prompts.

Processes of two groups take turns on a GPU: their daemons keep them apart. While both compute, a decode step takes
several times as long, and its streams see that as a pause. So lanes stay where they are until the old group's prefill
is through with what it was ordered, and the new group's prefill waits until they have moved and made a step: before
that it would take decode for idle, and borrow the whole device. For whom is not there any more, nobody waits.
"""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

from engine.scheduler.decode import DecodeBatch
from engine.scheduler.groups import Worker


class Succession(NamedTuple):
    """`prefill` and `decode` are the workers that had the phases before, None where nobody had. `heir` has decode now,
    and had made `steps` when that began."""

    prefill: Worker | None
    decode: Worker | None
    heir: Worker
    steps: int

    @property
    def stays(self) -> Worker | None:
        """The worker in which lanes run on for now, those of new first tokens too; None once they are to move."""
        is_computing = _is_there(self.prefill) and bool(self.prefill.in_flight)
        return self.decode if is_computing and _is_there(self.decode) else None

    def holds(self, batch: DecodeBatch) -> bool:
        """True while prompts have to wait. Something is then under way that will be reported."""
        if self.stays is not None or (_is_there(self.decode) and batch.lanes_of(self.decode)):
            return True
        return _is_there(self.heir) and self.heir.steps == self.steps and batch.owes(self.heir)


def _is_there(worker: Worker | None) -> TypeGuard[Worker]:
    return worker is not None and not (worker.is_gone or worker.is_draining or worker.fenced_because)
