"""The controller's lines to the scheduler and to both leaders: actions out, events in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import zmq

from appliance.attention import Attention
from appliance.rotation.events import (
    Action,
    Activate,
    Activated,
    Change,
    Changed,
    Event,
    Form,
    Gone,
    Idle,
    KeepSpares,
    Kill,
    Lost,
    Ready,
    Retire,
)
from engine.allocation import SMAllocation
from engine.config import SLOTS, Mode, PortArgs, ServerArgs
from engine.fault_point import FaultPoint, reached
from engine.wire import to_controller as told
from engine.wire import to_leader, to_scheduler
from engine.wire.codec import Codec, Message


class Links:
    """`on_event` hears what the table understands; what it does not is kept here: statuses and process ids.

    `prepared_beside` a split are those that a group at it prepares to take in place.
    """

    def __init__(
        self,
        settings: ServerArgs,
        ports: PortArgs,
        attention: Attention,
        on_event: Callable[[Event], None],
        prepared_beside: Callable[[SMAllocation], tuple[SMAllocation, ...]] = lambda split: (),
    ):
        self._is_colocated = settings.mode is Mode.COLOCATED
        self._attention = attention
        self._on_event = on_event
        self._prepared_beside = prepared_beside
        self._context = zmq.Context()
        self._scheduler_address = ports.control_address
        self._scheduler = self._connect(self._scheduler_address, told.FROM_SCHEDULER)
        self._leader_addresses = {slot: ports.leader_address(slot) for slot in SLOTS}
        self._leaders = {slot: self._connect(self._leader_addresses[slot], told.FROM_LEADER) for slot in SLOTS}
        self._status_wanted: list[Callable[[told.Status], None]] = []
        self._load_wanted: list[Callable[[told.LoadReport], None]] = []
        self._freed_wanted: deque[Callable[[int], None]] = deque()
        self._groups_wanted: list[Callable[[told.Groups], None]] = []
        self._aim = to_scheduler.Aim(settings.ttft_target_ms / 1000, settings.tpot_target_ms / 1000)
        self.pids: dict[int, tuple[int, ...]] = {}
        self.used_bytes: dict[int, int] = {}
        """Of the device's memory, by groups that are ready."""
        self.spares: dict[str, tuple[int, ...]] = {}
        """Process ids, by slot, of those that have imported everything and wait."""

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def watch_groups(self) -> None:
        """Hear of groups that are ready, idle or lost."""
        self._to_scheduler(to_scheduler.Watch())

    def forget_scheduler(self) -> None:
        """It has ended: what it was still to be told is nothing for the next, what it was asked stays unanswered."""
        self._attention.forget(self._scheduler)
        self._scheduler.close(0)
        self._scheduler = self._connect(self._scheduler_address, told.FROM_SCHEDULER)
        self._freed_wanted.clear()
        self._load_wanted.clear()

    def forget_leader(self, slot: str) -> None:
        """It has ended, and what it had with it: what it was still to be told is nothing for the next."""
        self._attention.forget(self._leaders[slot])
        self._leaders[slot].close(0)
        self._leaders[slot] = self._connect(self._leader_addresses[slot], told.FROM_LEADER)
        self.spares.pop(slot, None)

    def begin_anew(self) -> None:
        """Tell a scheduler that has just been started what the one before it knew."""
        self.watch_groups()
        self._to_scheduler(self._aim)

    def do(self, action: Action) -> None:
        """Pass an action on to whoever carries it out; those that concern only the controller are none of them."""
        match action:
            case Form(epoch, slot, split):
                shares = (split.prefill_percentage, split.decode_percentage)
                is_colocated = self._is_colocated or split.is_together
                order = to_leader.FormGroup(epoch, *shares, is_colocated, self._prepared_beside(split))
                reached(FaultPoint.CONTROLLER_FORMS)
                self._to_leader(slot, order)
            case Activate(epoch):
                reached(FaultPoint.CONTROLLER_ACTIVATES)
                self._to_scheduler(to_scheduler.Activate(epoch))
            case Change(epoch, change, split):
                self._to_scheduler(to_scheduler.ChangeSplit(epoch, change, split, self._prepared_beside(split)))
            case Retire(epoch):
                reached(FaultPoint.CONTROLLER_RETIRES)
                self._to_scheduler(to_scheduler.Retire(epoch))
            case Kill(epoch, slot):
                self._to_leader(slot, to_leader.KillGroup(epoch))
            case KeepSpares(slot):
                self._to_leader(slot, to_leader.KeepSpares(1 if self._is_colocated else 2))
            case _:
                raise AssertionError(f"nobody carries out {action}")

    def retire_all(self) -> None:
        """Drain every worker there is."""
        self._to_scheduler(to_scheduler.Retire(0))

    def ask_status(self, answer: Callable[[told.Status], None]) -> None:
        """Call `answer` with the scheduler's next status."""
        self._status_wanted.append(answer)
        self._to_scheduler(to_scheduler.AskStatus())

    def free_cached_pages(self, answer: Callable[[int], None]) -> None:
        """Have the pages freed that no request holds; call `answer` with how many those were."""
        self._freed_wanted.append(answer)
        self._to_scheduler(to_scheduler.FreeCachedPages())

    def aim(self, ttft_target_seconds: float, tpot_target_seconds: float) -> None:
        """Tell the scheduler when first tokens are due."""
        self._aim = to_scheduler.Aim(ttft_target_seconds, tpot_target_seconds)
        self._to_scheduler(self._aim)

    def ask_load(self, answer: Callable[[told.LoadReport], None]) -> None:
        """Call `answer` with how far requests have come."""
        self._load_wanted.append(answer)
        self._to_scheduler(to_scheduler.AskLoad())

    def on_groups(self, answer: Callable[[told.Groups], None]) -> None:
        """Call `answer` whenever a leader says which groups it has."""
        self._groups_wanted.append(answer)

    def ask_groups(self, slot: str) -> None:
        """Be the controller that the leader of `slot` tells what happens, beginning with what it has."""
        self._to_leader(slot, to_leader.AskGroups())

    def close(self) -> None:
        for socket in (self._scheduler, *self._leaders.values()):
            self._attention.forget(socket)
        self._context.destroy(linger=200)

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _receive(self, socket: zmq.Socket, codec: Codec[Message]) -> None:
        while socket.poll(0):
            self._understand(codec.decode(socket.recv()))

    def _understand(self, message: Message) -> None:
        match message:
            case told.GroupStarted(slot, epoch, pids):
                self.pids[epoch] = pids
                self.spares.pop(slot, None)
            case told.SparesReady(slot, pids):
                self.spares[slot] = pids
            case told.GroupReady(epoch, used_bytes):
                self.used_bytes[epoch] = used_bytes
                self._on_event(Ready(epoch))
            case told.Activated(epoch, problem):
                self._on_event(Activated(epoch, problem))
            case told.SplitChanged(epoch, change, problem):
                self._on_event(Changed(epoch, change, problem))
            case told.GroupIdle(epoch):
                self._on_event(Idle(epoch))
            case told.GroupLost(epoch, problem):
                self._on_event(Lost(epoch, problem))
            case told.GroupGone(_, epoch, problem):
                self.pids.pop(epoch, None)
                self.used_bytes.pop(epoch, None)
                self._on_event(Gone(epoch, problem))
            case told.Groups(_, _, _, groups):
                self.pids |= {group.epoch: group.pids for group in groups}
                for answer in self._groups_wanted:
                    answer(message)
            case told.Status():
                for answer in self._status_wanted:
                    answer(message)
                self._status_wanted.clear()
            case told.CachedPagesFreed(pages):
                self._freed_wanted.popleft()(pages)
            case told.LoadReport():
                for answer in self._load_wanted:
                    answer(message)
                self._load_wanted.clear()

    # ── plumbing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _connect(self, address: str, codec: Codec) -> zmq.Socket:
        socket = self._context.socket(zmq.DEALER)
        socket.connect(address)
        self._attention.watch(socket, partial(self._receive, socket, codec))
        return socket

    def _to_scheduler(self, message: Message) -> None:
        self._scheduler.send(to_scheduler.FROM_CONTROLLER.encode(message))

    def _to_leader(self, slot: str, message: Message) -> None:
        self._leaders[slot].send(to_leader.TO_LEADER.encode(message))
