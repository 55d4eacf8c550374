"""The state of rotations: which groups there are, where each stands, and what is under way. Plain values.

A group is STARTING until all its workers are ready, READY until the scheduler has been told to use it, ACTIVE while it
serves, LEAVING while the last of what it computed moves on, RETIRING once it was told to drain, KILLED once it was told
to end at once. A group that is gone is no longer in the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.allocation import SMAllocation
from engine.config import SLOTS


class Stage(StrEnum):
    """Where a group stands."""

    STARTING = "starting"
    READY = "ready"
    ACTIVE = "active"
    LEAVING = "leaving"
    RETIRING = "retiring"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Group:
    """A prefill and a decode worker at one split. Epochs count up and are never used twice."""

    epoch: int
    slot: str
    allocation: SMAllocation
    stage: Stage = Stage.STARTING

    @property
    def is_coming(self) -> bool:
        """True while it may still become the active one."""
        return self.stage in (Stage.STARTING, Stage.READY)


@dataclass(frozen=True, slots=True)
class State:
    """`in_force` is the split to come back to after a loss; `rotating_to` the epoch that somebody asked for.

    `changing_to` is the split that the active group was asked to take in place; `changes` counts such requests.
    """

    groups: tuple[Group, ...] = ()
    latest_epoch: int = 0
    rotating_to: int | None = None
    changing_to: SMAllocation | None = None
    changes: int = 0
    in_force: SMAllocation | None = None
    takeovers: int = 0
    is_stopping: bool = False

    def find(self, epoch: int) -> Group | None:
        return next((group for group in self.groups if group.epoch == epoch), None)

    def first(self, *stages: Stage) -> Group | None:
        return next((group for group in self.groups if group.stage in stages), None)

    @property
    def active(self) -> Group | None:
        return self.first(Stage.ACTIVE)

    @property
    def free_slot(self) -> str | None:
        taken = {group.slot for group in self.groups}
        return next((slot for slot in SLOTS if slot not in taken), None)

    @property
    def can_rotate(self) -> bool:
        """True if a group could be formed now: one slot is free and nothing is under way."""
        is_under_way = self.rotating_to is not None or self.changing_to is not None
        return not self.is_stopping and not is_under_way and self.free_slot is not None


def check(state: State) -> None:
    """What holds in every state."""
    assert len({group.slot for group in state.groups}) == len(state.groups), "one group a slot"
    assert len({group.epoch for group in state.groups}) == len(state.groups), "an epoch is used once"
    assert all(group.epoch <= state.latest_epoch for group in state.groups), "epochs only grow"
    assert sum(group.stage is Stage.ACTIVE for group in state.groups) <= 1, "one group receives work"
    target = state.find(state.rotating_to) if state.rotating_to is not None else None
    assert (target is not None and target.is_coming) == (state.rotating_to is not None), "a rotation has its group"
    assert state.changing_to is None or state.active is not None, "a split is changed in the group that serves"
    assert state.changing_to is None or state.rotating_to is None, "one thing is under way"
