"""The state of rotations: which groups there are, where each stands, and what is under way. Plain values.

A group is STARTING until all its workers are ready, STANDBY while it is ready and nobody needs it, READY until the
scheduler has been told to use it, ACTIVE while it serves, LEAVING while the last of what it computed moves on, RETIRING
once it was told to drain, KILLED once it was told to end at once. A group that is gone is no longer in the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.allocation import SMAllocation
from engine.config import SLOTS


class Stage(StrEnum):
    """Where a group stands."""

    STARTING = "starting"
    STANDBY = "standby"
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

    `changing_to` is the split that the active group was asked to take in place. `changing` is the epoch of a group that
    was asked to take a split and has not answered yet; `changes` counts such requests. `keeps_warm`: the other slot is
    to have a group that stands by, at the split in force; `standbys_lost` counts those lost since one came to serve.
    `waiting_for_slot`: a split that was asked for, while the group that stood by, and could not take it, ends.
    """

    groups: tuple[Group, ...] = ()
    latest_epoch: int = 0
    rotating_to: int | None = None
    changing_to: SMAllocation | None = None
    changing: int | None = None
    changes: int = 0
    keeps_warm: bool = False
    standbys_lost: int = 0
    waiting_for_slot: SMAllocation | None = None
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
    def standby(self) -> Group | None:
        return self.first(Stage.STANDBY)

    @property
    def has_other_group(self) -> bool:
        """True if another group stands by, or could be formed now."""
        return self.free_slot is not None or self.standby is not None

    @property
    def is_under_way(self) -> bool:
        """True while something that was asked for is not there yet."""
        return (self.rotating_to, self.changing_to, self.waiting_for_slot) != (None, None, None)

    @property
    def can_rotate(self) -> bool:
        """True if another split could be asked for now."""
        is_settled = self.changing is None and not self.is_under_way
        return is_settled and self.has_other_group and not self.is_stopping


def check(state: State) -> None:
    """What holds in every state."""
    assert len({group.slot for group in state.groups}) == len(state.groups), "one group a slot"
    assert len({group.epoch for group in state.groups}) == len(state.groups), "an epoch is used once"
    assert all(group.epoch <= state.latest_epoch for group in state.groups), "epochs only grow"
    assert sum(group.stage is Stage.ACTIVE for group in state.groups) <= 1, "one group receives work"
    target = state.find(state.rotating_to) if state.rotating_to is not None else None
    assert (target is not None and target.is_coming) == (state.rotating_to is not None), "a rotation has its group"
    assert state.changing_to is None or state.active is not None, "a split is changed in the group that serves"
    asked = (state.rotating_to, state.changing_to, state.waiting_for_slot)
    assert sum(each is not None for each in asked) <= 1, "one thing is under way"
    assert state.waiting_for_slot is None or state.active is not None, "somebody serves while a standby group ends"
    assert state.changing is None or state.find(state.changing) is not None, "who is asked to change is there"
    assert state.standby is None or state.active is not None, "nobody stands by where nobody serves"
