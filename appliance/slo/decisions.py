"""The decisions that were made, each with what came of it a window later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from appliance.slo.decision import Action, Decision
from appliance.slo.verdict import verdict_of
from appliance.slo.window import WindowSummary
from engine.allocation import SMAllocation

KEPT = 1000


@dataclass(slots=True)
class DecisionRecord:
    """`decided_at` is the wall clock's. `was_taken`: whether the rotation manager made the change, None where none was
    asked for. `error`: of the prediction, as a part of the target or of what came if that is more, the mean of both."""

    number: int
    decided_at: float
    decision: Decision
    was_taken: bool | None = None
    outcome: str = ""
    error: float | None = None

    @property
    def sentence(self) -> str:
        refused = " The change was refused or rolled back." if self.was_taken is False else ""
        return f"{self.decision.sentence}{refused}{' ' if self.outcome else ''}{self.outcome}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and the database."""
        decision, choice = self.decision, self.decision.choice
        return {
            "number": self.number,
            "decided_at": self.decided_at,
            "action": choice.action.value,
            "in_force": str(decision.in_force),
            "split": str(choice.split),
            "seen": asdict(decision.seen),
            "predicted": choice.predicted._asdict() if choice.predicted else None,
            "rungs": {str(split): predicted._asdict() for split, predicted in decision.rungs.items()},
            "confidence": choice.confidence,
            "was_taken": self.was_taken,
            "outcome": self.outcome,
            "error": self.error,
            "sentence": self.sentence,
        }


class DecisionLog:
    """The latest decisions, oldest first; `on_record` hears of each when it is made and again when it is complete."""

    def __init__(self, on_record: Callable[[DecisionRecord], None] = lambda record: None):
        self.records: deque[DecisionRecord] = deque(maxlen=KEPT)
        self._on_record = on_record
        self._count = 0

    def add(self, decision: Decision, decided_at: float) -> DecisionRecord:
        self._count += 1
        record = DecisionRecord(self._count, decided_at, decision)
        self.records.append(record)
        return record

    def taken(self, record: DecisionRecord, was_taken: bool | None) -> None:
        record.was_taken = was_taken
        self._on_record(record)

    def complete(self, seen: WindowSummary, in_force: SMAllocation) -> None:
        """The first window that was all at one split, after the latest decision without an outcome: what came of it."""
        open_records = [record for record in self.records if not record.outcome and _can_show(record, seen)]
        for record in open_records:
            record.outcome = _outcome(record.decision, seen, in_force)
            if record.decision.choice.split == in_force:
                record.error = _error(record.decision, seen)
            self._on_record(record)

    @property
    def prediction_error(self) -> float | None:
        """Mean error of the latest predictions that were put to the test."""
        errors = [record.error for record in self.records if record.error is not None][-20:]
        return sum(errors) / len(errors) if errors else None


def _can_show(record: DecisionRecord, seen: WindowSummary) -> bool:
    return record.decision.seen.at < seen.at


def _outcome(decision: Decision, seen: WindowSummary, in_force: SMAllocation) -> str:
    if seen.ttft_ms is None:
        return "A window later: no requests."
    kept = verdict_of(seen, decision.target)
    tpot = f", TPOT p95 {seen.tpot_ms.p95:.1f} ms" if seen.tpot_ms else ""
    result = "both targets kept" if not kept.violation else kept.excess(decision.target)
    return f"A window later, at {in_force}: TTFT p95 {seen.ttft_ms.p95:.0f} ms{tpot}, {result}."


def _error(decision: Decision, seen: WindowSummary) -> float | None:
    predicted = decision.choice.predicted
    if predicted is None or decision.choice.action is Action.EXPLORE or seen.ttft_ms is None or seen.tpot_ms is None:
        return None
    pairs = [
        (predicted.ttft_ms, seen.ttft_ms.p95, decision.target.ttft_target_ms),
        (predicted.tpot_ms, seen.tpot_ms.p95, decision.target.tpot_target_ms),
    ]
    return sum(abs(said - came) / max(target, came) for said, came, target in pairs) / len(pairs)
