"""The real policy over a simulated box: its manager is told what the controller would tell it, and is heeded."""

from __future__ import annotations

from appliance.rotation.prepared import prepared_beside
from appliance.simulator.simulation import Simulation
from appliance.slo.ladder import Ladder
from appliance.slo.manager import SLOAwareResourceManager
from appliance.slo.target import SLOTarget
from engine.allocation import SMAllocation


class SimulatedRotation:
    """Takes what `ProcessRotationManager` takes. What the workers have prepared, from the split in force, is taken in
    place; any other split is granted at once and in force `change_seconds` later, with another group."""

    def __init__(self, simulation: Simulation, ladder: Ladder):
        self._simulation = simulation
        self._ladder = ladder
        self._is_changing = False

    @property
    def allocation_in_force(self) -> SMAllocation | None:
        return self._simulation.split

    def request_sm_reallocation(self, sm_allocation: SMAllocation, *, reason: str = "") -> bool:
        """False while another change is under way."""
        if self._is_changing:
            return False
        if self._is_prepared(sm_allocation):
            self._simulation.take_split(sm_allocation)
            return True
        self._is_changing = True
        self._simulation.after(self._simulation.box.change_seconds, lambda: self._change(sm_allocation))
        return True

    def _is_prepared(self, split: SMAllocation) -> bool:
        """A part of a GPU is prepared for the neighbours; a share of time is a number."""
        box = self._simulation.box
        is_known = not box.profile.stretches_steps or split in prepared_beside(self._simulation.split, self._ladder)
        return box.in_place and is_known

    def _change(self, split: SMAllocation) -> None:
        self._is_changing = False
        self._simulation.change_split(split)


class Controlled:
    """A simulation and the manager that decides for it, once a window."""

    def __init__(
        self,
        simulation: Simulation,
        target: SLOTarget,
        ladder: Ladder,
        window_seconds: float = 30.0,
        cooldown_seconds: float = 60.0,
        least_confidence: float = 0.7,
    ):
        self._simulation = simulation
        self._window_seconds = window_seconds
        self.manager = SLOAwareResourceManager(
            target,
            SimulatedRotation(simulation, ladder),
            window_seconds,
            cooldown_seconds,
            least_confidence,
            ladder=ladder,
            profile=simulation.box.profile,
            clock=lambda: simulation.now,
        )
        simulation.on_end = lambda journey: self.manager.observe(journey.record(0, None))
        simulation.after(window_seconds, self._decide)

    def _decide(self) -> None:
        for journey, live, latest in self._simulation.live_journeys():
            self.manager.observe(journey.record(len(live.output_ids), latest))
        self.manager.count_work(self._simulation.totals)
        self.manager.decide()
        self._simulation.after(self._window_seconds, self._decide)
