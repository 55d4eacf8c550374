"""The memory that groups of workers take of the device: what was measured, beside what they were given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from appliance.mps import visible_gpu
from engine.config import ServerArgs
from engine.nvml import GpuMemory
from engine.resident.budget import group_budget, over_budget, standby_refusal


class GroupMemory:
    """`measured`: bytes by epoch, of groups that are ready. `free_bytes` tells what could still be allocated on the
    device, None where that is not known."""

    def __init__(self, settings: ServerArgs, measured: Mapping[int, int], free_bytes: Callable[[], int | None]):
        assert settings.device != "auto", "settings are resolved for a device"
        self._budget = group_budget(settings.device, settings.group_memory_bytes)
        self._measured = measured
        self._free_bytes = free_bytes

    def warning(self, epoch: int) -> str:
        """A sentence if the group takes more than it was given, else empty."""
        return over_budget(self._measured.get(epoch, 0), self._budget)

    def refusal(self, serving: int) -> str:
        """Why another group would not fit beside that of epoch `serving`, which takes as much; empty if it does."""
        needed = self._measured.get(serving) or self._budget
        return standby_refusal(needed, self._free_bytes()) if needed is not None else ""

    def describe(self) -> dict[str, Any]:
        """JSON-able; `budget_bytes` is None where groups take what they need."""
        groups = {str(epoch): used for epoch, used in self._measured.items()}
        return {"budget_bytes": self._budget, "group_bytes": groups}


def free_bytes_of(settings: ServerArgs) -> Callable[[], int | None]:
    """Asks the machine how much of the device's memory is free."""
    if settings.device == "cpu":
        return lambda: psutil.virtual_memory().available
    memory = GpuMemory(visible_gpu(settings.gpu, os.environ))
    return lambda: memory.free_bytes


def memory_by_process(settings: ServerArgs) -> dict[int, int]:
    """Bytes of the GPU's memory, by process id; of no process on the CPU, and of those the driver tells otherwise."""
    if settings.device == "cpu":
        return {}
    found = GpuMemory(visible_gpu(settings.gpu, os.environ)).by_process
    return {pid: used for pid, used in found.items() if used is not None}
