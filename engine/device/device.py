"""What a device can do, so that neither the CPU nor the CUDA path is sprinkled with conditions."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch

from engine.allocation import Phase, SMAllocation, Splitter
from engine.resident.manifest import MemorySpec


class Region(Protocol):
    """Memory that the resident owns and others may map."""

    memory: MemorySpec
    fd: int | None
    """The descriptor that travels beside the manifest; None where `memory.handle` is enough."""

    @property
    def tensor(self) -> torch.Tensor:
        """All its bytes: uint8 [nbytes]."""
        ...


class Partition(Protocol):
    """A worker's part of the device at one split."""

    splitter: Splitter
    share_percentage: int
    sm_count: int
    """SMs in force; 0 on a device without SMs."""

    def step(self) -> AbstractContextManager[None]:
        """Run the body of the `with` in this part of the device."""
        ...

    @property
    def rest_seconds(self) -> float:
        """How long the worker has to wait after the last step to stay within its share; 0 where hardware sees to it."""
        ...


class Device(Protocol):
    """One CPU or GPU."""

    torch_device: torch.device

    def usable_bytes(self) -> int:
        """Bytes that may still be allocated on it."""
        ...

    def allocate(self, nbytes: int, name: str) -> Region:
        """Zeroed memory that other processes can map."""
        ...

    def map(self, memory: MemorySpec, fd: int | None) -> torch.Tensor:
        """The very bytes of another process's region: uint8 [nbytes], never a copy."""
        ...

    def partition(self, phase: Phase, allocation: SMAllocation, splitter: Splitter) -> Partition:
        """Take a phase's part of the device. Prefill has the first SMs, decode the last."""
        ...

    def synchronize(self) -> None:
        """Wait until all work this process has given to the device is done."""
        ...
