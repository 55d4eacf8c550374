"""The results file of what was made up: a JSON line a round, appended to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.results import LinesFile, Origin, alike

RESULTS = Path("bench/results/fuzz.jsonl")


class FuzzConfiguration(msgspec.Struct, frozen=True):
    """What sets one measurement apart from another: rounds of the same add up. `made_by`: by what and in which way."""

    kind: str
    serves: str
    made_by: str
    seed: int


class FuzzLine(msgspec.Struct, frozen=True):
    """A round. `outcomes`: of the `cases`, by HTTP status or in words. `problems`: each once, with what led to it.

    `slowest_seconds`: of an answer, None where that is not measured. `canaries`: how often a tenant's own came back
    to it, None where there are none.
    """

    origin: Origin
    configuration: FuzzConfiguration
    number: int
    cases: int
    outcomes: dict[str, int]
    problems: tuple[str, ...]
    slowest_seconds: float | None
    canaries: int | None
    seconds: float
    load_average: float


class FuzzResults(LinesFile[FuzzLine]):
    """What has been tried, and where the next round goes."""

    kind, noun = FuzzLine, "round of made-up input"

    def done(self, configuration: FuzzConfiguration, origin: Origin) -> list[FuzzLine]:
        """Rounds of this configuration, on such a machine."""
        return alike(self.lines, configuration, origin.machine)
