"""What happens to groups, and what is to be done about them. Plain values."""

from __future__ import annotations

from typing import NamedTuple

from engine.allocation import SMAllocation

# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Asked(NamedTuple):
    """Somebody wants this split, in place if that is possible and `new_group` is False; `can_rotate` was true."""

    allocation: SMAllocation
    new_group: bool = True


class Ready(NamedTuple):
    epoch: int


class Activated(NamedTuple):
    """The scheduler sends new work to the group, unless there was a problem."""

    epoch: int
    problem: str = ""


class Changed(NamedTuple):
    """The active group has taken the split of request number `change`, unless there was a problem."""

    epoch: int
    change: int
    problem: str = ""


class Idle(NamedTuple):
    """A superseded group has nothing left to do."""

    epoch: int


class Lost(NamedTuple):
    """A worker of the group ended without having drained."""

    epoch: int
    problem: str


class TimedOut(NamedTuple):
    """The group was not ready in time."""

    epoch: int
    seconds: float


class Gone(NamedTuple):
    """All processes of the group have ended."""

    epoch: int
    problem: str = ""


class SchedulerLost(NamedTuple):
    """The scheduler has ended, and another follows once every group it knew is gone."""

    problem: str


class Stopping(NamedTuple):
    """Everything is to end; nothing is formed any more."""


Event = Asked | Ready | Activated | Changed | Idle | Lost | TimedOut | Gone | SchedulerLost | Stopping

# ── actions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Form(NamedTuple):
    epoch: int
    slot: str
    allocation: SMAllocation


class Activate(NamedTuple):
    epoch: int


class Change(NamedTuple):
    """The group is to take the split in place; `change` is this request's number."""

    epoch: int
    change: int
    allocation: SMAllocation


class Retire(NamedTuple):
    epoch: int


class Kill(NamedTuple):
    epoch: int
    slot: str


class KeepSpares(NamedTuple):
    """The slot has no group: its leader keeps workers ready for the next."""

    slot: str


class Finish(NamedTuple):
    """What was asked for is over, in the group of `epoch`; `problem` is empty if the split is in force."""

    epoch: int
    problem: str = ""


class GiveUp(NamedTuple):
    """No group can be kept alive."""

    problem: str


Action = Form | Activate | Change | Retire | Kill | KeepSpares | Finish | GiveUp
