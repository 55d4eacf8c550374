"""Which workers exist, to which group they belong, and which of them receives each phase's orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engine.allocation import Phase
from engine.wire.to_controller import WorkerStatus
from engine.wire.to_scheduler import WorkerReady
from engine.wire.to_worker import PrefillOrder


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process. `in_flight` holds prefill orders that are not reported yet, by sequence."""

    peer: bytes
    ready: WorkerReady
    sequence: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
    is_draining: bool = False
    in_flight: dict[int, PrefillOrder] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        return self.ready.epoch

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence

    def did_step(self, seconds: float) -> None:
        self.steps += 1
        self.busy_seconds += seconds


class Groups:
    """All workers that have reported ready, by peer, and the route of each phase."""

    def __init__(self) -> None:
        self.workers: dict[bytes, Worker] = {}
        self._routes: dict[Phase, Worker] = {}
        self._superseded: set[int] = set()

    @property
    def is_routed(self) -> bool:
        """True while both phases have a worker that takes orders."""
        return len(self._routes) == len(Phase)

    def route(self, phase: Phase) -> Worker | None:
        return self._routes.get(phase)

    def of_epoch(self, epoch: int) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.epoch == epoch]

    def is_complete(self, epoch: int) -> bool:
        """True once the workers of `epoch` cover both phases."""
        return {phase for worker in self.of_epoch(epoch) for phase in worker.ready.phases} == set(Phase)

    def complete_epochs(self) -> list[int]:
        return sorted({w.epoch for w in self.workers.values() if self.is_complete(w.epoch) and not w.is_draining})

    def add(self, worker: Worker) -> None:
        self.workers[worker.peer] = worker

    def remove(self, worker: Worker) -> None:
        self.workers.pop(worker.peer, None)

    def activate(self, epoch: int) -> None:
        """Send both phases' orders to the workers of `epoch`."""
        assert self.is_complete(epoch)
        self._superseded |= {worker.epoch for worker in self._routes.values()} - {epoch}
        self._superseded.discard(epoch)
        for worker in self.of_epoch(epoch):
            for phase in worker.ready.phases:
                self._routes[phase] = worker

    def close(self, worker: Worker) -> None:
        """Send no more orders to `worker`."""
        self._routes = {phase: routed for phase, routed in self._routes.items() if routed is not worker}

    def take_idle(self, is_busy: Callable[[Worker], bool]) -> list[int]:
        """Epochs that served and have nothing left to do; each is told once."""
        idle = {epoch for epoch in self._superseded if not any(map(is_busy, self.of_epoch(epoch)))}
        self._superseded -= idle
        return sorted(idle)

    def statuses(self) -> tuple[WorkerStatus, ...]:
        active = set(map(id, self._routes.values()))
        return tuple(
            WorkerStatus(
                epoch=w.epoch,
                slot=w.ready.slot,
                phases=tuple(phase.value for phase in w.ready.phases),
                pid=w.ready.pid,
                splitter=w.ready.splitter,
                share_percentage=w.ready.share_percentage,
                sm_count=w.ready.sm_count,
                is_active=id(w) in active,
                steps=w.steps,
                busy_seconds=w.busy_seconds,
            )
            for w in self.workers.values()
        )
