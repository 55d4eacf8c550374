"""Whether split, targets and window make sense together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from appliance.doctor.finding import Finding, advise, fine, trouble
from appliance.doctor.observations import Observations
from appliance.slo.alone import Alone
from appliance.slo.percentiles import Percentiles
from appliance.slo.policy import LEAST_SAMPLES, Mode
from appliance.slo.target import SLOTarget
from engine.allocation import SMAllocation
from engine.config import Mode as ServingMode
from engine.config import ServerArgs

LOPSIDED_BELOW = 20
"""Percent; a phase with less takes five times as long or more."""


def objective_findings(seen: Observations) -> Iterator[Finding]:
    if seen.settings is None:
        if seen.settings_problem:
            yield trouble("settings", seen.settings_problem, "Set it right, or unset it.")
        return
    yield _split(seen.settings, seen.status)
    if seen.status is not None:
        slo = seen.status["slo"]
        yield _targets(slo)
        yield _kept(slo)
        yield _window(slo)


def _split(settings: ServerArgs, status: Mapping[str, Any] | None) -> Finding:
    if settings.mode is ServingMode.COLOCATED or (status and status["mode"] == ServingMode.COLOCATED):
        return fine("split", "One worker does both phases.")
    split = _in_force(status) or settings.allocation
    if split.is_together:
        return fine("split", "One worker does both phases, until somebody rotates to two shares.")
    mode = Mode(status["slo"]["mode"] if status else settings.policy)
    shares, total = (
        (split.prefill_percentage, split.decode_percentage),
        sum((split.prefill_percentage, split.decode_percentage)),
    )
    complement = SMAllocation(split.prefill_percentage, max(1, 100 - split.prefill_percentage))
    if min(shares) < LOPSIDED_BELOW:
        phase = "prefill" if split.prefill_percentage < split.decode_percentage else "decode"
        advice = f"Give {phase} at least {LOPSIDED_BELOW} %, unless hardly anything is asked of it."
        return advise("split", f"At {split} {phase} has but {min(shares)} % of the device.", advice)
    if total < 100:
        return advise("split", f"At {split} {100 - total} % of the device are idle.", f"Rotate to {complement}.")
    if total > 100 and mode is not Mode.AUTO:
        seen = f"At {split} the parts overlap by {total - 100} %: neither phase's speed is its own."
        return advise("split", seen, "Choose shares that add up to 100, or set the policy to auto.")
    if total > 100:
        leaves = "the policy leaves it for one whose shares add up to 100 once a target is missed"
        return fine("split", f"At {split} the parts overlap by {total - 100} %; {leaves}.")
    return fine("split", f"{split} divides the device without overlap.")


def _in_force(status: Mapping[str, Any] | None) -> SMAllocation | None:
    if status is None or status["split_in_force"] is None:
        return None
    return SMAllocation(*(int(share) for share in status["split_in_force"].split("/")))


def _targets(slo: Mapping[str, Any]) -> Finding:
    target, alone = SLOTarget(**slo["target"]), Alone(**slo["alone"])
    if problem := alone.refusal(target):
        return trouble("targets", problem, "Set others with `semi-pd slo --ttft-ms … --tpot-ms …`.")
    if not alone.is_known:
        return fine("targets", f"{target}; not enough requests have shown yet whether they can be kept.")
    return fine("targets", f"{target}, where one request alone needs {alone.ttft_ms:.1f} and {alone.tpot_ms:.1f} ms.")


def _kept(slo: Mapping[str, Any]) -> Finding:
    """Seen now, whatever the policy makes of it."""
    late = [words for name, key in (("TTFT", "ttft"), ("TPOT", "tpot")) if (words := _lateness(slo, name, key))]
    if not late:
        return fine("kept", "No target is missed in the window.")
    latest = slo["latest_decision"]
    says = f" The policy: {latest['sentence']}" if latest else ""
    seen = f"{' and '.join(late)} in the last {slo['seen']['seconds']:g} s.{says}"
    return advise("kept", seen, "See `semi-pd decisions`.")


def _lateness(slo: Mapping[str, Any], name: str, key: str) -> str:
    """In words; empty where the target is kept, or nothing was seen."""
    points, limit = slo["seen"][f"{key}_ms"], slo["target"][f"{key}_target_ms"]
    if points is None or (p95 := Percentiles(*points).p95) <= limit:
        return ""
    return f"{name} p95 is {p95:.0f} of {limit:g} ms"


def _window(slo: Mapping[str, Any]) -> Finding:
    """Too few requests in a window, and the policy holds."""
    seen = slo["seen"]
    samples, seconds = seen["samples"], seen["seconds"]
    counted = f"{samples} {'request' if samples == 1 else 'requests'} in a window of {seconds:g} s"
    if slo["mode"] != Mode.AUTO or not samples or samples >= LEAST_SAMPLES:
        return fine("window", f"{counted}.")
    longer = seconds * LEAST_SAMPLES / samples
    return advise(
        "window",
        f"{counted}, fewer than {LEAST_SAMPLES}: the policy holds.",
        f"If this is the usual load, set window_size_seconds to {longer:.0f} or more.",
    )
