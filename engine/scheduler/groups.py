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
    """One worker process. `in_flight` holds prefill orders that are not reported yet, by sequence.

    `fenced_because`: why nothing that it says counts any more; empty while it does. `is_gone`: its process has ended.
    `share` in percent, `sm_count` and `prepared` as it has said last; `share_ordered` is what it was told to take last,
    `shares_owed` counts such orders that it has not answered.
    """

    peer: bytes
    ready: WorkerReady
    sequence: int = 0
    steps: int = 0
    prefilled_tokens: int = 0
    busy_seconds: float = 0.0
    borrowed_seconds: float = 0.0
    share: int = field(init=False)
    share_ordered: int = field(init=False)
    shares_owed: int = 0
    sm_count: int = field(init=False)
    prepared: tuple[int, ...] | None = field(init=False)
    is_draining: bool = False
    is_gone: bool = False
    fenced_because: str = ""
    in_flight: dict[int, PrefillOrder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.share = self.share_ordered = self.ready.share_percentage
        self.sm_count = self.ready.sm_count
        self.prepared = self.ready.prepared

    @property
    def epoch(self) -> int:
        return self.ready.epoch

    @property
    def phase(self) -> Phase:
        """Whose share it has; a colocated worker has that of prefill."""
        return self.ready.phases[0]

    @property
    def is_colocated(self) -> bool:
        return len(self.ready.phases) > 1

    @property
    def ordered_tokens(self) -> int:
        """Of prompts, ordered and not reported."""
        return sum(len(chunk.token_ids) for order in self.in_flight.values() for chunk in order.chunks)

    @property
    def usual_step_seconds(self) -> float:
        """What its next step may take: that of its steps on average, or in proportion to what prefill has ordered."""
        average = self.busy_seconds / self.steps if self.steps else 0.0
        if not self.in_flight or not self.prefilled_tokens:
            return average
        return max(average, self.busy_seconds / self.prefilled_tokens * self.ordered_tokens)

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence

    def did_step(self, seconds: float, borrowed_seconds: float = 0.0) -> None:
        self.steps += 1
        self.busy_seconds += seconds
        self.borrowed_seconds += borrowed_seconds

    def can_take(self, share: int) -> bool:
        """True if it has the share, or could take it in place."""
        return share == self.share or self.prepared is None or share in self.prepared

    def order_share(self, share: int) -> bool:
        """Note that it is told to take `share`; False if that is what it was told last."""
        if share == self.share_ordered:
            return False
        self.share_ordered = share
        self.shares_owed += 1
        return True

    def took(self, share: int, sm_count: int) -> None:
        """It computes in another part now: the answer to the oldest order that it owes one to."""
        self.share, self.sm_count = share, sm_count
        self.shares_owed -= 1


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

    def used_bytes(self, epoch: int) -> int:
        """Of the device's memory, when they reported ready."""
        return sum(worker.ready.used_bytes for worker in self.of_epoch(epoch))

    def is_complete(self, epoch: int) -> bool:
        """True once the workers of `epoch` cover both phases."""
        counting = [worker for worker in self.of_epoch(epoch) if not worker.fenced_because]
        return {phase for worker in counting for phase in worker.ready.phases} == set(Phase)

    def complete_epochs(self) -> list[int]:
        return sorted({w.epoch for w in self.workers.values() if self.is_complete(w.epoch) and not w.is_draining})

    def add(self, worker: Worker) -> None:
        self.workers[worker.peer] = worker

    def remove(self, worker: Worker) -> None:
        self.workers.pop(worker.peer, None)
        worker.is_gone = True

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

    def recall_superseded(self) -> None:
        """Tell once more of idle groups that receive nothing: whoever was told may have ended."""
        routed = {worker.epoch for worker in self._routes.values()}
        self._superseded |= set(self.complete_epochs()) - routed

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
                share_percentage=w.share,
                sm_count=w.sm_count,
                is_active=id(w) in active,
                steps=w.steps,
                busy_seconds=w.busy_seconds,
                borrowed_seconds=w.borrowed_seconds,
                prepared=w.prepared,
                used_bytes=w.ready.used_bytes,
            )
            for w in self.workers.values()
        )
