"""One appliance, its load and its faults, from the first arrival until nothing is left to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engine.allocation import SMAllocation
from engine.request import Request
from tests.simulated.controller_process import SimulatedController
from tests.simulated.faults import Faults
from tests.simulated.invariants import Violation, demand
from tests.simulated.scenario import scenario_of
from tests.simulated.simulated_gateway import SimulatedGateway
from tests.simulated.world import World

MAX_STEPS = 200_000
PATIENCE_SECONDS = 600.0
"""Simulated, after the last arrival or fault: by then everybody has been answered."""


class Simulation:
    """`step` counts events. Raises `Violation`, or whatever the product raises, at the event where it happens."""

    def __init__(self, seed: int):
        self.seed = seed
        self.steps = 0
        scenario = scenario_of(seed)
        self.world = World(seed, scenario)
        self.world.on_homeless = self._take_elsewhere
        self.controller = SimulatedController(self.world, SMAllocation(70, 30))
        self.gateways = [SimulatedGateway(self.world, number) for number in range(scenario.gateways)]
        self._last_news = 0.0

    def run(self) -> None:
        """To the end, which is checked too. Faults begin when it serves: one that cannot start ends, as it should."""
        self._turn_until(lambda: self.controller.state.active is not None)
        self._plan(self.world.clock.now, Faults(self))
        self._turn_until(lambda: self.is_over)
        self._check_end()

    def _turn_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            if self.world.clock.now >= self._last_news + PATIENCE_SECONDS or self.steps >= MAX_STEPS:
                raise Violation(f"it does not come to rest: {self.unanswered} wait for an answer")
            self.steps += 1
            if not self.world.clock.turn():
                raise Violation(f"nothing happens any more, and {self.unanswered} wait for an answer")

    def _plan(self, start: float, faults: Faults) -> None:
        for arrival in self.world.scenario.arrivals:
            self._at(start + arrival.at, partial(self._arrive, arrival.gateway, arrival.request))
        for event in self.world.scenario.events:
            self._at(start + event.at, partial(faults.happen, event))
            self._last_news = max(self._last_news, start + event.at + event.seconds)

    def _at(self, time: float, act: Callable[[], None]) -> None:
        self.world.clock.at(time, act)
        self._last_news = max(self._last_news, time)

    @property
    def unanswered(self) -> list[int]:
        return sorted(request_id for gateway in self.gateways for request_id in gateway.answers)

    @property
    def is_over(self) -> bool:
        """Nobody waits, nothing more is to come, and the scheduler has nothing in its hands."""
        scheduler = self.world.scheduler
        has_more = self.world.clock.now <= self._last_news + 1.0 or self.world.unplaced
        is_awaited = has_more or any(gateway.answers for gateway in self.gateways)
        if is_awaited or scheduler is None or not scheduler.is_alive:
            return False
        return not scheduler.scheduler.live

    def replace_gateway(self, number: int) -> None:
        """Its clients' connections end with it; another takes its place."""
        self.world.say(f"  it is {self.gateways[number].name}")
        self.gateways[number].end()
        self.gateways[number] = SimulatedGateway(self.world, number)

    def _arrive(self, gateway: int, request: Request) -> None:
        self.world.say(f"request {request.request_id} arrives")
        self.gateways[gateway].submit(request)

    def _take_elsewhere(self, request: Request) -> None:
        self.gateways[0].submit(request)

    def _check_end(self) -> None:
        scheduler = self.world.scheduler
        assert scheduler is not None
        allocator = scheduler.allocator
        demand(allocator.free_count == allocator.total_pages, f"{allocator.free_count} pages are free in the end")
        self.world.invariants.pages(allocator, ())

    def close(self) -> None:
        """Give back what the scheduler's service holds of the real world."""
        if self.world.scheduler is not None:
            self.world.scheduler.end()
