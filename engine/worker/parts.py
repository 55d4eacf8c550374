"""The parts of the device in which a worker may compute: one for each share it has prepared, and all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.allocation import Phase, SMAllocation, Splitter
from engine.device.device import Device, Partition

WHOLE_SHARE = 100


class Parts:
    """One part is in force, and `whole` is there to be borrowed. A step in one part follows the last, wherever it was.

    `may_change` False: no other share can be taken than the first. With `mps` that is so in any case: the share is
    fixed when the process starts, and nothing can be borrowed.
    """

    def __init__(self, device: Device, phase: Phase, splitter: Splitter, share: int, *, may_change: bool):
        self._device = device
        self._phase = phase
        self._splitter = splitter
        self._may_change = may_change and splitter is not Splitter.MPS
        self._partitions: dict[int, Partition] = {}
        self._prepared = {share}
        self.in_force = self._last = self.of_share(share)
        self.whole = self.in_force if splitter is Splitter.MPS else self.of_share(WHOLE_SHARE)

    @property
    def prepared(self) -> tuple[int, ...] | None:
        """The shares that can be taken, None where any can."""
        if not self._may_change:
            return (self.in_force.share_percentage,)
        return None if self._device.has_any_share else tuple(sorted(self._prepared))

    @property
    def needs_preparation(self) -> bool:
        """True where another part can only be computed in once that was prepared."""
        return not (self._device.has_any_share or self._splitter in (Splitter.MPS, Splitter.NONE))

    @property
    def can_borrow(self) -> bool:
        """True if the whole is more than the part in force, and prepared."""
        is_prepared = self._device.has_any_share or WHOLE_SHARE in self._prepared
        return is_prepared and not self.in_force.is_whole

    def of_share(self, share: int) -> Partition:
        """The part of a share, which depends on nothing but this phase's own."""
        if share not in self._partitions:
            of_both = {Phase.PREFILL: SMAllocation(share, 100), Phase.DECODE: SMAllocation(100, share)}
            self._partitions[share] = self._device.partition(self._phase, of_both[self._phase], self._splitter)
        return self._partitions[share]

    def lacks(self, share: int) -> bool:
        """True for a share that could be prepared, and is not."""
        return self._may_change and self.needs_preparation and share not in self._prepared

    def is_prepared(self, share: int) -> None:
        """All that a step in this part needs is there."""
        self._prepared.add(share)

    def take(self, share: int) -> None:
        """Compute there from the next step on; it must have been prepared."""
        assert self.prepared is None or share in self.prepared, f"a share of {share} % was not prepared"
        self.in_force = self.of_share(share)

    @contextmanager
    def step(self, partition: Partition) -> Iterator[None]:
        """Run the body of the `with` in a part, behind everything that was put on another."""
        if partition is not self._last:
            partition.follow(self._last)
            self._last = partition
        with partition.step():
            yield
