"""The CPU as a device: shared memory is `memfd`, and a share of it is kept by resting after each step."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.device import Partition
from engine.errors import CannotStart, SemiPDError
from engine.resident.manifest import MemorySpec

_SANE_FRACTION = 0.8
"""Of the memory that is available now: the rest is for the other processes of the appliance and of the machine."""


class MemfdRegion:
    """Memory in a `memfd`. It lives as long as any process has the descriptor open or the bytes mapped."""

    def __init__(self, nbytes: int, name: str):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
        os.ftruncate(fd, nbytes)  # reads as zeros, takes memory only where it is written
        self.fd: int | None = fd
        self.memory = MemorySpec(kind="memfd", nbytes=nbytes)
        self._tensor = map_memfd(fd, nbytes)

    @property
    def tensor(self) -> torch.Tensor:
        return self._tensor


def map_memfd(fd: int, nbytes: int) -> torch.Tensor:
    """The bytes behind a descriptor, shared and writable: uint8 [nbytes]. The tensor keeps the mapping alive."""
    mapping = mmap.mmap(fd, nbytes, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return torch.frombuffer(mapping, dtype=torch.uint8)


class DutyPartition:
    """A share of the CPU: after a step that took c seconds of CPU time, rest for (1 − s)/s · c seconds.

    The clock is the CPU time of the whole process, not of the calling thread: torch may compute in threads of its own,
    and what they take counts. Wall time would make a worker rest for time that others took from it.
    """

    sm_count = 0

    def __init__(self, splitter: Splitter, share_percentage: int, cpu_clock: Callable[[], float] = time.process_time):
        self.splitter = splitter
        self.share_percentage = share_percentage
        self._cpu_clock = cpu_clock
        self._step_seconds = 0.0

    @property
    def is_whole(self) -> bool:
        return self.splitter is Splitter.NONE or self.share_percentage == 100

    def follow(self, other: Partition) -> None:
        """Steps on the CPU are done when they return."""

    @contextmanager
    def step(self) -> Iterator[None]:
        began = self._cpu_clock()
        try:
            yield
        finally:
            self._step_seconds = self._cpu_clock() - began

    @property
    def rest_seconds(self) -> float:
        if self.splitter is Splitter.NONE:
            return 0.0
        return self._step_seconds * (100 - self.share_percentage) / self.share_percentage


class CpuDevice:
    """All cores of this machine."""

    torch_device = torch.device("cpu")
    has_any_share = True

    def usable_bytes(self) -> int:
        return int(psutil.virtual_memory().available * _SANE_FRACTION)

    def used_bytes(self) -> int:
        return psutil.Process().memory_full_info().uss

    def allocate(self, nbytes: int, name: str) -> MemfdRegion:
        return MemfdRegion(nbytes, name)

    def map(self, memory: MemorySpec, fd: int | None) -> torch.Tensor:
        if memory.kind != "memfd" or fd is None:
            raise SemiPDError(f"The CPU maps memory by a memfd and its descriptor, not by {memory.kind}.")
        return map_memfd(fd, memory.nbytes)

    def partition(self, phase: Phase, allocation: SMAllocation, splitter: Splitter) -> DutyPartition:
        if splitter not in (Splitter.DUTY, Splitter.NONE):
            raise CannotStart(f"The setting splitter cannot be '{splitter}' on the CPU: 'duty' and 'none' can.")
        return DutyPartition(splitter, allocation.share(phase))

    def synchronize(self) -> None:
        """Nothing to wait for: torch's operations on the CPU are done when they return."""
