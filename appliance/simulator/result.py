"""What a simulated run amounts to, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.simulator.journal import Journey
from appliance.slo.percentiles import Percentiles, Weighted, percentiles
from appliance.slo.target import SLOTarget
from engine.allocation import SMAllocation


@dataclass(frozen=True, slots=True)
class Result:
    """`attainment`: the part of all requests that kept both targets; a refused one kept none. `by_time`: the same for
    requests by when they came, in equal spans. Requests came for `arrivals_seconds`, the last one ended after
    `seconds`, and all that was simulated in `took_seconds`."""

    name: str
    requests: int
    refused: int
    attainment: float
    ttft_ms: Percentiles | None
    tpot_ms: Percentiles | None
    by_time: tuple[float | None, ...]
    arrivals_seconds: float
    seconds: float
    took_seconds: float
    changes: tuple[tuple[float, SMAllocation], ...]
    sentences: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "requests": self.requests,
            "refused": self.refused,
            "attainment": self.attainment,
            "ttft_ms": self.ttft_ms._asdict() if self.ttft_ms else None,
            "tpot_ms": self.tpot_ms._asdict() if self.tpot_ms else None,
            "attainment_by_time": list(self.by_time),
            "seconds": self.seconds,
            "took_seconds": self.took_seconds,
            "changes": [{"at_seconds": at, "split": str(split)} for at, split in self.changes],
            "decisions": list(self.sentences),
        }


def keeps(journey: Journey, target: SLOTarget) -> bool:
    """Both targets; an answer of one token has no TPOT to miss."""
    if journey.ttft_ms is None or journey.ttft_ms > target.ttft_target_ms:
        return False
    return journey.tpot_ms is None or journey.tpot_ms <= target.tpot_target_ms


def attainment(journeys: Iterable[Journey], target: SLOTarget) -> float | None:
    kept = [keeps(journey, target) for journey in journeys]
    return sum(kept) / len(kept) if kept else None


def by_time(journeys: Sequence[Journey], target: SLOTarget, spans: int) -> tuple[float | None, ...]:
    """Attainment in `spans` equal parts of the time in which requests came."""
    if not journeys:
        return (None,) * spans
    last = max(journey.arrived_at for journey in journeys) * (1 + 1e-9) or 1.0
    parts: list[list[Journey]] = [[] for _ in range(spans)]
    for journey in journeys:
        parts[int(journey.arrived_at / last * spans)].append(journey)
    return tuple(attainment(part, target) for part in parts)


def latencies(journeys: Sequence[Journey]) -> tuple[Percentiles | None, Percentiles | None]:
    """Of TTFT and of TPOT."""
    ttft = (Weighted(journey.ttft_ms) for journey in journeys if journey.ttft_ms is not None)
    tpot = (Weighted(journey.tpot_ms) for journey in journeys if journey.tpot_ms is not None)
    return percentiles(ttft), percentiles(tpot)
