"""One decision and its sentence: what was seen, what was predicted, what is done and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from appliance.slo.predictor import Prediction
from appliance.slo.target import SLOTarget
from appliance.slo.window import WindowSummary
from engine.allocation import SMAllocation


class Action(StrEnum):
    """`move` trusts a prediction; `explore` goes one rung because there is none to trust."""

    STAY = "stay"
    MOVE = "move"
    EXPLORE = "explore"


class Choice(NamedTuple):
    """What is to be done, and what is predicted at `split`, where anything is."""

    action: Action
    split: SMAllocation
    reason: str
    confidence: float | None = None
    predicted: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`in_force` is the split at which the window was `seen`; `rungs` what was predicted for each split there is."""

    in_force: SMAllocation
    seen: WindowSummary
    target: SLOTarget
    choice: Choice
    rungs: dict[SMAllocation, Prediction] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        return self.choice.split != self.in_force

    @property
    def sentence(self) -> str:
        split, reason = self.choice.split, self.choice.reason
        done = {Action.STAY: "Stays", Action.MOVE: f"Moves to {split}", Action.EXPLORE: f"Tries {split}"}
        return f"Seen at {self.in_force}: {self._seen()}.{self._predicted()} {done[self.choice.action]}: {reason}."

    def _seen(self) -> str:
        seen, target = self.seen, self.target
        if seen.ttft_ms is None:
            return "no requests"
        tpot = f", TPOT p95 {seen.tpot_ms.p95:.1f} of {target.tpot_target_ms:g} ms" if seen.tpot_ms else ""
        ttft = f"TTFT p95 {seen.ttft_ms.p95:.0f} of {target.ttft_target_ms:g} ms"
        requests = "request" if seen.samples == 1 else "requests"
        return f"{ttft}{tpot} ({seen.samples} {requests}, {seen.waiting} waiting)"

    def _predicted(self) -> str:
        if self.choice.predicted is None or self.choice.action is not Action.MOVE:
            return ""
        ttft_ms, tpot_ms = self.choice.predicted
        at = f"Predicted at {self.choice.split}: TTFT {ttft_ms:.0f} ms, TPOT {tpot_ms:.1f} ms"
        return f" {at}, confidence {self.choice.confidence:.2f}."
