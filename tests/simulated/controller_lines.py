"""The controller's own lines, on the simulated network: what is not delivered yet waits for the next process there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from appliance.rotation.events import Event
from appliance.rotation.links import Links
from engine.config import SLOTS, Mode, ServerArgs
from engine.scheduler.outbox import Channel
from engine.wire.codec import Codec, Message
from engine.wire.to_controller import FROM_LEADER
from engine.wire.to_leader import TO_LEADER
from tests.simulated.leader_process import SimulatedLeader
from tests.simulated.network import Line
from tests.simulated.process import Process
from tests.simulated.scheduler_process import PORTS, Client
from tests.simulated.world import World

SETTINGS = {mode: ServerArgs.model_construct(mode=mode) for mode in Mode}


class Mailbox:
    """What a socket has received."""

    def __init__(self, on_message: Callable[[], None]):
        self._received: deque[bytes] = deque()
        self._on_message = on_message

    def arrived(self, data: bytes) -> None:
        self._received.append(data)
        self._on_message()

    def poll(self, timeout: int) -> bool:
        return bool(self._received)

    def recv(self) -> bytes:
        return self._received.popleft()


class ToScheduler(Mailbox):
    """A DEALER: what is sent before there is a scheduler waits for it."""

    def __init__(self, world: World, owner: Process, name: str, on_message: Callable[[], None]):
        super().__init__(on_message)
        self._client = Client(name.encode(), owner, self.arrived, lambda: None)
        self._unsent: list[bytes] = []
        world.meet_scheduler(Channel.CONTROLLER, self._client, self._connected)

    def send(self, data: bytes) -> None:
        if self._client.up is None:
            self._unsent.append(data)
        else:
            self._client.send(data)

    def close(self, linger: int) -> None:
        """Nothing that still arrives is read."""
        self._client.received = lambda data: None
        self._unsent.clear()

    def _connected(self) -> None:
        unsent, self._unsent = self._unsent, []
        for data in unsent:
            self._client.send(data)


class ToLeader(Mailbox):
    """The same, to the leader of a slot, which may be another one by and by."""

    def __init__(self, world: World, slot: str, on_message: Callable[[], None]):
        super().__init__(on_message)
        self._world, self._slot = world, slot
        self._unsent: list[bytes] = []
        self.start_leader()

    def start_leader(self) -> None:
        up = Line(self._world.network, self.arrived)
        self.leader = SimulatedLeader(self._world, self._slot, lambda message: up.send(FROM_LEADER.encode(message)))
        self._down = Line(self._world.network, partial(self._deliver, self.leader))
        self.leader.when_ended(lambda: up.sender_ended(lambda: None))
        unsent, self._unsent = self._unsent, []
        for data in unsent:
            self._down.send(data)

    def send(self, data: bytes) -> None:
        if self.leader.is_alive:
            self._down.send(data)
        else:
            self._unsent.append(data)

    def _deliver(self, leader: SimulatedLeader, data: bytes) -> None:
        leader.do(lambda: leader.obey(TO_LEADER.decode(data)))


class NoAttention:
    """Lines call by themselves when something has come."""

    def forget(self, source: Any) -> None:
        """Nobody watched it."""

    def watch(self, source: Any, handle: Callable[[], None]) -> None:
        """Nobody has to."""


class SimulatedLinks(Links):
    """The product's lines with other sockets."""

    def __init__(self, world: World, owner: Process, on_event: Callable[[Event], None]):
        self._world, self._owner, self._names = world, owner, count(1)
        mode = Mode.COLOCATED if world.scenario.colocated else Mode.SEMI_PD
        super().__init__(SETTINGS[mode], PORTS, NoAttention(), on_event)  # type: ignore[arg-type]
        self._context.destroy()

    def leader(self, slot: str) -> SimulatedLeader:
        return self.line_to(slot).leader

    def line_to(self, slot: str) -> ToLeader:
        return self._leaders[slot]  # type: ignore[return-value]

    def _connect(self, address: str, codec: Codec[Message]) -> Any:
        slots = {PORTS.leader_address(slot): slot for slot in SLOTS}
        if address in slots:
            socket = ToLeader(self._world, slots[address], lambda: self._receive(socket, codec))  # type: ignore[arg-type]
            return socket
        name = f"controller-{next(self._names)}"
        line = ToScheduler(self._world, self._owner, name, lambda: self._receive(line, codec))  # type: ignore[arg-type]
        return line
