"""The appliance in one object: the engine and its split, the SLO policy, KV storage for callers, one status."""

from __future__ import annotations

import json
from concurrent.futures import Future
from typing import Any

import msgspec

from appliance.control.messages import AskDecisions, AskRotation, AskStatus, Command, Reply, SetMode, SetTarget
from appliance.control.server import ControlServer
from appliance.rotation import ProcessRotationManager
from appliance.slo import Mode, RequestRecord, SLOAwareResourceManager, SLOTarget, WorkloadMetrics, WorkTotals
from engine.allocation import SMAllocation
from engine.config import InstanceRole, PortArgs, ServerArgs
from engine.config import Mode as ServingMode
from engine.storage import UnifiedStorageManager
from engine.storage.handles import BlockHandles
from engine.wire.to_controller import LoadReport

LOOK_SECONDS = 1.0
"""How often the policy is told how far requests have come."""
KV_BLOCKS, KV_BLOCK_BYTES = 1024, 4096


class SemiPDCoordinator:
    """Starts and stops everything together, and answers on the controller's socket meanwhile."""

    def __init__(
        self, rotation_manager: ProcessRotationManager, slo_manager: SLOAwareResourceManager, port_args: PortArgs
    ):
        self.rotation_manager = rotation_manager
        self.slo_manager = slo_manager
        self._control = ControlServer(port_args.controller_address, self.handle)
        self._storage: UnifiedStorageManager | None = None

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

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
        started = self.rotation_manager.start_in_background()
        self.rotation_manager.watch_load(LOOK_SECONDS, self._observe)
        self.slo_manager.start()
        return started

    def stop(self) -> None:
        """Drain, and end every process. A rotation that somebody waits for is concluded first."""
        self.rotation_manager.stop()
        self.slo_manager.stop()
        self._control.stop()
        if self._storage is not None:
            self._storage.close()
            self._storage = None

    def kill(self) -> None:
        """End every process at once; for use while `stop` waits."""
        self.rotation_manager.kill()

    def __enter__(self) -> SemiPDCoordinator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ── KV blocks for callers ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def storage(self) -> UnifiedStorageManager:
        """Blocks for programs beside the engine, which has an allocator of its own; made when first asked for.

        `KV_BLOCKS` blocks of `KV_BLOCK_BYTES` bytes on the engine's device.
        """
        if self._storage is None:
            device = self.rotation_manager.settings.device
            self._storage = UnifiedStorageManager(KV_BLOCKS, KV_BLOCK_BYTES, device, enable_prefix_caching=True)
        return self._storage

    def allocate_kv_blocks(self, request_id: str, num_blocks: int, requester_role: InstanceRole) -> BlockHandles:
        """Allocate and tell how to map them. Raises `SemiPDError` where so many are not free."""
        self.storage.allocate_blocks(request_id=request_id, num_blocks=num_blocks, requester_role=requester_role)
        return self.storage.get_block_handles(request_id)

    def deallocate_kv_blocks(self, request_id: str) -> bool:
        """False for a request that holds nothing."""
        return self.storage.deallocate_blocks(request_id)

    # ── told and asked ──────────────────────────────────────────────────────────────────────────────────────────────

    def report_workload_metrics(self, metrics: WorkloadMetrics) -> None:
        """For callers who measure themselves."""
        self.slo_manager.report_metrics(metrics)

    def get_comprehensive_status(self) -> dict[str, Any]:
        """Groups and their processes, split, storage use, SLO attainment, decisions and rotations: JSON-able."""
        status = self.rotation_manager.status
        storage = msgspec.to_builtins(self._storage.get_statistics()) if self._storage else None
        return status | {"slo": self.slo_manager.status(), "storage": storage}

    def health_check(self) -> dict[str, Any]:
        """Whether requests are served now, and if not, why."""
        status = self.rotation_manager.status
        if status["split_in_force"] is None:
            return {"healthy": False, "reason": "No group of workers serves."}
        if status["scheduler"] is None:
            return {"healthy": False, "reason": "The scheduler does not answer."}
        return {"healthy": True, "reason": ""}

    def handle(self, command: Command) -> Reply:
        """Do what was asked on the socket."""
        match command:
            case AskStatus():
                return Reply(True, "", json.dumps(self.get_comprehensive_status(), default=str))
            case AskRotation():
                return self._rotate(command)
            case AskDecisions(limit):
                records = [record.as_dict() for record in self.slo_manager.decisions[-max(limit, 1) :]]
                return Reply(True, "", json.dumps(records, default=str))
            case SetTarget(ttft_ms, tpot_ms):
                self.slo_manager.set_target(SLOTarget(ttft_ms, tpot_ms))
                return Reply(True, f"The targets are {ttft_ms:g} ms to the first token and {tpot_ms:g} ms a token now.")
            case SetMode(mode):
                self.slo_manager.set_mode(Mode(mode))
                return Reply(True, f"The policy is on {mode} now.")

    def _rotate(self, command: AskRotation) -> Reply:
        allocation = SMAllocation(command.prefill_percentage, command.decode_percentage)
        record = self.rotation_manager.rotate(allocation, reason=command.reason, new_group=command.new_group)
        return Reply(not record.problem, record.sentence, msgspec.json.encode(record.as_dict()).decode())

    def _observe(self, report: LoadReport) -> None:
        """In the rotation manager's thread."""
        for progress in report.requests:
            self.slo_manager.observe(RequestRecord(**msgspec.structs.asdict(progress)))
        for request_id in report.cancelled:
            self.slo_manager.forget(request_id)
        self.slo_manager.count_work(
            WorkTotals(
                report.prefill_tokens,
                report.prefill_seconds,
                report.decode_tokens,
                report.decode_steps,
                report.decode_seconds,
            )
        )


def create_semi_pd_coordinator(
    server_args: ServerArgs,
    port_args: PortArgs,
    prefill_sm_percentage: int = 80,
    decode_sm_percentage: int = 100,
    ttft_target_ms: float = 1000.0,
    tpot_target_ms: float = 100.0,
    *,
    window_size_seconds: float = 30.0,
    adjustment_cooldown_seconds: float = 60.0,
    min_confidence_threshold: float = 0.7,
    mode: Mode = Mode.AUTO,
    **rotation_options: Any,
) -> SemiPDCoordinator:
    """A coordinator that is not started yet; `rotation_options` go to `ProcessRotationManager`."""
    allocation = SMAllocation(prefill_sm_percentage, decode_sm_percentage)
    rotation = ProcessRotationManager(server_args, port_args, allocation, **rotation_options)
    if server_args.mode is ServingMode.COLOCATED:
        mode = Mode.MANUAL  # one worker has no split
    policy = SLOAwareResourceManager(
        SLOTarget(ttft_target_ms, tpot_target_ms),
        rotation,
        window_size_seconds,
        adjustment_cooldown_seconds,
        min_confidence_threshold,
        mode=mode,
    )
    return SemiPDCoordinator(rotation, policy, port_args)
