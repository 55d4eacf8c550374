"""The transition table of rotations: from what is and what happened to what is now and what to do. No I/O, no clock.

A group is STARTING until all its workers are ready, READY until the scheduler has been told to use it, ACTIVE while it
serves, LEAVING while the last of what it computed moves on, RETIRING once it was told to drain, KILLED once it was told
to end at once. A group that is gone is no longer in the state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from engine.allocation import SMAllocation
from engine.config import SLOTS

MAX_TAKEOVERS = 3
"""Groups formed one after the other to replace a lost one, none of which came to serve, before the table gives up."""


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
    """`in_force` is the split to come back to after a loss; `rotating_to` the epoch that somebody asked for."""

    groups: tuple[Group, ...] = ()
    latest_epoch: int = 0
    rotating_to: int | None = None
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
        return not self.is_stopping and self.rotating_to is None and self.free_slot is not None


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Asked(NamedTuple):
    """Somebody wants this split; `can_rotate` was true."""

    allocation: SMAllocation


class Ready(NamedTuple):
    epoch: int


class Activated(NamedTuple):
    """The scheduler sends new work to the group, unless there was a problem."""

    epoch: int
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


class Stopping(NamedTuple):
    """Everything is to end; nothing is formed any more."""


Event = Asked | Ready | Activated | Idle | Lost | TimedOut | Gone | Stopping

# ── actions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Form(NamedTuple):
    epoch: int
    slot: str
    allocation: SMAllocation


class Activate(NamedTuple):
    epoch: int


class Retire(NamedTuple):
    epoch: int


class Kill(NamedTuple):
    epoch: int
    slot: str


class KeepSpares(NamedTuple):
    """The slot has no group: its leader keeps workers ready for the next."""

    slot: str


class Finish(NamedTuple):
    """The rotation to `epoch` is over; `problem` is empty if the split is in force."""

    epoch: int
    problem: str = ""


class GiveUp(NamedTuple):
    """No group can be kept alive."""

    problem: str


Action = Form | Activate | Retire | Kill | KeepSpares | Finish | GiveUp
Step = tuple[State, tuple[Action, ...]]

# ── transitions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def step(state: State, event: Event) -> Step:
    """What follows. An event that does not fit the state, because it comes late, changes nothing."""
    state, actions = _TRANSITIONS[type(event)](state, event)
    check(state)
    return state, actions


def check(state: State) -> None:
    """What holds in every state."""
    assert len({group.slot for group in state.groups}) == len(state.groups), "one group a slot"
    assert len({group.epoch for group in state.groups}) == len(state.groups), "an epoch is used once"
    assert all(group.epoch <= state.latest_epoch for group in state.groups), "epochs only grow"
    assert sum(group.stage is Stage.ACTIVE for group in state.groups) <= 1, "one group receives work"
    target = state.find(state.rotating_to) if state.rotating_to is not None else None
    assert (target is not None and target.is_coming) == (state.rotating_to is not None), "a rotation has its group"


def _asked(state: State, event: Asked) -> Step:
    assert state.can_rotate, "the caller waits until a rotation is possible"
    state, actions = _form(state, event.allocation)
    return replace(state, rotating_to=state.latest_epoch), actions


def _ready(state: State, event: Ready) -> Step:
    group = state.find(event.epoch)
    if group is None or group.stage is not Stage.STARTING:
        return state, ()
    return _with(state, group, Stage.READY), (Activate(group.epoch),)


def _activated(state: State, event: Activated) -> Step:
    group = state.find(event.epoch)
    if group is None or group.stage is not Stage.READY:
        return state, ()
    if event.problem:
        return _lost(state, Lost(event.epoch, event.problem))
    before = state.active
    if before is not None:
        state = _with(state, before, Stage.LEAVING)
    state = replace(_with(state, group, Stage.ACTIVE), in_force=group.allocation, takeovers=0)
    spares = (KeepSpares(state.free_slot),) if state.free_slot else ()
    return _finished(state, group.epoch, "", spares)


def _idle(state: State, event: Idle) -> Step:
    group = state.find(event.epoch)
    if group is None or group.stage is not Stage.LEAVING:
        return state, ()
    return _with(state, group, Stage.RETIRING), (Retire(group.epoch),)


def _lost(state: State, event: Lost) -> Step:
    """Whatever is left of it must end before its pages are anybody else's; another group serves if it can."""
    group = state.find(event.epoch)
    if group is None or group.stage is Stage.KILLED:
        return state, ()
    was_active = group.stage is Stage.ACTIVE
    state = _with(state, group, Stage.KILLED)
    state, actions = _finished(state, group.epoch, event.problem, (Kill(group.epoch, group.slot),))
    fallback = state.first(Stage.LEAVING) if was_active else None
    if fallback is not None:
        state = replace(_with(state, fallback, Stage.READY), in_force=fallback.allocation)
        return state, (*actions, Activate(fallback.epoch))
    return _serve_again(state, actions, event.problem)


