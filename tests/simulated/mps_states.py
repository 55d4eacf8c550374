"""An MPS server of one slot, as far as faults are concerned: what it does to its clients, pure.

A client that ends with work on the GPU is a fault of the whole server: it serves nobody, takes no new client, and is
active again when the last of those it had has left. Another slot's server has other clients and notices nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class MpsState(StrEnum):
    """ACTIVE serves. FAULT has told nobody yet; REFUSING waits until everybody has left."""

    ACTIVE = "active"
    FAULT = "fault"
    REFUSING = "refusing"


class Mps(NamedTuple):
    """`clients` by process id. Every function returns the server as it is afterwards."""

    state: MpsState = MpsState.ACTIVE
    clients: frozenset[int] = frozenset()

    @property
    def takes_clients(self) -> bool:
        return self.state is MpsState.ACTIVE

    @property
    def is_poisoned(self) -> bool:
        """Nothing that a client says counts any more."""
        return self.state is not MpsState.ACTIVE

    def connected(self, client: int) -> Mps:
        """A client comes. Raises `ValueError` while those of a fault have not all left."""
        if not self.takes_clients:
            raise ValueError(f"The MPS server is in state {self.state}: it takes nobody until its clients have left.")
        return Mps(self.state, self.clients | {client})

    def faulted(self) -> Mps:
        """A fatal fault of one client is a fault of all."""
        return Mps(MpsState.FAULT, self.clients).settled()

    def told(self) -> Mps:
        """The clients' calls fail now; they are to leave."""
        return Mps(MpsState.REFUSING, self.clients).settled() if self.state is MpsState.FAULT else self

    def left(self, client: int, was_computing: bool = False) -> Mps:
        """A client has ended; with work on the GPU that is a fault."""
        without = Mps(self.state, self.clients - {client})
        return without.faulted() if was_computing else without.settled()

    def settled(self) -> Mps:
        """With its last client the fault is over."""
        return self if self.clients else Mps()
