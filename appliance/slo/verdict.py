"""How far latencies are from their targets."""

from __future__ import annotations

from typing import NamedTuple

from appliance.slo.predictor import Prediction
from appliance.slo.target import SLOTarget
from appliance.slo.window import WindowSummary
from engine.allocation import Phase


class Verdict(NamedTuple):
    """Latencies over their targets: 1.0 is just kept."""

    ttft: float
    tpot: float

    @property
    def violation(self) -> float:
        """Total relative violation: 0.0 where both targets are kept."""
        return max(0.0, self.ttft - 1) + max(0.0, self.tpot - 1)

    @property
    def headroom(self) -> float:
        """What is left of the target that is nearer."""
        return 1 - max(self.ttft, self.tpot)

    @property
    def rank(self) -> tuple[float, float]:
        """Least total relative violation first, then most headroom, as far as a hundredth of a target counts."""
        return self.violation, -round(self.headroom, 2)

    @property
    def worst(self) -> Phase:
        """The phase that is further beyond its target."""
        return Phase.PREFILL if self.ttft >= self.tpot else Phase.DECODE

    def excess(self, target: SLOTarget) -> str:
        """By how much which target is missed, in words."""
        missed = [("TTFT", self.ttft, target.ttft_target_ms), ("TPOT", self.tpot, target.tpot_target_ms)]
        words = [f"{name} {_times(ratio)} its {ms:g} ms" for name, ratio, ms in missed if ratio > 1]
        return " and ".join(words)


def _times(ratio: float) -> str:
    """Never "1.0 times": what is missed by a little is said in percent."""
    return f"{ratio:.1f} times" if ratio >= 1.1 else f"{max(0.1, 100 * (ratio - 1)):.1f} % beyond"


def judge(prediction: Prediction, target: SLOTarget) -> Verdict:
    return Verdict(prediction.ttft_ms / target.ttft_target_ms, prediction.tpot_ms / target.tpot_target_ms)


def verdict_of(seen: WindowSummary, target: SLOTarget) -> Verdict:
    """Of the p95 that was seen; what was not seen is no violation."""
    ttft_ms = seen.ttft_ms.p95 if seen.ttft_ms else 0.0
    tpot_ms = seen.tpot_ms.p95 if seen.tpot_ms else 0.0
    return judge(Prediction(ttft_ms, tpot_ms), target)
