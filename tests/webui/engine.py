"""An engine without processes, for a real coordinator: it has a split, records, and the status a real one tells."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from appliance.profile.offer import Offer
from appliance.rotation.description import describe
from appliance.rotation.history import History, RotationRecord, Way
from appliance.rotation.state import Group, Stage, State
from appliance.slo.ladder import Ladder
from appliance.slo.profile import Profile
from engine.allocation import SMAllocation
from engine.config import ServerArgs
from engine.wire.to_controller import LoadReport


class StandInEngine:
    """A rotation is live at once; `refusal` is why the next one is not made."""

    def __init__(self, settings: ServerArgs, on_record: Callable[[RotationRecord], Any]):
        self.settings = settings
        self.refusal = ""
        self.offer = Offer(Ladder.in_steps_of(10), Profile.duty())
        self._history = History()
        self._on_record = on_record
        self._group = Group(1, "a", SMAllocation(70, 30), Stage.ACTIVE)

    @property
    def allocation_in_force(self) -> SMAllocation:
        return self._group.allocation

    @property
    def status(self) -> dict[str, Any]:
        state = State((self._group,), self._group.epoch, in_force=self._group.allocation)
        status = describe(self.settings, state, {}, {}, {}, None, self._history)
        return status | {"scheduler": SCHEDULER}

    def rotate(self, allocation: SMAllocation, *, reason: str = "", new_group: bool = False) -> RotationRecord:
        record = self._history.begin(allocation, reason)
        record.problem = self.refusal
        if not record.problem:
            self._group = Group(self._group.epoch + 1, "b", allocation, Stage.ACTIVE)
            record.epoch, record.way, record.live_seconds = self._group.epoch, Way.NEW_GROUP, 0.5
            record.streams, record.pause_ms, record.median_pause_ms = 5, 9.0, 2.0
        self._on_record(record)
        return record

    def request_sm_reallocation(self, sm_allocation: SMAllocation, *, reason: str = "") -> bool:
        return not self.rotate(sm_allocation, reason=reason).problem

    def start_in_background(self) -> Future[None]:
        started: Future[None] = Future()
        started.set_result(None)
        return started

    def aim(self, ttft_target_ms: float, tpot_target_ms: float) -> None:
        """Nothing is computed, so nothing is computed in another order."""

    def watch_load(self, seconds: float, on_report: Callable[[LoadReport], None]) -> None:
        """No requests come."""

    def stop(self) -> None:
        """Nothing runs."""


SCHEDULER: dict[str, Any] = {
    "ready": True,
    "waiting": 2,
    "prefilling": 1,
    "decoding": 7,
    "total_pages": 8192,
    "free_pages": 6100,
    "cached_pages": 512,
    "preemptions": 0,
    "workers": [],
}
