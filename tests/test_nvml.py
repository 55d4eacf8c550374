"""What the management library says, with a stand-in for it that counts who has begun and ended."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from engine.nvml import GpuMemory


class FakeNvml:
    """Two GPUs, one process; like the real one, it answers only between init and shutdown."""

    def __init__(self) -> None:
        self.depth = 0

    def nvmlInit(self) -> None:  # noqa: N802  the library's own names
        self.depth += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.depth -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return ["GPU-aa", "GPU-bb"][index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:  # noqa: N802
        assert self.depth == 1
        return SimpleNamespace(free={"GPU-aa": 100, "GPU-bb": 200}[handle])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        assert self.depth == 1
        return [SimpleNamespace(pid=7, usedGpuMemory=50), SimpleNamespace(pid=8, usedGpuMemory=None)]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
    return fake


def test_a_gpu_is_named_by_index_or_uuid(nvml: FakeNvml) -> None:
    assert (GpuMemory("0").free_bytes, GpuMemory("GPU-bb").free_bytes) == (100, 200)
    assert nvml.depth == 0


def test_a_process_is_told_what_it_has_if_the_driver_says(nvml: FakeNvml) -> None:
    assert [GpuMemory("1").process_bytes(pid) for pid in (7, 8, 9)] == [50, None, None]
    assert GpuMemory("1").by_process == {7: 50, 8: None}


def test_without_the_library_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuMemory("0").free_bytes is None
    assert GpuMemory("0").process_bytes(7) is None
    assert GpuMemory("0").by_process == {}
