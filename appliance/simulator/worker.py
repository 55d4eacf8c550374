"""A worker whose steps take time and compute nothing. One phase, or both packed into the same steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from appliance.simulator.lanes import Lanes
from appliance.simulator.run import Pace, Run
from appliance.simulator.step_times import StepTimes, token_context
from engine.allocation import Phase
from engine.model.segment import Drawn
from engine.wire.to_scheduler import DecodeReport, PrefillReport, WorkerReady
from engine.wire.to_worker import DecodeOrder, Drain, PrefillOrder
from engine.worker.prefiller import Prefiller

Order = PrefillOrder | DecodeOrder | Drain
Report = PrefillReport | DecodeReport


class SimulatedWorker:
    """Orders that come within a step are read at its end, as a worker does. Its clock is the caller's."""

    def __init__(self, peer: bytes, ready: WorkerReady, times: StepTimes, pace: Pace, page_size: int):
        self.peer = peer
        self.ready = ready
        self.run: Run | None = None
        self.is_drained = False
        self.last_report_at = 0.0
        self._times = times
        self._pace = pace
        self._orders: deque[Order] = deque()
        self._prefill = Prefiller()
        self._lanes = Lanes(ready.epoch, page_size)
        self._prefills = self._decodes = False

    def deliver(self, order: Order, now: float) -> None:
        """What runs is cut short after the step that is in progress; it has been caught up to `now`."""
        self._orders.append(order)
        if self.run is not None:
            in_progress = 1 if now >= self.run.begins_at(self.run.reported) else 0
            self.run.steps = min(self.run.steps, self.run.reported + in_progress)

    @property
    def next_event_at(self) -> float | None:
        """When its run's last step is reported, or if it is, when the next may begin; None while there is no run."""
        if self.run is None:
            return None
        return self.run.report_at(self.run.steps - 1) if self.run.is_unreported else self.run.ends_at

    def begin(self, now: float, free_pages: int, *, skips: bool) -> bool:
        """Read orders and begin the next steps; False if there is nothing to do."""
        assert self.run is None
        while self._orders:
            self._apply(self._orders.popleft())
        self._prefills, self._decodes = self._prefill.has_work, self._lanes.has_work
        if self.is_drained or not (self._prefills or self._decodes):
            return False
        batch, context = self._lanes.begin() if self._decodes else (0, 0)
        if self._prefills:
            tokens, tokens_context = self._prefill_size()
            self.run = Run(now, self._times.packed(tokens, tokens_context, batch, context), 0.0, 1, self._pace)
        else:
            steps = self._lanes.equal_steps(free_pages) if skips else 1
            first = self._times.decode(batch, context) if batch else 0.0
            self.run = Run(now, first, self._times.d2 * batch, steps, self._pace)
        return True

    def catch_up(self, now: float) -> tuple[list[int], int, float]:
        """Steps that are over by `now`, but for the last of a run, which `reports` tells of: whose they were, how many
        and their seconds."""
        run = self.run
        if run is None or run.reported >= run.steps - 1:
            return [], 0, 0.0
        over = min(run.steps - 1, run.steps_by(now))
        steps, seconds = over - run.reported, run.seconds_of(over) - run.seconds_of(run.reported)
        run.reported = over
        if steps:
            self.last_report_at = run.report_at(over - 1)
        return (self._lanes.skip(steps), steps, seconds * self._pace.report) if steps else ([], 0, 0.0)

    def reports(self) -> list[Report]:
        """The last step of a run is over."""
        assert self.run is not None
        seconds = self.run.step_seconds(self.run.steps - 1) * self._pace.report
        self.last_report_at = self.run.report_at(self.run.steps - 1)
        self.run.reported = self.run.steps
        reports: list[Report] = []
        if self._prefills:
            drawn = [Drawn(0) if segment.sampling else None for segment in self._prefill.segments()]
            reports.append(self._prefill.report(drawn, seconds))
        if self._decodes:
            reports.append(self._lanes.report(seconds))
        return reports

    def _apply(self, order: Order) -> None:
        match order:
            case PrefillOrder():
                self._prefill.apply(order)
            case DecodeOrder():
                self._lanes.apply(order)
            case Drain():
                self.is_drained = True

    def _prefill_size(self) -> tuple[int, float]:
        segments = self._prefill.segments()
        contexts = (token_context(segment.start, len(segment.token_ids)) for segment in segments)
        return sum(len(segment.token_ids) for segment in segments), sum(contexts)


def phases_of(is_colocated: bool) -> Sequence[tuple[Phase, ...]]:
    """One worker with both phases, or one for each."""
    return [tuple(Phase)] if is_colocated else [(phase,) for phase in Phase]
