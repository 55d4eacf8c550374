"""The appliance in one object: the engine and its split, its KV storage for callers, its status in one piece."""

from __future__ import annotations

import json
from concurrent.futures import Future
from typing import Any

import msgspec

from appliance.control.messages import AskRotation, AskStatus, Command, Reply
from appliance.control.server import ControlServer
from appliance.rotation import ProcessRotationManager
from engine.allocation import SMAllocation
from engine.config import PortArgs


class SemiPDCoordinator:
    """Starts and stops everything together, and answers on the controller's socket meanwhile."""

    def __init__(self, rotation_manager: ProcessRotationManager, port_args: PortArgs):
        self.rotation_manager = rotation_manager
        self._control = ControlServer(port_args.controller_address, self.handle)

    def start(self) -> None:
        """Serve when this returns. Raises `CannotStart`; then nothing is left running."""
        try:
            self.start_in_background().result()
        except BaseException:
            self.stop()
            raise

    def start_in_background(self) -> Future[None]:
        """Begin to start; the future tells when it serves."""
        self._control.start()
        return self.rotation_manager.start_in_background()

    def kill(self) -> None:
        """End every process at once; for use while `stop` waits."""
        self.rotation_manager.kill()

    def stop(self) -> None:
        """Drain, and end every process."""
        self.rotation_manager.stop()
        self._control.stop()

    def __enter__(self) -> SemiPDCoordinator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ── asked ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_comprehensive_status(self) -> dict[str, Any]:
        """Groups and their processes, the split, storage use, the last rotations: plain, JSON-able data."""
        return self.rotation_manager.status

    def health_check(self) -> dict[str, Any]:
        """Whether requests are served now, and if not, why."""
        status = self.rotation_manager.status
        healthy = status["split_in_force"] is not None
        return {"healthy": healthy, "reason": "" if healthy else "No group of workers serves."}

    def handle(self, command: Command) -> Reply:
        """Do what was asked on the socket."""
        match command:
            case AskStatus():
                return Reply(True, "", json.dumps(self.get_comprehensive_status()))
            case AskRotation():
                return self._rotate(command)

    def _rotate(self, command: AskRotation) -> Reply:
        allocation = SMAllocation(command.prefill_percentage, command.decode_percentage)
        record = self.rotation_manager.rotate(allocation, reason=command.reason, new_group=command.new_group)
        return Reply(not record.problem, record.sentence, msgspec.json.encode(record.as_dict()).decode())
