"""The results file of what was made up: a JSON line a round, appended to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.results import BadResults, Origin

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


class FuzzResults:
    """What has been tried, and where the next round goes."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: list[FuzzLine] = _read(path) if path.exists() else []

    def append(self, line: FuzzLine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        self.lines.append(line)

    def done(self, configuration: FuzzConfiguration, origin: Origin) -> list[FuzzLine]:
        """Rounds of this configuration, on such a machine."""
        alike = (line for line in self.lines if line.configuration == configuration)
        return [line for line in alike if line.origin.machine == origin.machine]


def _read(path: Path) -> list[FuzzLine]:
    decoder = msgspec.json.Decoder(FuzzLine)
    lines = list[FuzzLine]()
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            lines.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise BadResults(f"Line {number} of {path} is no round of made-up input: {error}.") from error
    return lines
