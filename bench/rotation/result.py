"""The results file of rotations: a JSON line a block of them, appended to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.results import LinesFile, Origin, alike

RESULTS = Path("bench/results/rotation.jsonl")


class RotationConfiguration(msgspec.Struct, frozen=True):
    """What sets one measurement apart from another: blocks of the same add up.

    `is_exact`: answers are compared with an undisturbed run. `splits`: those rotated to, in turn. `in_place`: by the
    same processes, where they have prepared the split.
    """

    system: str
    serves: str
    mix: str
    rate: float
    scale: float
    seed: int
    witness_share: float
    is_exact: bool
    calm_seconds: float
    rest_seconds: float
    splits: tuple[str, ...]
    in_place: bool = False


class Rotated(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rotation. Seconds since the order; milliseconds of what streams saw, `pauses_ms` one a stream.

    `problem`: why it was not made; then there are no times.
    """

    split: str
    ready_seconds: float | None = None
    live_seconds: float | None = None
    gone_seconds: float | None = None
    longest_gap_ms: float | None = None
    pauses_ms: tuple[float, ...] = ()
    problem: str = ""


class RotationLine(msgspec.Struct, frozen=True):
    """A block. `calm_gaps_ms`: longest gaps of spans without rotation, each as long as a rotation took.

    `calm_pauses_ms`: what would have been taken for pauses there. `faults`: of `compared` answers, by kind.
    `load_average`: of the machine, over the last minute of the block.
    """

    origin: Origin
    configuration: RotationConfiguration
    rotations: tuple[Rotated, ...]
    requests: int
    failures: dict[str, int]
    compared: int
    faults: dict[str, int]
    tokens: int
    seconds: float
    calm_gaps_ms: tuple[float, ...]
    late_ms_p99: float
    loop_lag_ms_p99: float
    load_average: float
    calm_pauses_ms: tuple[float, ...] = ()


class RotationResults(LinesFile[RotationLine]):
    """What has been measured, and where the next block goes."""

    kind, noun = RotationLine, "block of rotations"

    def done(self, configuration: RotationConfiguration, origin: Origin) -> int:
        """Rotations that were tried with this configuration, on such a machine."""
        return sum(len(line.rotations) for line in alike(self.lines, configuration, origin.machine))
