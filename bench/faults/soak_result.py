"""The results file of soaks: a JSON line a block of requests and rotations, appended to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.faults.footprint import Footprint
from bench.results import BadResults, Origin

RESULTS = Path("bench/results/soak.jsonl")


class SoakConfiguration(msgspec.Struct, frozen=True):
    """What sets one measurement apart from another. `block` requests between two looks, with `rotations`."""

    serves: str
    seed: int
    streams: int
    whole: int
    gateway_workers: int
    block: int
    rotations: int


class SoakLine(msgspec.Struct, frozen=True):
    """A block. `appliance`: when the one was started that it was measured on, for growth is within one.

    `failed`: rotations that were not made, with the reason. `taken`: at rest, after the block.
    """

    origin: Origin
    configuration: SoakConfiguration
    appliance: str
    requests: int
    verdicts: dict[str, int]
    rotations: int
    failed: tuple[str, ...]
    taken: dict[str, Footprint]
    pages_left: int | None
    seconds: float
    load_average: float


class SoakResults:
    """What has been measured, and where the next block goes."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: list[SoakLine] = _read(path) if path.exists() else []

    def append(self, line: SoakLine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        self.lines.append(line)

    def done(self, configuration: SoakConfiguration, origin: Origin) -> int:
        """Requests of this configuration, on such a machine."""
        alike = (line for line in self.lines if line.configuration == configuration)
        return sum(line.requests for line in alike if line.origin.machine == origin.machine)


def _read(path: Path) -> list[SoakLine]:
    decoder = msgspec.json.Decoder(SoakLine)
    lines = list[SoakLine]()
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            lines.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise BadResults(f"Line {number} of {path} is no block of a soak: {error}.") from error
    return lines
