"""The rotation manager over real processes, without an endpoint."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from appliance.attention import Attention, Closed
from appliance.engine_processes import EngineProcesses
from appliance.rotation import ProcessRotationManager, SMAllocation
from appliance.rotation.history import Way
from engine.config import PortArgs, ServerArgs
from engine.errors import CannotStart
from tests.system.appliance import unused_port

pytestmark = pytest.mark.system

ALL = 8
"""Resident, scheduler, leaders, two workers and two spares."""


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The slots whose MPS daemons would be asked, on a GPU."""
    slots: list[str] = []
    monkeypatch.setattr(EngineProcesses, "slot_lost_a_group", lambda processes, slot: slots.append(slot))
    return slots


@pytest.fixture
def manager(lost: list[str]) -> Iterator[ProcessRotationManager]:
    settings = ServerArgs(device="cpu", port=unused_port())
    manager = ProcessRotationManager(settings, PortArgs.init_new(settings), SMAllocation(50, 50), endpoint=False)
    manager.start()
    yield manager
    manager.stop()


def processes_of(manager: ProcessRotationManager) -> list[psutil.Process]:
    """Those that are told its directory; another test beside this one has its own."""
    directory = str(manager.ports.runtime_dir)
    return [process for process in psutil.Process().children(recursive=True) if directory in process.cmdline()]


def group_pids(manager: ProcessRotationManager) -> set[int]:
    return {pid for group in manager.status["groups"] for pid in group["pids"]}


def active_pids(manager: ProcessRotationManager) -> set[int]:
    return {pid for group in manager.status["groups"] if group["stage"] == "active" for pid in group["pids"]}


def test_whoever_waits_for_a_rotation_hears_of_the_end(manager: ProcessRotationManager) -> None:
    below = processes_of(manager)
    for _ in range(50):
        if len(below) >= ALL:
            break
        time.sleep(0.1)  # the second spare is on its way
        below = processes_of(manager)
    assert len(below) >= ALL
    with ThreadPoolExecutor(2) as callers:
        splits = [SMAllocation(share, 100 - share) for share in (60, 70)]
        waiting = [callers.submit(manager.rotate, split, new_group=True) for split in splits]
        manager.kill()
        problems = {future.result(30).problem for future in waiting}
    assert problems == {"The appliance stops."}
    assert manager.allocation_in_force is None
    manager.stop()
    _, left = psutil.wait_procs(below, timeout=5)  # those of a leader that was killed end by themselves
    assert not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_group_that_dies_while_it_starts_leaves_the_active_one_alone(
    manager: ProcessRotationManager, lost: list[str]
) -> None:
    active = group_pids(manager)
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(manager.rotate, SMAllocation(60, 40), new_group=True)
        while not (coming := group_pids(manager) - active):
            pass
        os.kill(coming.pop(), signal.SIGKILL)
        record = waiting.result(60)
    assert record.problem
    assert manager.allocation_in_force == SMAllocation(50, 50)
    assert active <= group_pids(manager)
    assert not manager.rotate(SMAllocation(60, 40), new_group=True).problem
    assert lost == ["b"], "its daemon is asked, and not that of a group that was told to end"
    assert manager.request_sm_reallocation(SMAllocation(60, 40), new_group=True), "and the next rotation is made"


def test_a_split_is_taken_in_place_and_the_record_says_so(manager: ProcessRotationManager) -> None:
    before = group_pids(manager)
    for split in (SMAllocation(60, 40), SMAllocation(80, 100), SMAllocation(30, 70)):
        record = manager.rotate(split, reason="a try")
        assert record.way is Way.IN_PLACE and record.epoch == 1 and not record.problem
        assert record.sentence.endswith(" s, in place.")
        status = manager.status
        assert (status["split_in_force"], status["split_reached"]) == (str(split), "in place")
        shares = {tuple(worker["phases"]): worker["share_percentage"] for worker in status["scheduler"]["workers"]}
        assert shares == {("prefill",): split.prefill_percentage, ("decode",): split.decode_percentage}
    assert group_pids(manager) == before
    renewed = manager.rotate(SMAllocation(30, 70), new_group=True)
    assert renewed.way is Way.NEW_GROUP and renewed.epoch == 2
    assert not before & active_pids(manager)
    assert manager.status["split_reached"] == "with a new group"


def test_a_takeover_comes_back_at_the_split_taken_in_place(manager: ProcessRotationManager) -> None:
    assert manager.request_sm_reallocation(SMAllocation(20, 80))
    before = active_pids(manager)
    os.kill(next(iter(before)), signal.SIGKILL)
    while not (now := active_pids(manager)) or now & before:
        pass
    assert manager.allocation_in_force == SMAllocation(20, 80)
    workers = [worker for worker in manager.status["scheduler"]["workers"] if worker["is_active"]]
    assert {worker["share_percentage"] for worker in workers} == {20, 80}


def test_without_in_place_every_split_takes_a_new_group() -> None:
    settings = ServerArgs(device="cpu", port=unused_port(), in_place=False)
    with ProcessRotationManager(settings, PortArgs.init_new(settings), SMAllocation(50, 50), endpoint=False) as manager:
        assert [worker["prepared"] for worker in manager.status["scheduler"]["workers"]] == [(50,), (50,)]
        record = manager.rotate(SMAllocation(60, 40))
        assert record.way is Way.NEW_GROUP and record.not_in_place == ""


def test_a_model_that_cannot_be_served_is_one_sentence_and_leaves_nothing(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    settings = ServerArgs(model_path=tmp_path, device="cpu", port=unused_port())
    manager = ProcessRotationManager(settings, PortArgs.init_new(settings), SMAllocation(50, 50), endpoint=False)
    with pytest.raises(CannotStart, match="GPT2LMHeadModel"):
        manager.start()
    assert not [child for child in psutil.Process().children() if "engine.resident" in child.cmdline()]


def test_nobody_attends_after_the_end() -> None:
    attention = Attention()
    attention.close()
    with pytest.raises(Closed):
        attention.call(lambda: None).result()