def _timed_out(state: State, event: TimedOut) -> Step:
    group = state.find(event.epoch)
    if group is None or group.stage is not Stage.STARTING:
        return state, ()
    return _lost(state, Lost(event.epoch, f"The group was not ready within {event.seconds:g} s."))


def _gone(state: State, event: Gone) -> Step:
    group = state.find(event.epoch)
    if group is None:
        return state, ()
    actions: tuple[Action, ...] = ()
    if group.stage not in (Stage.RETIRING, Stage.KILLED):
        state, actions = _lost(state, Lost(event.epoch, event.problem or "The group has ended."))
        actions = tuple(action for action in actions if not isinstance(action, Kill))
    state = replace(state, groups=tuple(other for other in state.groups if other.epoch != event.epoch))
    state, actions = _serve_again(state, actions, event.problem)
    if state.active is not None and group.slot == state.free_slot and not state.is_stopping:
        actions = (*actions, KeepSpares(group.slot))
    return state, actions


def _stopping(state: State, event: Stopping) -> Step:
    state = replace(state, is_stopping=True)
    if state.rotating_to is None:
        return state, ()
    return _finished(state, state.rotating_to, "The appliance stops.", ())


_TRANSITIONS: dict[type, Callable[[State, object], Step]] = {
    Asked: _asked,
    Ready: _ready,
    Activated: _activated,
    Idle: _idle,
    Lost: _lost,
    TimedOut: _timed_out,
    Gone: _gone,
    Stopping: _stopping,
}  # pyright: ignore[reportAssignmentType]  # each function takes its own event


def _form(state: State, allocation: SMAllocation) -> Step:
    slot, epoch = state.free_slot, state.latest_epoch + 1
    assert slot is not None
    groups = (*state.groups, Group(epoch, slot, allocation))
    return replace(state, groups=groups, latest_epoch=epoch), (Form(epoch, slot, allocation),)


def _serve_again(state: State, actions: tuple[Action, ...], problem: str) -> Step:
    """If nobody serves and nobody is about to, form a group at the split that was in force, where there is room."""
    served_or_coming = state.first(Stage.ACTIVE, Stage.STARTING, Stage.READY)
    if served_or_coming or state.is_stopping or state.in_force is None or state.free_slot is None:
        return state, actions
    if state.takeovers == MAX_TAKEOVERS:
        return replace(state, in_force=None), (*actions, GiveUp(problem))
    state, formed = _form(replace(state, takeovers=state.takeovers + 1), state.in_force)
    return state, (*actions, *formed)


def _finished(state: State, epoch: int, problem: str, actions: tuple[Action, ...]) -> Step:
    """Tell whoever asked for `epoch`, if anybody did."""
    if state.rotating_to != epoch:
        return state, actions
    return replace(state, rotating_to=None), (Finish(epoch, problem), *actions)


def _with(state: State, group: Group, stage: Stage) -> State:
    changed = replace(group, stage=stage)
    return replace(state, groups=tuple(changed if other is group else other for other in state.groups))
