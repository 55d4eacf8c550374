"""The transition table of rotations: from what is and what happened to what is now and what to do. No I/O, no clock.

A split that is asked for is taken by the active group in place, if it can; otherwise another group is formed at it.
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

MAX_TAKEOVERS = 3
"""Groups formed one after the other to replace a lost one, none of which came to serve, before the table gives up."""

Step = tuple[State, tuple[Action, ...]]


def step(state: State, event: Event) -> Step:
    """What follows. An event that does not fit the state, because it comes late, changes nothing."""
    state, actions = _TRANSITIONS[type(event)](state, event)
    check(state)
    return state, actions


def _asked(state: State, event: Asked) -> Step:
    assert state.can_rotate, "the caller waits until a rotation is possible"
    if state.active is None or event.new_group:
        return _rotate(state, event.allocation)
    number = state.changes + 1
    state, change = replace(state, changing_to=event.allocation, changes=number), state.active
    return state, (Change(change.epoch, number, event.allocation),)


def _changed(state: State, event: Changed) -> Step:
    """Taken, or another group is formed at it: what is prepared is a matter of speed, never of what can be had."""
    group, split = state.active, state.changing_to
    if group is None or split is None or (event.epoch, event.change) != (group.epoch, state.changes):
        return state, ()
    if event.problem and state.free_slot is not None:
        return _rotate(replace(state, changing_to=None), split)
    if event.problem:
        return _finished(state, group.epoch, event.problem, ())
    taken = replace(group, allocation=split)
    groups = tuple(taken if other is group else other for other in state.groups)
    return _finished(replace(state, groups=groups, in_force=split), group.epoch, "", ())


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
    superseded: tuple[Action, ...] = ()
    if before is not None:
        state, superseded = _finished(state, before.epoch, "Another group took over.", ())
        state = _with(state, before, Stage.LEAVING)
    state = replace(_with(state, group, Stage.ACTIVE), in_force=group.allocation, takeovers=0)
    spares = (KeepSpares(state.free_slot),) if state.free_slot else ()
    return _finished(state, group.epoch, "", (*superseded, *spares))


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
    state, actions = _finished(state, group.epoch, event.problem, (Kill(group.epoch, group.slot),))
    state = _with(state, group, Stage.KILLED)
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


def _scheduler_lost(state: State, event: SchedulerLost) -> Step:
    """Every group ends: those that computed for it drain by themselves, one that was starting is told to."""
    epoch = state.rotating_to or (state.active.epoch if state.active else 0)
    state, answers = _finished(state, epoch, event.problem, ())
    starting = [group for group in state.groups if group.stage is Stage.STARTING]
    for group in state.groups:
        is_ended = group in starting or group.stage is Stage.KILLED
        state = _with(state, group, Stage.KILLED if is_ended else Stage.RETIRING)
    kills = (Kill(group.epoch, group.slot) for group in starting)
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
    state, actions = _form(state, allocation)
    return replace(state, rotating_to=state.latest_epoch), actions


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
    """Tell whoever asked for `epoch`, or for a change in the group of `epoch`, if anybody did."""
    is_change = state.changing_to is not None and state.active is not None and state.active.epoch == epoch
    if state.rotating_to != epoch and not is_change:
        return state, actions
    return replace(state, rotating_to=None, changing_to=None), (Finish(epoch, problem), *actions)


def _with(state: State, group: Group, stage: Stage) -> State:
    changed = replace(group, stage=stage)
    return replace(state, groups=tuple(changed if other is group else other for other in state.groups))
