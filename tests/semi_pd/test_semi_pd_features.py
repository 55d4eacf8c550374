"""The Python API, snippet by snippet, on the CPU with the demo model: rotation, storage, SLO policy, coordinator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import torch

from appliance.coordinator import SemiPDCoordinator, create_semi_pd_coordinator
from appliance.rotation import ProcessRotationManager, SMAllocation
from appliance.slo import SLOAwareResourceManager, SLOTarget, WorkloadMetrics
from engine.config import InstanceRole, PortArgs, ServerArgs
from engine.storage import UnifiedStorageManager
from tests.system.appliance import unused_port

pytestmark = pytest.mark.system


def settings() -> tuple[ServerArgs, PortArgs]:
    server_args = ServerArgs(device="cpu", port=unused_port())
    return server_args, PortArgs.init_new(server_args)


def metrics(ttft_p95: float = 80.0, tpot_p95: float = 40.0) -> WorkloadMetrics:
    return WorkloadMetrics(
        timestamp=time.time(),
        prefill_queue_length=5,
        decode_queue_length=10,
        prefill_throughput=1000.0,
        decode_throughput=2000.0,
        ttft_p95=ttft_p95,
        tpot_p95=tpot_p95,
        prefill_utilization=0.7,
        decode_utilization=0.8,
    )


@pytest.fixture(scope="class")
def rotation_manager() -> Iterator[ProcessRotationManager]:
    server_args, port_args = settings()
    allocation = SMAllocation(prefill_percentage=70, decode_percentage=30)
    rotation_manager = ProcessRotationManager(
        server_args=server_args, port_args=port_args, initial_sm_allocation=allocation
    )
    rotation_manager.start()
    yield rotation_manager
    rotation_manager.stop()


class TestRotation:
    def test_another_split_is_live_when_the_request_returns(self, rotation_manager: ProcessRotationManager) -> None:
        success = rotation_manager.request_sm_reallocation(SMAllocation(prefill_percentage=60, decode_percentage=40))
        assert success
        status = rotation_manager.status
        assert status["split_in_force"] == "60/40"
        shares = {worker["share_percentage"] for worker in status["scheduler"]["workers"] if worker["is_active"]}
        assert shares == {60, 40}

    def test_processes_are_replaced_where_that_is_asked_for(self, rotation_manager: ProcessRotationManager) -> None:
        before = {pid for group in rotation_manager.status["groups"] for pid in group["pids"]}
        assert rotation_manager.request_sm_reallocation(SMAllocation(60, 40), new_group=True)
        (active,) = [group for group in rotation_manager.status["groups"] if group["stage"] == "active"]
        assert not before & set(active["pids"])

    def test_every_rotation_is_in_the_status_with_its_sentence(self, rotation_manager: ProcessRotationManager) -> None:
        assert rotation_manager.request_sm_reallocation(SMAllocation(50, 50), reason="a try")
        record = rotation_manager.status["rotations"][-1]
        assert record["sentence"].startswith(f"Rotation {record['number']} to 50/50 (a try) was live after ")

    @pytest.mark.parametrize("share", [0, 101, -1, "70", 33.3, True])
    def test_a_share_that_is_none_is_refused_in_a_sentence(self, share: object) -> None:
        with pytest.raises(ValueError, match="The prefill share must be a whole percentage from 1 to 100"):
            SMAllocation(share, 30)  # type: ignore[arg-type]


class TestStorage:
    def test_blocks_are_allocated_shared_and_freed(self) -> None:
        with UnifiedStorageManager(
            total_blocks=100, block_size=4096, device=torch.device("cpu"), enable_prefix_caching=True
        ) as storage_manager:
            block_ids = storage_manager.allocate_blocks(
                request_id="req_123", num_blocks=10, requester_role=InstanceRole.PREFILL
            )
            assert len(set(block_ids)) == 10
            handles = storage_manager.get_block_handles("req_123")
            assert len(handles.spans) == 10
            assert storage_manager.share_blocks("req_123", "req_124")
            assert not storage_manager.share_blocks("nobody", "req_125")
            storage_manager.deallocate_blocks("req_123")
            storage_manager.deallocate_blocks("req_124")
            assert storage_manager.get_statistics().free_blocks == 100


class FixedSplit:
    """A rotation manager that only remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[SMAllocation] = []
        self.allocation_in_force = SMAllocation(50, 50)

    def request_sm_reallocation(self, sm_allocation: SMAllocation, *, reason: str = "") -> bool:
        self.asked.append(sm_allocation)
        self.allocation_in_force = sm_allocation
        return True


class TestPolicy:
    def test_metrics_are_reported_and_decided_on(self) -> None:
        rotation_manager = FixedSplit()
        slo_target = SLOTarget(ttft_target_ms=100.0, tpot_target_ms=50.0)
        slo_manager = SLOAwareResourceManager(
            slo_target=slo_target,
            process_rotation_manager=rotation_manager,
            window_size_seconds=30.0,
            adjustment_cooldown_seconds=60.0,
        )
        slo_manager.start()
        slo_manager.report_metrics(metrics())
        record = slo_manager.decide()
        slo_manager.stop()
        assert record is not None
        assert record.sentence
        assert rotation_manager.asked == [], "one report is too little to act on"


@pytest.fixture(scope="class")
def coordinator() -> Iterator[SemiPDCoordinator]:
    server_args, port_args = settings()
    coordinator = create_semi_pd_coordinator(
        server_args=server_args,
        port_args=port_args,
        prefill_sm_percentage=70,
        decode_sm_percentage=30,
        ttft_target_ms=100.0,
        tpot_target_ms=50.0,
    )
    coordinator.start()
    yield coordinator
    coordinator.stop()


class TestCoordinator:
    def test_kv_blocks_come_with_handles_and_go(self, coordinator: SemiPDCoordinator) -> None:
        handles = coordinator.allocate_kv_blocks("req_id", 10, InstanceRole.PREFILL)
        assert len(handles.spans) == 10
        assert coordinator.get_comprehensive_status()["storage"]["used_blocks"] == 10
        coordinator.deallocate_kv_blocks("req_id")
        assert coordinator.get_comprehensive_status()["storage"]["used_blocks"] == 0

    def test_metrics_are_taken(self, coordinator: SemiPDCoordinator) -> None:
        coordinator.report_workload_metrics(metrics())

    def test_the_status_is_json_and_complete(self, coordinator: SemiPDCoordinator) -> None:
        status = coordinator.get_comprehensive_status()
        assert json.loads(json.dumps(status)).keys() == status.keys()
        assert status["split_in_force"] == "70/30"
        assert len(status["groups"][0]["pids"]) == 2
        assert {"groups", "processes", "scheduler", "slo", "storage", "rotations"} <= set(status)

    def test_it_is_healthy(self, coordinator: SemiPDCoordinator) -> None:
        assert coordinator.health_check() == {"healthy": True, "reason": ""}
