"""A group that takes too much is spoken of, and another that would find no room is not started."""

from __future__ import annotations

import sys

import pytest

from appliance.rotation import ProcessRotationManager
from appliance.rotation.memory import GroupMemory, free_bytes_of
from engine.allocation import SMAllocation
from engine.config import PortArgs, ServerArgs
from tests.system.appliance import unused_port

MIB = 1 << 20


def memory(measured: dict[int, int], free: int | None, asked: int | None = None, device: str = "cuda") -> GroupMemory:
    settings = ServerArgs(group_memory_bytes=asked).model_copy(update={"device": device})
    return GroupMemory(settings, measured, lambda: free)


def test_a_group_beyond_what_it_was_given_is_spoken_of() -> None:
    groups = memory({1: 900 * MIB, 2: 1100 * MIB}, None, asked=1000 * MIB)
    assert groups.warning(1) == ""
    assert "takes 1100.0 MiB" in groups.warning(2) and "was given 1000.0 MiB" in groups.warning(2)
    assert f"group_memory_bytes to at least {1100 * MIB}" in groups.warning(2)


def test_a_group_needs_what_the_one_that_serves_takes() -> None:
    groups = memory({3: 900 * MIB}, 899 * MIB, asked=4000 * MIB)
    assert "needs 900.0 MiB" in groups.refusal(3) and "899.0 MiB are free" in groups.refusal(3)
    assert memory({3: 900 * MIB}, 900 * MIB).refusal(3) == ""


def test_a_group_that_was_not_measured_needs_what_it_is_given() -> None:
    assert "needs 500.0 MiB" in memory({}, 499 * MIB, asked=500 * MIB).refusal(3)
    assert "needs 4096.0 MiB" in memory({}, 499 * MIB).refusal(3)


def test_nobody_is_refused_for_what_is_not_known() -> None:
    assert memory({3: 900 * MIB}, None).refusal(3) == ""
    assert memory({}, 0, device="cpu").refusal(3) == ""


def test_status_has_what_was_measured_beside_what_was_given() -> None:
    assert memory({3: 5, 4: 6}, None, asked=7).describe() == {"budget_bytes": 7, "group_bytes": {"3": 5, "4": 6}}
    assert memory({}, None, device="cpu").describe()["budget_bytes"] is None


def test_the_machine_says_what_is_free() -> None:
    free = free_bytes_of(ServerArgs().for_device("cpu"))()
    assert free is not None and free > 0


def test_a_gpu_without_its_library_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert free_bytes_of(ServerArgs().model_copy(update={"device": "cuda"}))() is None


@pytest.mark.system
def test_a_group_without_room_is_not_started_and_the_other_serves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.rotation.manager.free_bytes_of", lambda settings: lambda: MIB)
    settings = ServerArgs(device="cpu", port=unused_port())
    with ProcessRotationManager(settings, PortArgs.init_new(settings), SMAllocation(50, 50), endpoint=False) as manager:
        groups, used = manager.status["groups"], manager.status["memory"]["group_bytes"]["1"]
        refused = manager.rotate(SMAllocation(50, 50), new_group=True)
        assert f"needs {used / MIB:.1f} MiB" in refused.problem and "1.0 MiB are free" in refused.problem
        assert manager.status["groups"] == groups
        assert manager.allocation_in_force == SMAllocation(50, 50)
