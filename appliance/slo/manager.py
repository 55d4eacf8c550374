"""Lets the policy decide once a window, and has the rotation manager do what was decided."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Protocol

from apscheduler.schedulers.background import BackgroundScheduler

from appliance.slo.decision import Decision
from appliance.slo.decisions import DecisionLog, DecisionRecord
from appliance.slo.ladder import Ladder
from appliance.slo.metrics import RequestRecord, WorkloadMetrics, WorkTotals
from appliance.slo.policy import Mode, PolicyState, Settings, decide
from appliance.slo.predictor import Predictor
from appliance.slo.profile import Profile
from appliance.slo.target import SLOTarget
from appliance.slo.wall_clock import WallClockWatch
from appliance.slo.window import Window, WindowSummary
from engine.allocation import SMAllocation

log = logging.getLogger(__name__)

JOB = "slo-policy"
WALL_CLOCK_LOOKS_A_WINDOW = 4


class RotationManager(Protocol):
    """What the policy needs of `ProcessRotationManager`."""

    @property
    def allocation_in_force(self) -> SMAllocation | None:
        """The split in force; None while no group serves."""
        ...

    def request_sm_reallocation(self, sm_allocation: SMAllocation, *, reason: str = "") -> bool:
        """True once the split is live."""
        ...


class SLOAwareResourceManager:
    """Watches TTFT and TPOT over a window of `window_size_seconds` and moves the split when a target is missed.

    Thread-safe. `clock` is monotonic and in the same time as the records. Raises `ValueError` for a bad number.
    """

    def __init__(
        self,
        slo_target: SLOTarget,
        process_rotation_manager: RotationManager,
        window_size_seconds: float = 30.0,
        adjustment_cooldown_seconds: float = 60.0,
        min_confidence_threshold: float = 0.7,
        *,
        ladder: Ladder | None = None,
        profile: Profile | None = None,
        mode: Mode = Mode.AUTO,
        on_record: Callable[[DecisionRecord], None] = lambda record: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._settings = Settings(
            slo_target, ladder or Ladder.in_steps_of(10), mode, adjustment_cooldown_seconds, min_confidence_threshold
        )
        self._rotation = process_rotation_manager
        self._window = Window(window_size_seconds)
        self._predictor = Predictor(profile or Profile.duty(), slo_target, window_size_seconds)
        self._state = PolicyState()
        self._in_force: SMAllocation | None = None
        self._log = DecisionLog(on_record)
        self._clock = clock
        self._lock = threading.Lock()
        self._scheduler: BackgroundScheduler | None = None
        self._wall_clock = WallClockWatch(self._reschedule, window_size_seconds / WALL_CLOCK_LOOKS_A_WINDOW)

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Decide once a window from now on; a decision that takes longer than a window is not made twice."""
        if self._scheduler is not None:
            return
        self._scheduler = BackgroundScheduler()
        self._scheduler.add_job(
            self.decide, "interval", seconds=self._window.seconds, id=JOB, max_instances=1, coalesce=True,
            misfire_grace_time=None,
        )  # fmt: skip
        self._scheduler.start()
        self._wall_clock.start()

    def stop(self) -> None:
        """Decide no more; waits for a decision under way."""
        if self._scheduler is not None:
            self._wall_clock.stop()
            self._scheduler.shutdown()
            self._scheduler = None

    def _reschedule(self) -> None:
        log.warning("The wall clock was set; the next decision is planned anew, a window from now.")
        if self._scheduler is not None:
            self._scheduler.reschedule_job(JOB, trigger="interval", seconds=self._window.seconds)

    # ── what it is told ─────────────────────────────────────────────────────────────────────────────────────────────

    def report_metrics(self, metrics: WorkloadMetrics) -> None:
        """For callers who have only percentiles."""
        with self._lock:
            self._window.report(metrics, self._clock())

    def observe(self, record: RequestRecord) -> None:
        """A request has come, or come further."""
        with self._lock:
            self._window.observe(record)

    def forget(self, request_id: int) -> None:
        """A request went away without an end that counts."""
        with self._lock:
            self._window.forget(request_id)

    def count_work(self, totals: WorkTotals) -> None:
        """What the workers have computed so far; a group that is new continues the count of the old."""
        with self._lock:
            self._window.count_work(totals, self._clock())

    def set_mode(self, mode: Mode) -> None:
        with self._lock:
            self._settings = replace(self._settings, mode=mode)

    def set_target(self, target: SLOTarget) -> None:
        """From the next decision on."""
        with self._lock:
            self._settings = replace(self._settings, target=target)
            self._predictor = replace(self._predictor, target=target)

    def set_pace(self, window_seconds: float, cooldown_seconds: float, min_confidence: float) -> None:
        """How often, how soon again, and how sure: from the next decision on."""
        with self._lock:
            self._settings = replace(self._settings, cooldown_seconds=cooldown_seconds, least_confidence=min_confidence)
            if window_seconds == self._window.seconds:
                return
            self._window = self._window.resized(window_seconds)
            self._predictor = replace(self._predictor, window_seconds=window_seconds)
        if self._scheduler is not None:
            self._scheduler.reschedule_job(JOB, trigger="interval", seconds=window_seconds)

    # ── what it does ────────────────────────────────────────────────────────────────────────────────────────────────

    def decide(self) -> DecisionRecord | None:
        """One round, now: look, decide, have it done. None while no group serves, and nothing is to decide."""
        in_force = self._rotation.allocation_in_force
        if in_force is None:
            return None
        with self._lock:
            record = self._log.add(self._decision(in_force), time.time())
        decision, was_taken = record.decision, None
        log.info("%s", decision.sentence)
        if decision.moves:
            was_taken = self._rotation.request_sm_reallocation(decision.choice.split, reason=decision.choice.reason)
        with self._lock:
            self._log.taken(record, was_taken)
        return record

    def _decision(self, in_force: SMAllocation) -> Decision:
        seen = self._window.summary(self._clock())
        if in_force == self._in_force:
            self._learn(seen, in_force)
        elif self._in_force is not None and not self._is_own_change(in_force):
            self._state = self._state.changed(seen.at)
        self._in_force = in_force
        decision, self._state = decide(self._state, self._settings, self._predictor, seen, in_force)
        return decision

    def _is_own_change(self, in_force: SMAllocation) -> bool:
        """Its cooldown runs since it was decided; that of a person's change since it was seen."""
        return bool(self._log.records) and self._log.records[-1].decision.choice.split == in_force

    def _learn(self, seen: WindowSummary, in_force: SMAllocation) -> None:
        """From a window during all of which one split was in force."""
        self._log.complete(seen, in_force)
        self._predictor = self._predictor.learned(seen, self._predictor.profile.speeds(in_force, seen.lanes))

    # ── what it knows ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def decisions(self) -> list[DecisionRecord]:
        """The latest, oldest first."""
        with self._lock:
            return list(self._log.records)

    def status(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        with self._lock:
            latest = self._log.records[-1] if self._log.records else None
            return {
                "mode": self._settings.mode.value,
                "target": asdict(self._settings.target),
                "seen": asdict(self._window.summary(self._clock())),
                "confidence": self._predictor.confidence(self._clock()),
                "prediction_error": self._log.prediction_error,
                "latest_decision": latest.as_dict() if latest else None,
            }
