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

    @property
    def is_whole(self) -> bool:
        """True if there is no more of the device for this process to have."""
        ...

    def follow(self, other: Partition) -> None:
        """What is put on this part from now on begins when all that was put on `other`, of the same device, is done."""
        ...

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
    has_any_share: bool
    """True where a partition of any share can be had at any moment: it is a number. Elsewhere it takes preparation."""

    def usable_bytes(self) -> int:
        """Bytes that may still be allocated on it."""
        ...

    def used_bytes(self) -> int:
        """Bytes of it that this process takes, those it maps of others left out."""
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
