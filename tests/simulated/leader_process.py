"""The leader of a slot: forms groups, tells what became of them. On a GPU its workers share an MPS server."""

from __future__ import annotations

from collections.abc import Callable

from engine.allocation import Phase, SMAllocation
from engine.wire.codec import Message
from engine.wire.to_controller import GroupGone, GroupLost, GroupStarted
from engine.wire.to_leader import FormGroup, KeepSpares, KillGroup
from tests.simulated.mps_states import Mps
from tests.simulated.process import Process
from tests.simulated.simulated_worker import SimulatedWorker
from tests.simulated.world import World

IMPORT_SECONDS = 3.0
WARM_UP_SECONDS = 0.4
LONGEST_END_SECONDS = 1.0
"""Of a worker that is killed: a device that is busy may hold it up."""


class SimulatedLeader(Process):
    """`spares` are imported; a group formed without them waits for the imports."""

    def __init__(self, world: World, slot: str, tell: Callable[[Message], None]):
        super().__init__(world, f"leader-{slot}")
        self.slot = slot
        self.spares = 0
        self.next_is_late = False
        self.mps = Mps()
        self.groups: dict[int, list[SimulatedWorker]] = {}
        self._tell = tell

    def obey(self, order: Message) -> None:
        match order:
            case FormGroup():
                self._form(order)
            case KeepSpares(count):
                self.after(IMPORT_SECONDS, lambda: setattr(self, "spares", count))
            case KillGroup(epoch):
                self.kill_group(epoch)

    def kill_group(self, epoch: int) -> None:
        for worker in self.groups.get(epoch, ()):
            worker.kill(self.world.chance.uniform(0.0, LONGEST_END_SECONDS))

    def has_ended(self) -> None:
        """Its workers are killed with it."""
        for epoch in self.groups:
            self.kill_group(epoch)

    def _form(self, order: FormGroup) -> None:
        self.world.invariants.formed(self.slot, order.epoch)
        roles = [tuple(Phase)] if order.colocated else [(phase,) for phase in Phase]
        split = SMAllocation(order.prefill_percentage, order.decode_percentage)
        workers = [SimulatedWorker(self.world, order.epoch, self.slot, role, split) for role in roles]
        self.groups[order.epoch] = workers
        seconds = WARM_UP_SECONDS + (0.0 if self.spares >= len(roles) else IMPORT_SECONDS)
        if self.next_is_late:
            seconds, self.next_is_late = 1000.0, False
        self.spares = 0
        for worker in workers:
            worker.when_dead(self._worker_died)
            worker.when_ended(lambda worker=worker: self.do(lambda: self._worker_ended(worker)))
            worker.after(seconds * self.world.chance.uniform(0.8, 1.2), lambda worker=worker: self._begin(worker))
        self._tell(GroupStarted(self.slot, order.epoch, tuple(worker.pid for worker in workers)))

    def _begin(self, worker: SimulatedWorker) -> None:
        if self.world.scenario.on_gpu:
            self.mps = self.mps.connected(worker.pid)
        self.world.invariants.began(worker)
        worker.begin()

    def _worker_died(self, worker: SimulatedWorker, was_computing: bool) -> None:
        """At the very instant: the device knows before anybody has been told."""
        if not self.world.scenario.on_gpu or worker.pid not in self.mps.clients:
            return
        before, self.mps = self.mps, self.mps.left(worker.pid, was_computing)
        if self.mps.is_poisoned and not before.is_poisoned:
            self._poison()

    def _poison(self) -> None:
        """Every client's next call fails: it says nothing more and ends, if it is not ended first."""
        self.world.say(f"the MPS server of slot {self.slot} has a fault")
        for worker in [worker for group in self.groups.values() for worker in group]:
            if worker.pid in self.mps.clients:
                worker.poison()
        self.mps = self.mps.told()

    def _worker_ended(self, worker: SimulatedWorker) -> None:
        group = self.groups[worker.epoch]
        group.remove(worker)
        problem = f"Worker process {worker.pid} ended." if worker.code else ""
        if problem:
            self._tell(GroupLost(worker.epoch, problem))
        if not group:
            del self.groups[worker.epoch]
            self._tell(GroupGone(self.slot, worker.epoch, problem))
