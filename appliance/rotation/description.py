"""The engine's state as plain data, for status commands, the console and the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from appliance.rotation.history import History
from appliance.rotation.state import Group, State
from engine.config import ServerArgs
from engine.wire.to_controller import Status, WorkerStatus

Pids = Mapping[int, tuple[int, ...]]


def describe(
    settings: ServerArgs,
    state: State,
    pids: Pids,
    spares: Mapping[str, tuple[int, ...]],
    processes: Mapping[str, int],
    scheduler: Status | None,
    history: History,
) -> dict[str, Any]:
    """JSON-able. `scheduler` is None where it did not answer; `pids` are those of each epoch's workers,
    `spares` those of each slot's processes that are ready to become workers.

    `split_asked` is what is under way, or was reached last; `split_reached` how the split in force came to be so, None
    for that of the start.
    """
    asked = history.latest_asked
    return {
        "split_in_force": str(state.in_force) if state.active else None,
        "split_asked": str(asked) if asked else None,
        "split_reached": history.way_to(state.in_force) if state.active else None,
        "splitter": str(settings.splitter),
        "rotating": state.rotating_to is not None or state.changing_to is not None,
        "groups": [describe_group(group, pids) for group in state.groups],
        "spares": {slot: list(waiting) for slot, waiting in spares.items()},
        "processes": dict(processes),
        "scheduler": describe_scheduler(scheduler) if scheduler else None,
        "rotations": [record.as_dict() for record in history.records],
    }


def describe_group(group: Group, pids: Pids) -> dict[str, Any]:
    return {
        "epoch": group.epoch,
        "slot": group.slot,
        "split": str(group.allocation),
        "stage": str(group.stage),
        "pids": list(pids.get(group.epoch, ())),
    }


def describe_scheduler(status: Status) -> dict[str, Any]:
    """Messages travel as arrays; people and programs want names."""
    workers = [msgspec.structs.asdict(worker) | {"borrowed_part": borrowed_part(worker)} for worker in status.workers]
    return msgspec.structs.asdict(status) | {"workers": workers}


def borrowed_part(worker: WorkerStatus) -> float:
    """The part of its computing time, from 0 to 1, for which a worker had the whole device."""
    return worker.borrowed_seconds / worker.busy_seconds if worker.busy_seconds else 0.0
