"""What one request alone needs, as far as requests have shown it: no target below that can be kept. No clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from appliance.slo.metrics import RequestRecord
from appliance.slo.profile import Speeds
from appliance.slo.target import SLOTarget

LEAST_TOKENS = 8
"""Of an answer from whose pace something is learnt: two tokens can arrive together."""
LEAST_REQUESTS = 20
"""So many must have been served: the best of a few may have waited for others, or for the machine."""


@dataclass(frozen=True, slots=True)
class Alone:
    """The best that was seen, reckoned to the whole chip: with a part of it nothing is faster than with all.

    None as long as no request has shown it. `requests`: whole answers that were learnt from.
    """

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    requests: int = 0

    @property
    def is_known(self) -> bool:
        """True once enough requests have shown both."""
        return self.requests >= LEAST_REQUESTS

    def learned(self, record: RequestRecord, speeds: Speeds) -> Alone:
        """With one more request, served while the phases had `speeds`.

        What the first token takes apart from prefill does not shrink with the share, so that the reckoned figure is
        rather too small: what is refused by it is surely out of reach.
        """
        learned = self
        if record.first_token_at is not None:
            ttft_ms = 1000 * record.ttft_seconds(record.first_token_at) * speeds.prefill
            learned = replace(learned, ttft_ms=_less(learned.ttft_ms, ttft_ms))
        tpot = record.tpot_seconds(record.first_token_at or 0.0) if record.is_finished else None
        if tpot is not None and record.output_tokens >= LEAST_TOKENS:
            tpot_ms = _less(learned.tpot_ms, 1000 * tpot * speeds.decode)
            learned = replace(learned, tpot_ms=tpot_ms, requests=learned.requests + 1)
        return learned

    def refusal(self, target: SLOTarget) -> str:
        """Why a target cannot be kept, in a sentence; empty if it can, or nothing is known."""
        return target.refusal(self.ttft_ms or 0.0, self.tpot_ms or 0.0) if self.is_known else ""


def _less(known: float | None, seen: float) -> float:
    return min(math.inf if known is None else known, seen)
