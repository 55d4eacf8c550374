"""The results file of soaks: a JSON line a block of requests and rotations, appended to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.faults.footprint import Footprint
from bench.results import LinesFile, Origin, alike

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


class SoakResults(LinesFile[SoakLine]):
    """What has been measured, and where the next block goes."""

    kind, noun = SoakLine, "block of a soak"

    def done(self, configuration: SoakConfiguration, origin: Origin) -> int:
        """Requests of this configuration, on such a machine."""
        return sum(line.requests for line in alike(self.lines, configuration, origin.machine))
