"""The real policy over a simulated box: its manager is told what the controller would tell it, and is heeded."""

from __future__ import annotations

from appliance.simulator.simulation import Simulation
from appliance.slo.ladder import Ladder
from appliance.slo.manager import SLOAwareResourceManager
from appliance.slo.target import SLOTarget
from engine.allocation import SMAllocation


class SimulatedRotation:
    """Takes what `ProcessRotationManager` takes. A change is granted at once and in force `change_seconds` later."""

    def __init__(self, simulation: Simulation):
        self._simulation = simulation
        self._is_changing = False

    @property
    def allocation_in_force(self) -> SMAllocation | None:
        return self._simulation.split

    def request_sm_reallocation(self, sm_allocation: SMAllocation, *, reason: str = "") -> bool:
        """False while another change is under way."""
        if self._is_changing:
            return False
        self._is_changing = True
        self._simulation.after(self._simulation.box.change_seconds, lambda: self._change(sm_allocation))
        return True

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
            SimulatedRotation(simulation),
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
