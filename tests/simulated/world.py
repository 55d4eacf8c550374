"""What all simulated processes share: time, chance, the network, the resident's memory, and who is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol

import msgspec

from engine.request import Request
from engine.scheduler.outbox import Channel
from engine.storage.ledger import Ledger
from tests.simulated.clock import Clock
from tests.simulated.invariants import Invariants
from tests.simulated.memory import Memory
from tests.simulated.network import Network
from tests.simulated.scenario import Scenario

if TYPE_CHECKING:
    from tests.simulated.process import Process
    from tests.simulated.scheduler_process import Client, SchedulerProcess

LAST_EVENTS = 60


class TakesRequests(Protocol):
    is_alive: bool

    def submit(self, request: Request) -> None: ...


class World:
    """`answered` counts requests of which a client has every token, `unplaced` those about to come again.

    Faults and delays have chances of their own.
    """

    def __init__(self, seed: int, scenario: Scenario):
        self.scenario = scenario
        self.clock = Clock()
        self.network = Network(self.clock, Random(f"network {seed}"))
        self.chance = Random(f"world {seed}")
        self.ledger = Ledger.create(bytearray(Ledger.bytes_for(scenario.pages + 1)), scenario.pages + 1)
        self.memory = Memory(scenario.pages + 1, scenario.page_size)
        self.invariants = Invariants(self.ledger, scenario.page_size)
        self.processes: dict[int, Process] = {}
        self.scheduler: SchedulerProcess | None = None
        self.answered = 0
        self.unplaced = 0
        self.reads_along = False
        self.last_events: deque[str] = deque(maxlen=LAST_EVENTS)
        self.on_say: Callable[[str], None] = self.last_events.append
        self.on_homeless: Callable[[Request], None] = lambda request: None
        self._wait_for_scheduler: list[tuple[Channel, Client, Callable[[], None]]] = []

    def register(self, process: Process) -> int:
        """Its process id."""
        pid = len(self.processes) + 1
        self.processes[pid] = process
        return pid

    def say(self, sentence: str) -> None:
        """For whoever has to understand what went wrong."""
        self.on_say(f"{self.clock.now:10.4f}  {sentence}")

    def tell(self, who: str, message: bytes) -> None:
        """What passes between processes, for whoever reads along: to write all of it down would take too long."""
        if self.reads_along:
            self.say(f"{who}: {msgspec.msgpack.decode(message[1:])}")

    def soon(self, act: Callable[[], None]) -> None:
        """After a moment, as whoever is woken."""
        self.clock.after(self.network.delay(), act)

    def step_seconds(self) -> float:
        """Of one step on the device."""
        return self.scenario.step_seconds * self.chance.uniform(0.5, 1.5)

    def meet_scheduler(self, channel: Channel, client: Client, met: Callable[[], None]) -> None:
        """Connect to the one that is there, or to the next."""
        self._wait_for_scheduler.append((channel, client, met))
        self.scheduler_may_be_met()

    def scheduler_may_be_met(self) -> None:
        """Whoever waits for one connects, each after a moment of its own."""
        waiting, self._wait_for_scheduler = self._wait_for_scheduler, []
        for channel, client, met in waiting:
            if self.scheduler is None or not self.scheduler.is_alive:
                self._wait_for_scheduler.append((channel, client, met))
            else:
                self.soon(lambda who=(channel, client, met): self._meet(*who))

    def _meet(self, channel: Channel, client: Client, met: Callable[[], None]) -> None:
        def connect() -> None:
            if self.scheduler is None or not self.scheduler.is_alive:
                self.meet_scheduler(channel, client, met)
                return
            self.scheduler.connect(channel, client)
            met()

        client.owner.do(connect)

    def come_again(self, seconds: float, gateway: TakesRequests, request: Request) -> None:
        """A client tries once more, at another gateway worker where this one has ended."""
        self.unplaced += 1

        def submit() -> None:
            self.unplaced -= 1
            if gateway.is_alive:
                gateway.submit(request)
            else:
                self.on_homeless(request)

        self.clock.after(seconds, submit)
