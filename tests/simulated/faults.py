"""What is done to an appliance, and to whom: out of those that are there when it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.allocation import SMAllocation
from engine.config import SLOTS
from tests.simulated.scenario import Event, Fault
from tests.simulated.simulated_worker import SimulatedWorker

if TYPE_CHECKING:
    from tests.simulated.simulation import Simulation

SPLITS = tuple(SMAllocation(share, 100 - share) for share in range(20, 100, 10))


class Faults:
    """Those that would end the appliance as they should, one group or scheduler too many, are left out."""

    def __init__(self, simulation: Simulation):
        self._simulation = simulation
        self._world = simulation.world
        self._acts: dict[Fault, Callable[[Event], None]] = {
            Fault.KILL_WORKER: self._kill_worker,
            Fault.STOP_WORKER: self._stop_worker,
            Fault.STOP_AND_KILL_WORKER: self._stop_and_kill_worker,
            Fault.KILL_GROUP: self._kill_group,
            Fault.KILL_LEADER: self._kill_leader,
            Fault.KILL_SCHEDULER: self._kill_scheduler,
            Fault.STOP_SCHEDULER: self._stop_scheduler,
            Fault.KILL_GATEWAY: self._kill_gateway,
            Fault.CLIENT_LEAVES: self._client_leaves,
            Fault.ROTATE: self._rotate,
            Fault.ROTATE_TWICE: self._rotate_twice,
            Fault.CHANGE_IN_PLACE: self._change_in_place,
            Fault.NEXT_GROUP_IS_LATE: self._next_group_is_late,
        }

    def happen(self, event: Event) -> None:
        self._world.say(f"FAULT: {event.fault} ({event.choice:.3f}, {event.seconds:.3f} s)")
        self._acts[event.fault](event)

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _victim(self, event: Event) -> SimulatedWorker | None:
        workers = [one for one in self._world.processes.values() if isinstance(one, SimulatedWorker) and one.is_alive]
        if not workers or not self._simulation.controller.may_lose_a_group:
            return None
        worker = workers[int(event.choice * len(workers))]
        self._world.say(f"  it is {worker.name}, with {len(worker.steps)} steps on the device")
        return worker

    def _kill_worker(self, event: Event) -> None:
        if worker := self._victim(event):
            worker.end()

    def _stop_worker(self, event: Event) -> None:
        if worker := self._victim(event):
            worker.stop()
            self._world.clock.after(event.seconds, worker.go_on)

    def _stop_and_kill_worker(self, event: Event) -> None:
        if worker := self._victim(event):
            worker.stop()
            self._world.clock.after(event.seconds, lambda: self._kill_stopped(worker))

    def _kill_stopped(self, worker: SimulatedWorker) -> None:
        if self._simulation.controller.may_lose_a_group:
            worker.end()
        else:
            worker.go_on()

    def _kill_group(self, event: Event) -> None:
        if worker := self._victim(event):
            self._simulation.controller.links.leader(worker.slot).kill_group(worker.epoch)

    def _kill_leader(self, event: Event) -> None:
        slot = SLOTS[int(event.choice * len(SLOTS))]
        if self._simulation.controller.may_lose_a_group:
            self._world.say(f"  it is that of slot {slot}")
            self._simulation.controller.links.leader(slot).end()

    # ── the rest ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _kill_scheduler(self, event: Event) -> None:
        if self._world.scheduler and self._simulation.controller.may_lose_the_scheduler:
            self._world.scheduler.end()

    def _stop_scheduler(self, event: Event) -> None:
        if scheduler := self._world.scheduler:
            scheduler.stop()
            self._world.clock.after(event.seconds, scheduler.go_on)

    def _kill_gateway(self, event: Event) -> None:
        gateways = self._simulation.gateways
        self._simulation.replace_gateway(int(event.choice * len(gateways)))

    def _client_leaves(self, event: Event) -> None:
        gateways = self._simulation.gateways
        gateways[int(event.choice * len(gateways))].client_leaves(event.choice * len(gateways) % 1)

    def _rotate(self, event: Event) -> None:
        self._want(event.choice, new_group=True)

    def _rotate_twice(self, event: Event) -> None:
        self._want(event.choice, new_group=True)
        self._want(1 - event.choice, new_group=event.choice < 0.5)

    def _change_in_place(self, event: Event) -> None:
        self._want(event.choice, new_group=False)

    def _want(self, choice: float, new_group: bool) -> None:
        self._simulation.controller.want(SPLITS[int(choice * (len(SPLITS) - 1))], new_group)

    def _next_group_is_late(self, event: Event) -> None:
        """A late group counts among those that never served."""
        if self._simulation.controller.may_lose_a_group:
            self._simulation.controller.links.leader(SLOTS[int(event.choice * len(SLOTS))]).next_is_late = True
