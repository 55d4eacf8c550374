"""The manager as its callers use it, over a rotation manager that only notes what it is asked for."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field

import pytest

from appliance.slo import Mode, RequestRecord, SLOAwareResourceManager, SLOTarget, WorkloadMetrics
from appliance.slo.decisions import DecisionRecord
from appliance.slo.wall_clock import WallClockWatch
from engine.allocation import SMAllocation


@dataclass
class NotedRotation:
    allocation_in_force: SMAllocation | None = field(default_factory=lambda: SMAllocation(50, 50))
    grants: bool = True
    asked: list[SMAllocation] = field(default_factory=list)

    def request_sm_reallocation(self, sm_allocation: SMAllocation, *, reason: str = "") -> bool:
        self.asked.append(sm_allocation)
        if self.grants:
            self.allocation_in_force = sm_allocation
        return self.grants


@dataclass
class Stage:
    """A manager whose clock is moved by hand."""

    rotation: NotedRotation = field(default_factory=NotedRotation)
    now: float = 0.0
    records: list[str] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self.manager = SLOAwareResourceManager(
            SLOTarget(100.0, 50.0), self.rotation, on_record=self._note, clock=lambda: self.now
        )

    def _note(self, record: DecisionRecord) -> None:
        self.records.append(record.sentence)

    def window(self, ttft: float, tpot: float, count: int = 30) -> DecisionRecord | None:
        """A window of such requests, and the decision at its end. Seconds."""
        for number in range(count):
            self.requests += 1
            at = self.now + 0.9 * 30.0 * number / count
            first = at + ttft
            record = RequestRecord(self.requests, at, 100, first, first + 10 * tpot, 11, is_finished=True)
            self.manager.observe(record)
        self.now += 30.0
        return self.manager.decide()


def test_the_documented_snippet() -> None:
    rotation = NotedRotation()
    slo_target = SLOTarget(ttft_target_ms=100.0, tpot_target_ms=50.0)
    slo_manager = SLOAwareResourceManager(
        slo_target=slo_target,
        process_rotation_manager=rotation,
        window_size_seconds=30.0,
        adjustment_cooldown_seconds=60.0,
    )
    slo_manager.start()
    slo_manager.report_metrics(
        WorkloadMetrics(
            timestamp=time.time(), prefill_queue_length=5, decode_queue_length=10, prefill_throughput=1000.0,
            decode_throughput=2000.0, ttft_p95=80.0, tpot_p95=40.0, prefill_utilization=0.7, decode_utilization=0.8,
        )
    )  # fmt: skip
    status = slo_manager.status()
    slo_manager.stop()
    assert status["seen"]["ttft_ms"][1] == 80.0
    assert (status["seen"]["waiting"], status["seen"]["running"]) == (5, 10)
    assert json.loads(json.dumps(status)) is not None
    assert rotation.asked == []


def test_late_first_tokens_give_prefill_more_and_what_came_of_it_is_kept() -> None:
    stage = Stage()
    for ttft in (0.08, 0.09, 0.15, 0.15):
        stage.window(ttft, tpot=0.01)
    assert stage.rotation.asked and stage.rotation.asked[0].prefill_percentage > 50
    for _ in range(2):
        stage.window(ttft=0.08, tpot=0.015)
    moved = next(record for record in stage.manager.decisions if record.was_taken)
    assert moved.outcome.startswith("A window later, at ") and "both targets kept" in moved.outcome
    assert moved.error is not None and 0 <= moved.error <= 1
    assert stage.manager.status()["prediction_error"] is not None
    assert any("A window later" in sentence for sentence in stage.records)
    assert json.dumps([record.as_dict() for record in stage.manager.decisions])


def test_a_change_that_is_refused_is_on_the_record_and_asked_again_only_after_the_cooldown() -> None:
    stage = Stage(NotedRotation(grants=False))
    for _ in range(5):
        stage.window(ttft=0.3, tpot=0.01)
    refused = [record for record in stage.manager.decisions if record.was_taken is False]
    assert len(stage.rotation.asked) == len(refused) == 2
    assert "refused or rolled back" in refused[0].sentence


def test_nothing_is_decided_while_nothing_serves() -> None:
    stage = Stage(NotedRotation(allocation_in_force=None))
    assert stage.window(ttft=5.0, tpot=1.0) is None
    assert stage.manager.decisions == []


def test_modes_and_targets_can_change() -> None:
    stage = Stage()
    stage.manager.set_mode(Mode.HOLD)
    for _ in range(4):
        stage.window(ttft=0.3, tpot=0.01)
    assert stage.rotation.asked == []
    stage.manager.set_mode(Mode.AUTO)
    stage.manager.set_target(SLOTarget(1000.0, 50.0))
    record = stage.window(ttft=0.3, tpot=0.01)
    assert record is not None
    assert record.sentence.endswith("both targets are kept.")


def test_the_job_decides_and_is_gone_after_stop() -> None:
    decided = threading.Event()
    rotation = NotedRotation()
    manager = SLOAwareResourceManager(
        SLOTarget(100.0, 50.0), rotation, window_size_seconds=0.05, on_record=lambda record: decided.set()
    )
    manager.start()
    manager.start()
    assert decided.wait(20)
    manager.stop()
    manager.stop()
    count = len(manager.decisions)
    assert count >= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "wall-clock"]


@pytest.mark.parametrize(("jump", "noticed"), [(0.0, False), (0.4, False), (3600.0, True), (-3600.0, True)])
def test_a_jump_of_the_wall_clock_is_noticed_once(jump: float, noticed: bool) -> None:
    jumps: list[str] = []
    wall = [1000.0]
    watch = WallClockWatch(lambda: jumps.append("jump"), 1.0, wall=lambda: wall[0], steady=lambda: 50.0)
    wall[0] += jump
    assert (watch.look(), watch.look()) == (noticed, False)
    assert len(jumps) == noticed


def test_observing_from_many_threads_loses_nothing() -> None:
    stage = Stage()

    def report(first_id: int) -> None:
        for number in range(200):
            stage.manager.observe(RequestRecord(first_id + number, 1.0, 10))

    threads = [threading.Thread(target=report, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.now = 2.0
    assert stage.manager.status()["seen"]["waiting"] == 1600


def test_a_change_by_hand_begins_a_cooldown_of_its_own() -> None:
    stage = Stage()
    for _ in range(4):
        stage.window(ttft=0.08, tpot=0.01)
    stage.rotation.allocation_in_force = SMAllocation(40, 60)
    decided = [stage.window(ttft=0.5, tpot=0.01) for _ in range(3)]
    sentences = [record.sentence for record in decided if record is not None]
    assert "60 s of cooldown are left" in sentences[0] and "30 s of cooldown are left" in sentences[1]
    assert len(stage.rotation.asked) == 1
