"""What the policy would do with other targets, by what it saw and predicted last for each split. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.slo import SLOTarget
from appliance.slo.percentiles import Percentiles
from appliance.slo.predictor import Prediction
from appliance.slo.verdict import Verdict, judge


class Rung(NamedTuple):
    """One split with what is predicted there."""

    split: str
    predicted: Prediction
    verdict: Verdict


class Preview(NamedTuple):
    """`rungs` in the order of the ladder, `seen` what was seen at the split in force; `sentence` for a person.

    `is_kept` None where nothing is predicted.
    """

    rungs: list[Rung]
    best: Rung | None
    is_kept: bool | None
    sentence: str
    seen: Rung | None = None


def preview(target: SLOTarget, latest_decision: Mapping[str, Any] | None, in_force: str | None = None) -> Preview:
    """`latest_decision` as `DecisionRecord.as_dict` has it; what it saw counts if its split is `in_force` still."""
    predicted = (latest_decision or {}).get("rungs") or {}
    rungs = [_rung(split, values, target) for split, values in sorted(predicted.items(), key=_prefill_share)]
    if not rungs:
        return Preview([], None, None, "Not enough requests have been seen yet to predict anything.")
    best, seen = min(rungs, key=lambda rung: rung.verdict.rank), _seen(latest_decision or {}, target, in_force)
    if seen is not None and not seen.verdict.violation:
        return Preview(rungs, best, True, f"Both were kept in the last window {_at(seen)}: nothing has to move.", seen)
    if best.verdict.violation:
        how = best.verdict.excess(target)
        return Preview(
            rungs, best, False, f"No split keeps both under the load of the last window. Best {_at(best)}, {how}.", seen
        )
    return Preview(rungs, best, True, f"Both would be kept under the load of the last window {_at(best)}.", seen)


def doubt(found: Preview, confidence: float | None, wanted: float) -> str:
    """How far to trust the predictions, in a sentence; empty where they are good enough for the policy."""
    if not found.rungs or confidence is None or confidence >= wanted:
        return ""
    return f"These predictions are uncertain: their confidence is {confidence:.2f}, and {wanted:g} is wanted."


def _at(rung: Rung) -> str:
    return f"at {rung.split}, TTFT {rung.predicted.ttft_ms:.0f} ms and TPOT {rung.predicted.tpot_ms:.1f} ms"


def _seen(decision: Mapping[str, Any], target: SLOTarget, in_force: str | None) -> Rung | None:
    """The split in force with the percentiles of the window, which need not be a rung: shares may overlap."""
    seen = decision.get("seen") or {}
    ttft_ms, tpot_ms = seen.get("ttft_ms"), seen.get("tpot_ms")
    if not (ttft_ms and tpot_ms) or decision["in_force"] != in_force:
        return None
    p95 = {"ttft_ms": Percentiles(*ttft_ms).p95, "tpot_ms": Percentiles(*tpot_ms).p95}
    return _rung(decision["in_force"], p95, target)


def _rung(split: str, values: Mapping[str, float], target: SLOTarget) -> Rung:
    prediction = Prediction(values["ttft_ms"], values["tpot_ms"])
    return Rung(split, prediction, judge(prediction, target))


def _prefill_share(item: tuple[str, Any]) -> int:
    return int(item[0].split("/")[0])
