"""What is asked of the controller on its socket, and told to it: each command is done here, and answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from appliance.control.messages import (
    AddKey,
    AskDecisions,
    AskGpuMemory,
    AskRecentLoad,
    AskRotation,
    AskRotations,
    AskStatus,
    AskUnits,
    Command,
    FreeCachedPages,
    Reply,
    RestartUnit,
    RestoreBackup,
    RevokeKey,
    SetMode,
    SetTarget,
)
from appliance.load_watch import LoadWatch
from appliance.rotation import ProcessRotationManager
from appliance.rotation.memory import memory_by_process
from appliance.slo import Mode, SLOAwareResourceManager, SLOTarget
from appliance.store.desk import change_key
from appliance.store.store import Store
from appliance.store.targets import PolicySettings
from appliance.supervisor.systemd import Units
from appliance.supervisor.units_desk import answer_about_units
from engine.allocation import SMAllocation
from engine.config import Mode as ServingMode
from engine.config import ServerArgs


class ControlDesk:
    """Passes commands on to rotation, policy and store. `status` gives what `AskStatus` is answered with."""

    def __init__(
        self,
        rotation: ProcessRotationManager,
        policy: SLOAwareResourceManager,
        watch: LoadWatch,
        status: Callable[[], dict[str, Any]],
        store: Store | None,
        units: Units | None,
    ):
        self._rotation = rotation
        self._policy = policy
        self._watch = watch
        self._status = status
        self._store = store
        self._units = units

    def handle(self, command: Command) -> Reply:
        """Do what was asked on the socket."""
        match command:
            case AskStatus():
                return Reply(True, "", json.dumps(self._status(), default=str))
            case AskRotation():
                return self._rotate(command)
            case AskRotations(limit):
                records = self._rotation.status["rotations"]
                if self._store is not None:
                    records = self._store.history.rotations(records, limit)
                records = records[-max(limit, 1) :]
                return Reply(True, "", json.dumps(records, default=str))
            case AskRecentLoad():
                return self._recent_load()
            case AskDecisions(limit):
                records = [record.as_dict() for record in self._policy.decisions]
                if self._store is not None:
                    records = self._store.history.decisions(records, limit)
                records = records[-max(limit, 1) :]
                return Reply(True, "", json.dumps(records, default=str))
            case SetTarget():
                return self._set_target(command)
            case SetMode():
                return self._set_mode(command)
            case AddKey() | RevokeKey():
                return change_key(self._store, command)
            case RestoreBackup(name, by):
                return self._restore(name, by)
            case AskGpuMemory():
                return Reply(True, "", json.dumps(memory_by_process(self._rotation.settings)))
            case AskUnits() | RestartUnit():
                return answer_about_units(self._units, self._store, command)
            case FreeCachedPages():
                pages = self._rotation.free_cached_pages()
                return Reply(True, f"{pages} cached KV pages are free now.", json.dumps({"pages": pages}))

    def _recent_load(self) -> Reply:
        """Refused where nothing serves, or there is no split to choose."""
        offer, in_force = self._rotation.offer, self._rotation.allocation_in_force
        scheduler = self._rotation.status["scheduler"]
        if offer.ladder is None or in_force is None or scheduler is None:
            return Reply(False, "No two workers serve here now, so there are no splits to compare.")
        told = {
            "load": self._watch.memory.recent(),
            "box": _limits(self._rotation.settings) | {"pages": scheduler["total_pages"]},
            "profile": offer.profile.as_dict(),
            "ladder": [str(rung) for rung in offer.ladder],
            "in_force": str(in_force),
        }
        return Reply(True, "", msgspec.json.encode(told).decode())

    def _set_target(self, command: SetTarget) -> Reply:
        """Refused, with nothing changed, where one request alone needs longer."""
        before = self._policy.status()["target"]
        target = SLOTarget(
            before["ttft_target_ms"] if command.ttft_ms is None else command.ttft_ms,
            before["tpot_target_ms"] if command.tpot_ms is None else command.tpot_ms,
        )
        alone = self._watch.alone
        if problem := alone.refusal(target):
            return Reply(False, f"{problem} Nothing was changed: {SLOTarget(**before)}.")
        settings = self._kept(
            command.by, command.reason, ttft_ms=target.ttft_target_ms, tpot_ms=target.tpot_target_ms,
            window_seconds=command.window_seconds, cooldown_seconds=command.cooldown_seconds,
            min_confidence=command.min_confidence,
        )  # fmt: skip
        self._aim(target, settings)
        unknown = "" if alone.is_known else " Not enough requests have shown yet whether they can be kept."
        return Reply(True, f"The targets are {target} now.{unknown}")

    def _aim(self, target: SLOTarget, settings: PolicySettings | None) -> None:
        """From now on."""
        self._policy.set_target(target)
        self._rotation.aim(target.ttft_target_ms, target.tpot_target_ms)
        if settings is not None:
            self._policy.set_pace(settings.window_seconds, settings.cooldown_seconds, settings.min_confidence)

    def _restore(self, name: str, by: str) -> Reply:
        """What was restored holds at once, as it would from the next start on."""
        if self._store is None:
            return Reply(False, "This appliance keeps no database, and so no backups.")
        restored = self._store.restore(name, by)
        if restored.policy is not None:
            self._aim(SLOTarget(restored.policy.ttft_ms, restored.policy.tpot_ms), restored.policy)
            has_splits = self._rotation.offer.ladder is not None
            self._policy.set_mode(Mode(restored.policy.mode) if has_splits else Mode.MANUAL)
        return Reply(True, restored.sentence)

    def _kept(self, by: str, reason: str, **changes: Any) -> PolicySettings | None:
        """Keep them before they hold: what is not on the disk would be gone at the next start. None without a store."""
        return None if self._store is None else self._store.change_policy(by, reason, **changes)

    def _set_mode(self, command: SetMode) -> Reply:
        mode = command.mode
        if mode not in list(Mode):
            raise ValueError(f"The policy can be {', '.join(Mode)}, not {mode!r}: nothing was changed.")
        if self._rotation.settings.mode is ServingMode.COLOCATED and mode != Mode.MANUAL:
            raise ValueError("One worker serves both phases here, so that there is no split for a policy to move.")
        self._kept(command.by, command.reason, mode=mode)
        self._policy.set_mode(Mode(mode))
        return Reply(True, f"The policy is on {mode} now.")

    def _rotate(self, command: AskRotation) -> Reply:
        allocation = SMAllocation(command.prefill_percentage, command.decode_percentage)
        if self._rotation.settings.mode is ServingMode.COLOCATED and not command.new_group:
            raise ValueError("One worker serves both phases here: there is no split; --new-group renews the worker.")
        record = self._rotation.rotate(allocation, reason=command.reason, new_group=command.new_group)
        return Reply(not record.problem, record.sentence, msgspec.json.encode(record.as_dict()).decode())


def _limits(settings: ServerArgs) -> dict[str, Any]:
    """As a simulated box has them."""
    names = (
        "page_size",
        "max_model_len",
        "max_running_requests",
        "max_queued_requests",
        "max_queue_seconds",
        "prefill_token_budget",
    )
    return {name: getattr(settings, name) for name in (*names, "borrowing", "in_place")}
