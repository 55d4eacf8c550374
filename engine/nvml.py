"""What NVIDIA's management library says of a GPU's memory. It needs no CUDA context and no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


class GpuMemory:
    """Of the GPU `gpu`: its index, or its UUID (`GPU-…`).

    What cannot be told is None: without the library (package nvidia-ml-py, part of the extra `cuda`) or a driver,
    everything, and in a container without the host's process ids what a process has.
    """

    def __init__(self, gpu: str):
        self._gpu = gpu

    @property
    def free_bytes(self) -> int | None:
        """What nobody has."""
        with _device(self._gpu) as (nvml, device):
            return None if nvml is None else int(nvml.nvmlDeviceGetMemoryInfo(device).free)

    def process_bytes(self, pid: int) -> int | None:
        """What a process has allocated, its context and loaded code with it; not what it maps of other processes."""
        return self.by_process.get(pid)

    @property
    def by_process(self) -> dict[int, int | None]:
        """`process_bytes` of each process that computes there, by its id."""
        with _device(self._gpu) as (nvml, device):
            running = [] if nvml is None else nvml.nvmlDeviceGetComputeRunningProcesses(device)
        return {process.pid: process.usedGpuMemory for process in running}


@contextmanager
def _device(gpu: str) -> Iterator[tuple[Any, Any]]:
    """The library, begun, and its handle of the GPU; (None, None) where there is none."""
    try:
        nvml: Any = import_module("pynvml")  # by name: a CPU box has it not
        nvml.nvmlInit()
    except Exception:  # the library's own errors have no type that could be named without it
        yield None, None
        return
    try:
        yield nvml, _handle(nvml, gpu)
    finally:
        nvml.nvmlShutdown()


def _handle(nvml: Any, gpu: str) -> Any:
    by_index = gpu.isdecimal()
    return nvml.nvmlDeviceGetHandleByIndex(int(gpu)) if by_index else nvml.nvmlDeviceGetHandleByUUID(gpu)


def driver_version() -> str:
    """Of NVIDIA's driver, empty where it is not known."""
    try:
        nvml: Any = import_module("pynvml")
        nvml.nvmlInit()
    except Exception:
        return ""
    try:
        return str(nvml.nvmlSystemGetDriverVersion())
    finally:
        nvml.nvmlShutdown()
