"""What a worker does in a turn of its loop: which steps it launches, and in which order it reports them."""

from __future__ import annotations

from typing import Protocol

from engine.wire.to_scheduler import DecodeReport, PrefillReport
from engine.wire.to_worker import DecodeOrder, PrefillOrder

Report = PrefillReport | DecodeReport


class Steps(Protocol):
    """A worker's work, one turn at a time, all on torch's current stream."""

    @property
    def has_work(self) -> bool:
        """False if a turn would do nothing until there is an order."""
        ...

    @property
    def can_borrow(self) -> bool:
        """False where the next step would keep the whole device for too long. Only to be asked while there is work."""
        ...

    @property
    def seconds_to_spare(self) -> float:
        """How long orders may be waited for before the next turn: who joins in time is in the next step."""
        ...

    def apply(self, order: PrefillOrder | DecodeOrder) -> None: ...

    def turn(self, borrowed: bool = False) -> list[Report]:
        """Compute a step, or launch one and wait for the one before it. `borrowed`: it has the whole device."""
        ...

    def finish(self) -> list[Report]:
        """Wait for everything that is in flight, and launch nothing."""
        ...
