"""The controller's lines to the scheduler and to both leaders, and what follows from what they say.

One group serves from one of the two slots; the other slot keeps spare workers, so that another group can be started
there at any time. Losing the group that serves costs its requests a new computation, never their lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

from engine.allocation import SMAllocation
from engine.config import SLOTS, Mode, PortArgs, ServerArgs
from engine.errors import CannotStart
from engine.wire.codec import Message
from engine.wire.to_controller import (
    FROM_LEADER,
    FROM_SCHEDULER,
    Activated,
    GroupGone,
    GroupLost,
    GroupReady,
    GroupStarted,
    SparesReady,
    Status,
)
from engine.wire.to_leader import TO_LEADER, FormGroup, KeepSpares, KillGroup
from engine.wire.to_scheduler import FROM_CONTROLLER, Activate, AskStatus, Retire, Watch

MAX_CONSECUTIVE_LOSSES = 3
"""Groups lost one after the other, none of which ever served, before the controller gives up."""


@dataclass
class Epochs:
    """Which group is which. Epochs count up from 1 and are never used twice."""

    latest: int = 0
    active: int | None = None
    slot_of: dict[int, str] = field(default_factory=dict)

    def begin(self) -> tuple[int, str]:
        """A new epoch, in the slot that the latest one does not have."""
        slot = SLOTS[self.latest % len(SLOTS)]
        self.latest += 1
        self.slot_of[self.latest] = slot
        return self.latest, slot


class GroupControl:
    """Forms groups and activates them; `on_event` is told in a sentence what happened."""

    def __init__(self, settings: ServerArgs, ports: PortArgs, on_event: Callable[[str], None]):
        self._settings = settings
        self._on_event = on_event
        self._epochs = Epochs()
        self._losses = 0
        self._retiring = False
        self._context = zmq.Context()
        self._scheduler = self._connect(ports.control_address)
        self._leaders = {slot: self._connect(ports.leader_address(slot)) for slot in SLOTS}
        self.workers: tuple[int, ...] = ()
        self.status: Status | None = None

    @property
    def sockets(self) -> list[zmq.Socket]:
        """What to poll; call `receive` when one of them is readable."""
        return [self._scheduler, *self._leaders.values()]

    @property
    def is_serving(self) -> bool:
        return self._epochs.active is not None

    @property
    def has_groups(self) -> bool:
        """True while processes of any group are left."""
        return bool(self._epochs.slot_of)

    # ── verbs ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def form(self, allocation: SMAllocation) -> None:
        """Order a new group; it is activated when it is ready."""
        epoch, slot = self._epochs.begin()
        order = FormGroup(
            epoch,
            allocation.prefill_percentage,
            allocation.decode_percentage,
            colocated=self._settings.mode is Mode.COLOCATED,
        )
        self._to_scheduler(Watch())
        self._to_leader(slot, order)

    def retire_all(self) -> None:
        """Drain every worker; `has_groups` becomes False when all have ended."""
        self._retiring = True
        self._to_scheduler(Retire(0))

    def ask_status(self) -> None:
        """`status` holds the answer once it has come."""
        self._to_scheduler(AskStatus())

    def close(self) -> None:
        self._context.destroy(linger=200)

    # ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self) -> None:
        """Handle everything that has come."""
        for socket, codec in [(self._scheduler, FROM_SCHEDULER), *((s, FROM_LEADER) for s in self._leaders.values())]:
            while socket.poll(0):
                self._handle(codec.decode(socket.recv()))

    def _handle(self, message: Message) -> None:
        match message:
            case GroupReady(epoch) if epoch == self._epochs.latest and epoch != self._epochs.active:
                self._to_scheduler(Activate(epoch))
            case Activated(epoch, problem):
                self._activated(epoch, problem)
            case GroupLost(epoch, problem):
                self._on_event(problem)
                self._to_leader(self._epochs.slot_of[epoch], KillGroup(epoch))
            case GroupGone(_, epoch, problem):
                self._gone(epoch, problem)
            case GroupStarted(_, _, pids):
                self.workers = pids
            case Status():
                self.status = message
            case SparesReady() | GroupReady():
                pass

    def _activated(self, epoch: int, problem: str) -> None:
        if problem:
            self._on_event(problem)
            return
        self._epochs.active = epoch
        self._losses = 0
        standby = next(slot for slot in SLOTS if slot != self._epochs.slot_of[epoch])
        self._to_leader(standby, KeepSpares(1 if self._settings.mode is Mode.COLOCATED else 2))

    def _gone(self, epoch: int, problem: str) -> None:
        """A group has ended. If it was the one to serve, and nobody asked for that, form another."""
        del self._epochs.slot_of[epoch]
        if self._retiring or epoch != self._epochs.latest:
            return
        if self._epochs.active == epoch:
            self._epochs.active = None
        self._losses += 1
        if self._losses > MAX_CONSECUTIVE_LOSSES or self._epochs.latest == self._losses:
            raise CannotStart(f"The workers cannot be started. {problem}")
        self._on_event(f"{problem} Starting another group.")
        self.form(self._settings.allocation)

    # ── plumbing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _connect(self, address: str) -> zmq.Socket:
        socket = self._context.socket(zmq.DEALER)
        socket.connect(address)
        return socket

    def _to_scheduler(self, message: Message) -> None:
        self._scheduler.send(FROM_CONTROLLER.encode(message))

    def _to_leader(self, slot: str, message: Message) -> None:
        self._leaders[slot].send(TO_LEADER.encode(message))
