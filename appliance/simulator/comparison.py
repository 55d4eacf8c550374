"""The same load over one box at every split, under the policy, and colocated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from appliance.simulator.box import Box
from appliance.simulator.controlled import Controlled
from appliance.simulator.result import Result, attainment, by_time, latencies
from appliance.simulator.simulation import Simulation
from appliance.slo.ladder import Ladder
from appliance.slo.target import SLOTarget
from appliance.workload import Arrival
from engine.allocation import SMAllocation

SPANS = 40
POLICY, COLOCATED = "policy", "colocated"


def simulate(
    box: Box,
    arrivals: Sequence[Arrival],
    target: SLOTarget,
    split: SMAllocation | None,
    ladder: Ladder | None = None,
    **policy: float,
) -> Result:
    """One run; with a `ladder` the policy decides, from `split` on. `split` None is a colocated group."""
    began = time.perf_counter()
    simulation = Simulation(box, arrivals, split)
    controlled = Controlled(simulation, target, ladder, **policy) if ladder is not None else None
    simulation.run()
    took = time.perf_counter() - began
    journeys = list(simulation.journal.journeys.values())
    ttft, tpot = latencies(journeys)
    return Result(
        name=POLICY if controlled else str(split) if split else COLOCATED,
        requests=len(journeys),
        refused=sum(journey.is_refused for journey in journeys),
        attainment=attainment(journeys, target) or 0.0,
        ttft_ms=ttft,
        tpot_ms=tpot,
        by_time=by_time(journeys, target, SPANS),
        arrivals_seconds=max((journey.arrived_at for journey in journeys), default=0.0),
        seconds=simulation.now,
        took_seconds=took,
        changes=tuple(simulation.changes),
        sentences=tuple(record.sentence for record in controlled.manager.decisions) if controlled else (),
    )


def compare(
    box: Box,
    arrivals: Sequence[Arrival],
    target: SLOTarget,
    ladder: Ladder,
    start: SMAllocation,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Each split of the ladder, then the policy from `start` on, then colocated; `on_result` hears of each at once."""
    results = []
    for result in _results(box, arrivals, target, ladder, start):
        on_result(result)
        results.append(result)
    return results


def _results(
    box: Box, arrivals: Sequence[Arrival], target: SLOTarget, ladder: Ladder, start: SMAllocation
) -> Iterator[Result]:
    for split in ladder:
        yield simulate(box, arrivals, target, split)
    yield simulate(box, arrivals, target, start, ladder)
    yield simulate(box, arrivals, target, None)
