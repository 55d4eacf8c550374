"""The results file of shifts: a JSON line a run, appended to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.machine import Machine
from bench.results import LinesFile, Origin, alike

RESULTS = Path("bench/results/shift.jsonl")
POLICY = "policy"


class Part(msgspec.Struct, frozen=True):
    """One kind of load for so long."""

    mix: str
    rate: float
    seconds: float


class ShiftConfiguration(msgspec.Struct, frozen=True):
    """What sets one shift apart from another. `window_seconds`: the policy's; `start`: the split it begins at."""

    system: str
    serves: str
    parts: tuple[Part, ...]
    scale: float
    seed: int
    ttft_ms: float
    tpot_ms: float
    window_seconds: float
    cooldown_seconds: float
    start: str


class Kept(msgspec.Struct, frozen=True):
    """Requests of one part, and how many of them kept both targets; `late_*`: of those after its first window."""

    requests: int
    kept: int
    late_requests: int
    late_kept: int


class ShiftLine(msgspec.Struct, frozen=True):
    """One run. `ruled_by`: `policy`, or the split that was in force throughout. `moves`: what the policy did."""

    origin: Origin
    configuration: ShiftConfiguration
    ruled_by: str
    parts: tuple[Kept, ...]
    failures: dict[str, int]
    moves: tuple[str, ...]
    late_ms_p99: float
    loop_lag_ms_p99: float
    load_average: float

    @property
    def requests(self) -> int:
        return sum(part.requests for part in self.parts)

    @property
    def attainment(self) -> float:
        """The part of all requests that kept both targets."""
        return sum(part.kept for part in self.parts) / max(1, self.requests)


class ShiftResults(LinesFile[ShiftLine]):
    """What has been measured, and where the next run goes."""

    kind, noun = ShiftLine, "run of a shift"

    def has(self, configuration: ShiftConfiguration, machine: Machine, ruled_by: str) -> bool:
        return any(line.ruled_by == ruled_by for line in alike(self.lines, configuration, machine))
