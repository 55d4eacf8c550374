"""What a controller that comes later finds: groups that serve already, told apart from those that were never finished.

Pure. The scheduler says who receives work, the leaders which groups they have; together they are the table's state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from appliance.rotation.events import Action, Kill
from appliance.rotation.state import Group, Stage, State
from appliance.rotation.table import go_on
from engine.allocation import Phase, SMAllocation
from engine.wire.to_controller import FormedGroup, Groups, Status, WorkerStatus


class Found(NamedTuple):
    """The state, and what has to be done so that it is one the table knows how to leave."""

    state: State
    actions: tuple[Action, ...]


def found(status: Status, leaders: Iterable[Groups], otherwise: SMAllocation, *, keeps_warm: bool = False) -> Found:
    """The state from which the controller goes on.

    The group that receives work is the active one. Another that is complete stands by where a group is to; elsewhere it
    had served or was about to: it is LEAVING and retires when the scheduler calls it idle. One that is not complete is
    killed: its rotation ended with whoever asked for it. Where no group receives work, the next is formed at the split
    `otherwise`.
    """
    leaders = list(leaders)
    formed = {(told.slot, group.epoch): group for told in leaders for group in told.groups}
    groups = tuple(_group(slot, group, status) for (slot, _), group in formed.items())
    active = next((group for group in groups if group.stage is Stage.ACTIVE), None)
    latest = max(*(told.latest_epoch for told in leaders), *(worker.epoch for worker in status.workers), 0)
    if active and keeps_warm:
        groups = tuple(replace(each, stage=Stage.STANDBY) if each.stage is Stage.LEAVING else each for each in groups)
    in_force = active.allocation if active else otherwise
    state = State(groups, latest_epoch=latest, in_force=in_force, keeps_warm=keeps_warm)
    return Found(*go_on(state, tuple(Kill(group.epoch, group.slot) for group in groups if group.stage is Stage.KILLED)))


def _group(slot: str, formed: FormedGroup, status: Status) -> Group:
    workers = [worker for worker in status.workers if worker.epoch == formed.epoch]
    phases = {phase for worker in workers for phase in worker.phases}
    if phases != set(Phase):
        stage = Stage.KILLED
    else:
        stage = Stage.ACTIVE if all(worker.is_active for worker in workers) else Stage.LEAVING
    return Group(formed.epoch, slot, _allocation(formed, workers), stage)


def _allocation(formed: FormedGroup, workers: list[WorkerStatus]) -> SMAllocation:
    """What the workers say, since a split may change in place; one worker for both phases has no share to tell."""
    told = {phase: worker.share_percentage for worker in workers for phase in worker.phases if len(worker.phases) == 1}
    return SMAllocation(
        told.get(Phase.PREFILL, formed.prefill_percentage), told.get(Phase.DECODE, formed.decode_percentage)
    )
