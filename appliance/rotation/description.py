"""The engine's state as plain data, for status commands, the console and the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from appliance.rotation.history import History
from appliance.rotation.table import Group, State
from engine.config import ServerArgs
from engine.wire.to_controller import Status

Pids = Mapping[int, tuple[int, ...]]


def describe(
    settings: ServerArgs,
    state: State,
    pids: Pids,
    processes: Mapping[str, int],
    scheduler: Status | None,
    history: History,
) -> dict[str, Any]:
    """JSON-able. `scheduler` is None where it did not answer; `pids` are those of each epoch's workers."""
    return {
        "split_in_force": str(state.in_force) if state.active else None,
        "splitter": str(settings.splitter),
        "rotating": state.rotating_to is not None,
        "groups": [describe_group(group, pids) for group in state.groups],
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
    workers = [msgspec.structs.asdict(worker) for worker in status.workers]
    return msgspec.structs.asdict(status) | {"workers": workers}
