"""The appliance in one object: the engine and its split, the SLO policy, KV storage for callers, one status."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

import msgspec

from appliance.control.desk import ControlDesk
from appliance.control.messages import Command, Reply
from appliance.control.server import ControlServer
from appliance.load_watch import LOOK_SECONDS, LoadWatch
from appliance.rotation import ProcessRotationManager
from appliance.slo import Mode, SLOAwareResourceManager, SLOTarget, WorkloadMetrics
from appliance.store.store import Store
from appliance.supervisor.systemd import Units
from engine.allocation import SMAllocation
from engine.config import InstanceRole, PortArgs, ServerArgs
from engine.storage import UnifiedStorageManager
from engine.storage.handles import BlockHandles
from engine.wire.to_controller import LoadReport

KV_BLOCKS, KV_BLOCK_BYTES = 1024, 4096


class SemiPDCoordinator:
    """Starts and stops everything together, and answers on the controller's socket meanwhile."""

    def __init__(
        self,
        rotation_manager: ProcessRotationManager,
        slo_manager: SLOAwareResourceManager,
        port_args: PortArgs,
        store: Store | None = None,
        units: Units | None = None,
    ):
        self.rotation_manager = rotation_manager
        self.slo_manager = slo_manager
        self._store = store
        offered = rotation_manager.offer.profile
        self._watch = LoadWatch(slo_manager, offered, lambda: rotation_manager.allocation_in_force)
        self._desk = ControlDesk(
            rotation_manager, slo_manager, self._watch, self.get_comprehensive_status, store, units
        )
        self._started_at: float | None = None
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
        target = self.slo_manager.status()["target"]
        self.rotation_manager.aim(target["ttft_target_ms"], target["tpot_target_ms"])
        self.rotation_manager.watch_load(LOOK_SECONDS, self._observe)
        self.slo_manager.start()
        if self._store is not None:
            self._store.watch(self.get_comprehensive_status, self.rotation_manager.settings)
        self._started_at = time.time()
        return started

    def stop(self) -> None:
        """Drain, and end every process. A rotation that somebody waits for is concluded first."""
        if self._store is not None:
            self._store.stop_watching()
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
        slo = self.slo_manager.status() | {"alone": asdict(self._watch.alone), "ladder": self._ladder()}
        store = self._store.status if self._store else None
        return self._about() | status | {"slo": slo, "storage": storage, "store": store, "health": health_of(status)}

    def _ladder(self) -> dict[str, Any]:
        """The splits that the policy may choose, with each phase's speed there relative to the whole device."""
        offer = self.rotation_manager.offer
        rungs = [{"split": str(rung)} | offer.profile.speeds(rung)._asdict() for rung in offer.ladder or ()]
        return {"rungs": rungs, "is_measured": offer.measured is not None}

    def _about(self) -> dict[str, Any]:
        """What runs here, since when."""
        settings = self.rotation_manager.settings
        return {
            "model": settings.model_name,
            "device": settings.device,
            "mode": str(settings.mode),
            "started_at": self._started_at,
        }

    def health_check(self) -> dict[str, Any]:
        """Whether requests are served now, and if not, why."""
        return health_of(self.rotation_manager.status)

    def handle(self, command: Command) -> Reply:
        """Do what was asked on the socket."""
        return self._desk.handle(command)

    def _observe(self, report: LoadReport) -> None:
        """In the rotation manager's thread."""
        self._watch.observe(report)
        if self._store is not None:
            self._store.observe(report)


def health_of(status: dict[str, Any]) -> dict[str, Any]:
    """Whether requests are served, by the rotation manager's status, and if not, why."""
    if status["split_in_force"] is None:
        return {"healthy": False, "reason": "No group of workers serves."}
    if status["scheduler"] is None:
        return {"healthy": False, "reason": "The scheduler does not answer."}
    return {"healthy": True, "reason": ""}


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
    store: Store | None = None,
    units: Units | None = None,
    **rotation_options: Any,
) -> SemiPDCoordinator:
    """A coordinator that is not started yet; `rotation_options` go to `ProcessRotationManager`.

    `store`, if there is one, has been started; whoever made it stops it after the coordinator. `units`: where the
    processes are services of the machine.
    """
    if store is not None:
        rotation_options["on_record"] = store.journal.rotation
    allocation = SMAllocation(prefill_sm_percentage, decode_sm_percentage)
    rotation = ProcessRotationManager(server_args, port_args, allocation, **rotation_options)
    if rotation.offer.ladder is None:
        mode = Mode.MANUAL  # one worker has no split
    policy = SLOAwareResourceManager(
        SLOTarget(ttft_target_ms, tpot_target_ms),
        rotation,
        window_size_seconds,
        adjustment_cooldown_seconds,
        min_confidence_threshold,
        ladder=rotation.offer.ladder,
        profile=rotation.offer.profile,
        mode=mode,
        on_record=store.journal.decision if store else lambda record: None,
    )
    return SemiPDCoordinator(rotation, policy, port_args, store, units)


def coordinator_of(settings: ServerArgs, ports: PortArgs, initial: SMAllocation, **options: Any) -> SemiPDCoordinator:
    """One that goes by its settings, from the split `initial` on; `options` as for `create_semi_pd_coordinator`."""
    return create_semi_pd_coordinator(
        settings,
        ports,
        initial.prefill_percentage,
        initial.decode_percentage,
        settings.ttft_target_ms,
        settings.tpot_target_ms,
        window_size_seconds=settings.window_size_seconds,
        adjustment_cooldown_seconds=settings.adjustment_cooldown_seconds,
        min_confidence_threshold=settings.min_confidence_threshold,
        mode=Mode(settings.policy),
        **options,
    )
