"""A worker whose steps take time and compute nothing. One phase, or both packed into the same steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from appliance.simulator.lanes import Lanes
from appliance.simulator.part import Part
from appliance.simulator.prefill import SimulatedPrefill
from appliance.simulator.run import Pace, Run
from appliance.simulator.step_times import StepTimes
from engine.allocation import Phase
from engine.wire.to_scheduler import DecodeReport, PrefillReport, ShareTaken, WorkerReady
from engine.wire.to_worker import DecodeOrder, Drain, PrefillOrder, TakeShare

Order = PrefillOrder | DecodeOrder | TakeShare | Drain
Report = PrefillReport | DecodeReport


class DoneSteps(NamedTuple):
    """Equal decode steps: whose they were, how many, their seconds, and whether with the whole device."""

    request_ids: list[int]
    steps: int
    seconds: float
    borrowed: bool


class SimulatedWorker:
    """Orders that come within a step are read at its end, as a worker does. Its clock is the caller's.

    `part` of the device is its own, None where it has all of it; `launch_seconds` before a decode step's end the next
    is made up.
    """

    def __init__(
        self,
        peer: bytes,
        ready: WorkerReady,
        times: StepTimes,
        part: Part | None,
        page_size: int,
        launch_seconds: float = 0.0,
    ):
        self.peer = peer
        self.ready = ready
        self.part = part
        self.run: Run | None = None
        self.is_drained = False
        self.last_report_at = 0.0
        self._times = times
        self._launch_seconds = launch_seconds
        self._orders: deque[tuple[float, Order]] = deque()
        self._prefill = SimulatedPrefill()
        self._lanes = Lanes(ready.epoch, page_size)
        self._prefills = self._decodes = self.borrows = False
        self._free_since = 0.0

    def deliver(self, order: Order, now: float) -> None:
        """What runs is cut short after the step that is in progress; it has been caught up to `now`."""
        self._orders.append((now, order))
        self.stop_after_step(now)

    def stop_after_step(self, now: float) -> None:
        """The steps behind the one in progress are begun anew: something is different now."""
        if self.run is not None:
            in_progress = 1 if now >= self.run.begins_at(self.run.reported) else 0
            self.run.steps = min(self.run.steps, self.run.reported + in_progress)

    def end_run(self) -> None:
        assert self.run is not None
        self._free_since = self.run.ends_at
        self.run = None

    @property
    def is_busy(self) -> bool:
        """As it tells the other phase."""
        return self.run is not None or bool(self._orders) or self._prefill.has_work or self._lanes.has_work

    @property
    def next_event_at(self) -> float | None:
        """When its run's last step is reported, or if it is, when the next may begin; None while there is no run."""
        if self.run is None:
            return None
        return self.run.report_at(self.run.steps - 1) if self.run.is_unreported else self.run.ends_at

    def read_orders(self, now: float) -> list[ShareTaken]:
        """Before a step; what came after its launch waits for the next one. Returns what is answered at once."""
        assert self.run is None
        answers = []
        launched_at = now - self._launch_seconds if self._lanes.has_work and self._free_since == now else now
        while self._orders and self._orders[0][0] <= launched_at:
            answers += self._apply(self._orders.popleft()[1])
        return answers

    def begin(self, now: float, free_pages: int, *, borrows: bool, skips: bool) -> None:
        """Begin the next steps, if there is something to do. `borrows`: with the whole device."""
        self._prefills, self._decodes = self._prefill.has_work, self._lanes.has_work
        if self.is_drained or not (self._prefills or self._decodes):
            return
        self.borrows = borrows
        batch, context = self._lanes.begin() if self._decodes else (0, 0)
        part = None if borrows else self.part
        if self._prefills:
            seconds = self._times.packed(*self._prefill.begin(borrows), batch, context)
            self.run = Run(now, seconds, 0.0, 1, part.prefill(seconds) if part else Pace())
        else:
            steps = self._lanes.equal_steps(free_pages) if skips and not self._orders else 1
            first = self._times.decode(batch, context) if batch else 0.0
            self.run = Run(now, first, self._times.d2 * batch, steps, part.decode(batch) if part else Pace())

    def catch_up(self, now: float) -> DoneSteps | None:
        """Steps that are over by `now`, but for the last of a run, which `reports` tells of."""
        run = self.run
        if run is None or run.reported >= run.steps - 1:
            return None
        over = min(run.steps - 1, run.steps_by(now))
        steps, seconds = over - run.reported, run.seconds_of(over) - run.seconds_of(run.reported)
        run.reported = over
        if not steps:
            return None
        self.last_report_at = run.report_at(over - 1)
        return DoneSteps(self._lanes.skip(steps), steps, seconds * run.pace.report, self.borrows)

    def reports(self) -> list[Report]:
        """The last step of a run is over."""
        assert self.run is not None
        seconds = self.run.step_seconds(self.run.steps - 1) * self.run.pace.report
        self.last_report_at = self.run.report_at(self.run.steps - 1)
        self.run.reported = self.run.steps
        reports: list[Report] = []
        if self._prefills and (report := self._prefill.done(seconds)):
            reports.append(report)
        if self._decodes:
            reports.append(self._lanes.report(seconds, seconds if self.borrows else 0.0))
        return reports

    def _apply(self, order: Order) -> list[ShareTaken]:
        match order:
            case PrefillOrder():
                self._prefill.apply(order)
            case DecodeOrder():
                self._lanes.apply(order)
            case TakeShare():
                return [ShareTaken(order.epoch, order.sequence, order.percentage, 0)]
            case Drain():
                self.is_drained = True
        return []


def phases_of(is_colocated: bool) -> Sequence[tuple[Phase, ...]]:
    """One worker with both phases, or one for each."""
    return [tuple(Phase)] if is_colocated else [(phase,) for phase in Phase]
