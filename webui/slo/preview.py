"""What the policy would do with other targets, by what it predicted last for each split. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.slo import SLOTarget
from appliance.slo.predictor import Prediction
from appliance.slo.verdict import Verdict, judge


class Rung(NamedTuple):
    """One split with what is predicted there."""

    split: str
    predicted: Prediction
    verdict: Verdict


class Preview(NamedTuple):
    """`rungs` in the order of the ladder; `sentence` for a person; `is_kept` None where nothing is predicted."""

    rungs: list[Rung]
    best: Rung | None
    is_kept: bool | None
    sentence: str


def preview(target: SLOTarget, latest_decision: Mapping[str, Any] | None) -> Preview:
    """`latest_decision` as `DecisionRecord.as_dict` has it."""
    predicted = (latest_decision or {}).get("rungs") or {}
    rungs = [_rung(split, values, target) for split, values in sorted(predicted.items(), key=_prefill_share)]
    if not rungs:
        return Preview([], None, None, "The policy has not seen enough requests yet to predict anything.")
    best = min(rungs, key=lambda rung: rung.verdict.rank)
    at = f"At {best.split}: TTFT {best.predicted.ttft_ms:.0f} ms, TPOT {best.predicted.tpot_ms:.1f} ms"
    if best.verdict.violation:
        how = best.verdict.excess(target)
        return Preview(rungs, best, False, f"No split keeps both under the load of the last window. {at}, {how}.")
    return Preview(rungs, best, True, f"Both would be kept under the load of the last window. {at}.")


def doubt(found: Preview, confidence: float | None, wanted: float) -> str:
    """How far to trust the predictions, in a sentence; empty where they are good enough for the policy."""
    if not found.rungs or confidence is None or confidence >= wanted:
        return ""
    return f"These predictions are uncertain: their confidence is {confidence:.2f}, and {wanted:g} is wanted."


def _rung(split: str, values: Mapping[str, float], target: SLOTarget) -> Rung:
    prediction = Prediction(values["ttft_ms"], values["tpot_ms"])
    return Rung(split, prediction, judge(prediction, target))


def _prefill_share(item: tuple[str, Any]) -> int:
    return int(item[0].split("/")[0])
