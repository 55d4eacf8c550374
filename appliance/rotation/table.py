"""The transition table of rotations: from what is and what happened to what is now and what to do. No I/O, no clock.

A split that is asked for is taken by the active group in place, if it can; otherwise another group serves at it: one
that stands by, if it can take it, or one that is formed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from appliance.rotation.events import (
    Action,
    Activate,
    Activated,
    Asked,
    Change,
    Changed,
    Event,
    Finish,
    Form,
    GiveUp,
    Gone,
    Idle,
    KeepSpares,
    Kill,
    Lost,
    Ready,
    Retire,
    SchedulerLost,
    Stopping,
    TimedOut,
)
from appliance.rotation.state import Group, Stage, State, check
from engine.allocation import SMAllocation
from engine.config import SLOTS

MAX_TAKEOVERS = 3
"""Groups formed one after the other to replace a lost one, none of which came to serve, before the table gives up."""

MAX_STANDBYS_LOST = 3
"""Groups that ended while they stood by, or before they could, since one came to serve; then spares are kept."""

Step = tuple[State, tuple[Action, ...]]


def step(state: State, event: Event) -> Step:
    """What follows. An event that does not fit the state, because it comes late, changes nothing."""
    state, actions = _TRANSITIONS[type(event)](state, event)
    check(state)
    return state, actions


def go_on(state: State, actions: tuple[Action, ...]) -> Step:
    """What is to be done first in a state that was found: the other slot prepares for what may come."""
    state, actions = _follow(state, actions)
    state, actions = _prepare_next(state, actions) if state.active else (state, actions)
    actions += _spares_behind(state)
    check(state)
    return state, actions


def _asked(state: State, event: Asked) -> Step:
    assert state.can_rotate, "the caller waits until a rotation is possible"
    if state.active is None or event.new_group:
        return _rotate(state, event.allocation)
    return _change(replace(state, changing_to=event.allocation), state.active.epoch, event.allocation)


def _changed(state: State, event: Changed) -> Step:
    """Taken, or another group serves at it: what is prepared is a matter of speed, never of what can be had."""
    group = state.find(event.epoch)
    if group is None or (event.epoch, event.change) != (state.changing, state.changes):
        return state, ()
    state = replace(state, changing=None)
    if group.stage is Stage.ACTIVE and state.changing_to is not None:
        return _active_changed(state, group, state.changing_to, event.problem)
    if group.stage is Stage.READY and state.rotating_to == group.epoch:
        return _changed_to_serve(state, group, event.problem)
    return _end_standby(state, group) if event.problem and group.stage is Stage.STANDBY else (state, ())


def _active_changed(state: State, group: Group, split: SMAllocation, problem: str) -> Step:
    if problem and state.has_other_group:
        return _rotate(replace(state, changing_to=None), split)
    if problem:
        return _finished(state, group.epoch, problem, ())
    state = _replaced(state, group, replace(group, allocation=split))
    state, actions = _finished(replace(state, in_force=split), group.epoch, "", ())
    return _follow(state, actions)


def _changed_to_serve(state: State, group: Group, problem: str) -> Step:
    """A group that stood by has the split that was asked for; where it cannot, another is formed in its slot.

    Where nobody serves any more it takes over as it is, at the split that was in force: it stood by at no other.
    """
    if not problem:
        return state, (Activate(group.epoch),)
    if state.active is None and state.in_force is not None:
        state, answer = _finished(state, group.epoch, problem, ())
        return _replaced(state, group, replace(group, allocation=state.in_force)), (*answer, Activate(group.epoch))
    return _end_standby(replace(state, rotating_to=None, waiting_for_slot=group.allocation), group)


def _ready(state: State, event: Ready) -> Step:
    group = state.find(event.epoch)
    if group is None or group.stage is not Stage.STARTING:
        return state, ()
    if state.active is not None and state.rotating_to != group.epoch:
        state = _with(state, group, Stage.STANDBY)
        return _follow(state, _spares_behind(state))
    return _with(state, group, Stage.READY), (Activate(group.epoch),)


def _activated(state: State, event: Activated) -> Step:
    group = state.find(event.epoch)
    if group is None or group.stage is not Stage.READY:
        return state, ()
    if event.problem:
        return _lost(state, Lost(event.epoch, event.problem))
    before = state.active
    superseded: tuple[Action, ...] = ()
    if before is not None:
        state, superseded = _finished(state, before.epoch, "Another group took over.", ())
        state = _with(state, before, Stage.LEAVING)
    state = replace(_with(state, group, Stage.ACTIVE), in_force=group.allocation, takeovers=0, standbys_lost=0)
    state, actions = _finished(state, group.epoch, "", superseded)
    return _prepare_next(state, actions)


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
    if group.stage is Stage.STANDBY or (group.is_coming and state.active and state.rotating_to != group.epoch):
        state = replace(state, standbys_lost=state.standbys_lost + 1)
    state, actions = _finished(state, group.epoch, event.problem, (Kill(group.epoch, group.slot),))
    state = _with(state, group, Stage.KILLED)
    state = replace(state, changing=None) if state.changing == group.epoch else state
    fallback = state.first(Stage.LEAVING, Stage.STANDBY) if was_active else None
    if fallback is not None:
        state = replace(_with(state, fallback, Stage.READY), in_force=fallback.allocation, changing=None)
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
    if group.stage is Stage.STARTING and state.active and state.rotating_to != group.epoch:
        state = replace(state, standbys_lost=MAX_STANDBYS_LOST)  # it was never there: it would not be the next time
    if group.stage not in (Stage.RETIRING, Stage.KILLED):
        state, actions = _lost(state, Lost(event.epoch, event.problem or "The group has ended."))
        actions = tuple(action for action in actions if not isinstance(action, Kill))
    state = replace(state, groups=tuple(other for other in state.groups if other.epoch != event.epoch))
    state, actions = _serve_again(state, actions, event.problem)
    return _prepare_next(state, actions) if state.active and group.slot == state.free_slot else (state, actions)


def _scheduler_lost(state: State, event: SchedulerLost) -> Step:
    """Every group ends: those that computed for it drain by themselves, one that was starting is told to."""
    epoch = state.rotating_to or (state.active.epoch if state.active else 0)
    state, answers = _finished(state, epoch, event.problem, ())
    starting = [group for group in state.groups if group.stage is Stage.STARTING]
    for group in state.groups:
        is_ended = group in starting or group.stage is Stage.KILLED
        state = _with(state, group, Stage.KILLED if is_ended else Stage.RETIRING)
    kills = (Kill(group.epoch, group.slot) for group in starting)
    state = replace(state, changing=None)
    return _serve_again(state, (*answers, *kills), event.problem)


def _stopping(state: State, event: Stopping) -> Step:
    state = replace(state, is_stopping=True)
    epoch = state.rotating_to or (state.active.epoch if state.active else 0)
    return _finished(state, epoch, "The appliance stops.", ())


_TRANSITIONS: dict[type, Callable[[State, object], Step]] = {
    Asked: _asked,
    Ready: _ready,
    Activated: _activated,
    Changed: _changed,
    Idle: _idle,
    Lost: _lost,
    TimedOut: _timed_out,
    Gone: _gone,
    SchedulerLost: _scheduler_lost,
    Stopping: _stopping,
}  # pyright: ignore[reportAssignmentType]  # each function takes its own event


def _rotate(state: State, allocation: SMAllocation) -> Step:
    if state.standby is not None:
        return _rotate_to_standby(state, state.standby, allocation)
    state, actions = _form(state, allocation)
    return replace(state, rotating_to=state.latest_epoch), actions


def _rotate_to_standby(state: State, standby: Group, allocation: SMAllocation) -> Step:
    state = _replaced(state, standby, replace(standby, allocation=allocation, stage=Stage.READY))
    state = replace(state, rotating_to=standby.epoch)
    if allocation == standby.allocation:
        return state, (Activate(standby.epoch),)
    return _change(state, standby.epoch, allocation)


def _change(state: State, epoch: int, allocation: SMAllocation) -> Step:
    number = state.changes + 1
    return replace(state, changes=number, changing=epoch), (Change(epoch, number, allocation),)


def _follow(state: State, actions: tuple[Action, ...]) -> Step:
    """Have the group that stands by, if there is one, take the split in force."""
    standby, split = state.standby, state.in_force
    if standby is None or split is None or standby.allocation == split:
        return state, actions
    state = _replaced(state, standby, replace(standby, allocation=split))
    state, change = _change(state, standby.epoch, split)
    return state, (*actions, *change)


def _end_standby(state: State, group: Group) -> Step:
    """It has nothing to drain; another takes its slot."""
    return _with(state, group, Stage.RETIRING), (Retire(group.epoch),)


def _prepare_next(state: State, actions: tuple[Action, ...]) -> Step:
    """Somebody serves: use the free slot, if there is one, for what is asked for, or for what may come."""
    slot, wanted = state.free_slot, state.waiting_for_slot
    if slot is None or state.is_stopping:
        return state, actions
    if wanted is not None:
        state, more = _rotate(replace(state, waiting_for_slot=None), wanted)
    elif state.keeps_warm and state.in_force is not None and state.standbys_lost < MAX_STANDBYS_LOST:
        state, more = _form(state, state.in_force)
    else:
        more = (KeepSpares(slot),)
    return state, (*actions, *more)


def _spares_behind(state: State) -> tuple[Action, ...]:
    """Where a group stands by, both slots keep spares: should both groups end with their scheduler, the next is formed
    in the slot that is free first."""
    return tuple(map(KeepSpares, SLOTS)) if state.standby is not None else ()


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
    """Tell whoever asked for `epoch`, or for another split while the group of `epoch` serves, if anybody did."""
    is_of_active = state.rotating_to is None and state.is_under_way and state.active and state.active.epoch == epoch
    if state.rotating_to != epoch and not is_of_active:
        return state, actions
    state = replace(state, rotating_to=None, changing_to=None, waiting_for_slot=None)
    return state, (Finish(epoch, problem), *actions)


def _with(state: State, group: Group, stage: Stage) -> State:
    return _replaced(state, group, replace(group, stage=stage))


def _replaced(state: State, group: Group, by: Group) -> State:
    return replace(state, groups=tuple(by if other is group else other for other in state.groups))
