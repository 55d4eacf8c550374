"""A change of split in place: who may take it, and who goes first. Pure; what was done is read from the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.allocation import SMAllocation
from engine.scheduler.groups import Worker
from engine.wire.to_worker import TakeShare


class SplitChange(NamedTuple):
    """The group of `epoch` is to compute at `split`; `asked_by` is answered with `sequence`.

    What may follow, `prepare`, is told to those whose share changes: the others have prepared around theirs already.
    """

    asked_by: bytes
    epoch: int
    sequence: int
    split: SMAllocation
    prepare: tuple[SMAllocation, ...] = ()

    def order(self, worker: Worker) -> TakeShare:
        """What the worker is told."""
        share = self.split.share(worker.phase)
        shares = dict.fromkeys(split.share(worker.phase) for split in self.prepare)
        return TakeShare(worker.epoch, worker.next_sequence(), share, tuple(shares))


def refusal(workers: Sequence[Worker], split: SMAllocation) -> str:
    """Why a group of these workers cannot take the split in place, in a sentence; empty if it can."""
    if split.is_together != any(worker.is_colocated for worker in workers):
        count = "one worker" if split.is_together else "two workers"
        return f"At {split} the phases are computed by {count}, and the group has another number."
    for worker in workers:
        share = split.share(worker.phase)
        if not worker.can_take(share):
            return f"The {worker.phase} worker (process {worker.ready.pid}) has not prepared a share of {share} %."
    return ""


def next_to_change(workers: Sequence[Worker], split: SMAllocation) -> list[Worker]:
    """Who is to have another share now: first those whose part shrinks, and only then those who grow into it.

    Empty when all have their share of `split`, and nobody is still to take another.
    """
    pending = [worker for worker in workers if worker.shares_owed or worker.share != split.share(worker.phase)]
    shrinking = [worker for worker in pending if split.share(worker.phase) < worker.share]
    return shrinking or pending
