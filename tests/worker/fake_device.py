"""A device whose parts must be prepared, as a GPU's: it writes down which steps ran where, and behind what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from engine.allocation import Phase, SMAllocation, Splitter

CHIP = 100


class FakePart:
    """`log` is the device's."""

    rest_seconds = 0.0

    def __init__(self, splitter: Splitter, share: int, log: list[str]):
        self.splitter = splitter
        self.share_percentage = self.sm_count = share
        self.is_whole = share == CHIP
        self._log = log

    def follow(self, other: Any) -> None:
        self._log.append(f"{self.share_percentage} behind {other.share_percentage}")

    @contextmanager
    def step(self) -> Iterator[None]:
        self._log.append(f"step on {self.share_percentage}")
        yield


class FakeDevice:
    """As many SMs as percent."""

    torch_device = torch.device("cpu")
    has_any_share = False

    def __init__(self) -> None:
        self.log: list[str] = []

    def partition(self, phase: Phase, allocation: SMAllocation, splitter: Splitter) -> FakePart:
        return FakePart(splitter, allocation.share(phase), self.log)

    def synchronize(self) -> None:
        self.log.append("synchronize")

    def used_bytes(self) -> int:
        return 0

    def usable_bytes(self) -> int:
        raise NotImplementedError

    def allocate(self, nbytes: int, name: str) -> Any:
        raise NotImplementedError

    def map(self, memory: Any, fd: int | None) -> torch.Tensor:
        raise NotImplementedError
