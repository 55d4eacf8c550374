"""The results file of shifts: a JSON line a run, appended to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.machine import Machine
from bench.results import BadResults, Origin

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


class ShiftResults:
    """What has been measured, and where the next run goes."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: list[ShiftLine] = _read(path) if path.exists() else []

    def append(self, line: ShiftLine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        self.lines.append(line)

    def has(self, configuration: ShiftConfiguration, machine: Machine, ruled_by: str) -> bool:
        alike = (line for line in self.lines if line.configuration == configuration and line.ruled_by == ruled_by)
        return any(line.origin.machine == machine for line in alike)


def _read(path: Path) -> list[ShiftLine]:
    decoder = msgspec.json.Decoder(ShiftLine)
    lines = list[ShiftLine]()
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            lines.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise BadResults(f"Line {number} of {path} is no run of a shift: {error}.") from error
    return lines
