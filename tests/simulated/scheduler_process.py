"""The scheduler's own service on sockets that lead to simulated peers. The one place that knows how it is built."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from engine.config import PortArgs
from engine.scheduler.outbox import Channel
from engine.scheduler.scheduler import Scheduler
from engine.scheduler.service import LOOK_MS, SchedulerService
from engine.scheduler.step_watch import StepWatch
from engine.scheduler.suspicion import Suspicion
from engine.storage.allocator import PageAllocator
from tests.simulated.network import Line
from tests.simulated.process import Process
from tests.simulated.world import World

PORTS = PortArgs(Path("/simulated"))
WORKER_PATIENCE_SECONDS = 2.0
LOOK_SECONDS = LOOK_MS / 1000


class Silence:
    """A log nobody reads."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda *args, **values: None


class Socket:
    """A ROUTER that has been received from the network; `send` puts on it."""

    def __init__(self, send: Callable[[bytes, bytes], None]):
        self.received: deque[tuple[bytes, bytes]] = deque()
        self._send = send

    def recv_multipart(self, flags: int) -> tuple[bytes, bytes]:
        if not self.received:
            raise zmq.Again
        return self.received.popleft()

    def send_multipart(self, parts: tuple[bytes, bytes]) -> None:
        self._send(*parts)


class SimulatedService(SchedulerService):
    """Its loop's body, without waiting: messages first, then ends, then who does not move, then decisions."""

    def __init__(self, process: SchedulerProcess, scheduler: Scheduler):
        self._process, self._world = process, process.world
        super().__init__(
            scheduler,
            PORTS,
            None,  # type: ignore[arg-type]
            Suspicion(self._world.ledger),
            WORKER_PATIENCE_SECONDS,
            Silence(),
            device_lingers=self._world.scenario.on_gpu,
            clock=lambda: self._world.clock.now,
        )
        self._steps = StepWatch(WORKER_PATIENCE_SECONDS, lambda pid: self._world.processes[pid].is_stopped)

    def turn(self, ends: list[Callable[[], None]]) -> None:
        for channel, codec, handle in self._receivers:
            self._receive(channel, codec, handle)
        for act in ends:
            act()
        self._let_go_of_departed()
        self._look_at_steps()
        self._scheduler.plan()
        self._send()

    def look(self) -> None:
        """What the loop does when nothing has come, without deciding anew: nothing may depend on being looked at."""
        self._look_at_steps()

    def _worker_ended(self, peer: bytes) -> None:
        """And its loop sleeps no longer than until the first who is waited for is due."""
        super()._worker_ended(peer)
        milliseconds = self._departures.wait_ms(self._clock(), None)
        if milliseconds is not None:
            self._process.after(milliseconds / 1000, self._process.wake)

    def _look_at_steps(self) -> None:
        """With other processes than the service's own."""
        workers = self._scheduler.groups.workers.values()
        owing = [worker for worker in workers if self._scheduler.owes(worker) and not worker.fenced_because]
        for worker in self._steps.overdue(owing, self._clock()):
            self._world.say(f"the watchdog kills {worker.peer.decode()}")
            self._scheduler.fence(worker, "did not move")
            self._world.processes[worker.ready.pid].end()

    def close(self) -> None:
        self._context.destroy()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _bind(self, address: str) -> Any:
        return self._process.bind(address)

    def _when_gone(self, pid: int, act: Callable[[], None]) -> None:
        self._process.watch(pid, act)


class Client:
    """One end of a connection to the scheduler, as long as that scheduler lives."""

    def __init__(self, peer: bytes, owner: Process, received: Callable[[bytes], None], ended: Callable[[], None]):
        self.peer, self.owner, self.received, self.ended = peer, owner, received, ended
        self.up: Line | None = None

    def send(self, data: bytes) -> None:
        """What is said to a scheduler that is gone is lost."""
        if self.up is not None:
            self.up.send(data)


class SchedulerProcess(Process):
    """One scheduler over the ledger that its predecessor left."""

    def __init__(self, world: World):
        super().__init__(world, "scheduler")
        scenario = world.scenario
        # As `python -m engine.scheduler` does: what computed for the former has ended.
        self.allocator = PageAllocator.adopting(
            world.ledger, scenario.page_size, prefix_caching=scenario.prefix_caching
        )
        self.scheduler = Scheduler(scenario.limits, self.allocator, clock=lambda: world.clock.now)
        self._sockets: dict[Channel, Socket] = {}
        self._addresses = {
            PORTS.gateway_address: Channel.GATEWAY,
            PORTS.worker_address: Channel.WORKER,
            PORTS.control_address: Channel.CONTROLLER,
        }
        self._down: dict[bytes, Line] = {}
        self._clients: dict[bytes, Client] = {}
        self._ends: list[Callable[[], None]] = []
        self._is_awake = False
        self._service = SimulatedService(self, self.scheduler)
        self.after(LOOK_SECONDS, self._look)

    def connect(self, channel: Channel, client: Client) -> None:
        """Lines in both directions; the peer's end is heard of by pidfd, not from them."""
        network = self.world.network
        client.up = Line(network, partial(self._arrived, channel, client.peer))
        self._down[client.peer] = Line(network, lambda data: client.owner.do(partial(client.received, data)))
        self._clients[client.peer] = client

    def has_ended(self) -> None:
        for peer, line in self._down.items():
            client = self._clients[peer]
            if client.up is not None:
                client.up.receiver_ended()
            client.up = None
            line.sender_ended(partial(client.owner.do, client.ended))
        self._service.close()

    def bind(self, address: str) -> Socket:
        """The socket that peers of this kind come to."""
        channel = self._addresses[address]
        self._sockets[channel] = Socket(self._put_on_line)
        return self._sockets[channel]

    def _put_on_line(self, peer: bytes, data: bytes) -> None:
        line = self._down.get(peer)
        if line is not None and self._clients[peer].owner.is_alive:
            self.world.tell(f"scheduler → {peer.decode()}", data)
            line.send(data)

    def _arrived(self, channel: Channel, peer: bytes, data: bytes) -> None:
        self._sockets[channel].received.append((peer, data))
        self.wake()

    def watch(self, pid: int, act: Callable[[], None]) -> None:
        """Have `act` done in a turn of the loop once the process has ended."""
        self.world.processes[pid].when_ended(lambda: self._heard(act))

    def _heard(self, act: Callable[[], None]) -> None:
        self._ends.append(act)
        self.wake()

    def wake(self) -> None:
        """Whatever comes until its loop comes round is one turn."""
        if self.is_alive and not self._is_awake:
            self._is_awake = True
            self.after(self.world.network.delay() / 10, self._turn)

    def _look(self) -> None:
        self._service.look()
        self.after(LOOK_SECONDS, self._look)

    def _turn(self) -> None:
        self._is_awake = False
        ends, self._ends = self._ends, []
        self._service.turn(ends)
        self.world.invariants.pages(self.allocator, self.scheduler.live)
