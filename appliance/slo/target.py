"""The two promises, in milliseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.allocation import Phase


@dataclass(frozen=True, slots=True)
class SLOTarget:
    """The first token within `ttft_target_ms`, the following ones `tpot_target_ms` apart on average, at the 95th
    percentile of requests. Raises `ValueError`, with one sentence, for a target that is no positive number."""

    ttft_target_ms: float
    tpot_target_ms: float

    def __post_init__(self) -> None:
        for name, value in (("TTFT", self.ttft_target_ms), ("TPOT", self.tpot_target_ms)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise ValueError(f"The {name} target must be a positive number of milliseconds, not {value!r}.")

    def of(self, phase: Phase) -> float:
        """Prefill answers for TTFT, decode for TPOT."""
        return self.ttft_target_ms if phase is Phase.PREFILL else self.tpot_target_ms

    def refusal(self, least_ttft_ms: float, least_tpot_ms: float) -> str:
        """Why this target cannot be kept, given what one request alone needs on the whole chip; empty if it can."""
        least = {"TTFT": (self.ttft_target_ms, least_ttft_ms), "TPOT": (self.tpot_target_ms, least_tpot_ms)}
        for name, (wanted, needed) in least.items():
            if wanted < needed:
                return (
                    f"A {name} target of {wanted:g} ms cannot be kept: one request alone needs {needed:.1f} ms here. "
                    f"Ask for more than that."
                )
        return ""

    def __str__(self) -> str:
        return f"TTFT {self.ttft_target_ms:g} ms, TPOT {self.tpot_target_ms:g} ms"
