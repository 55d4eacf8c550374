"""The results file of faults: a JSON line a block of them, appended to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.results import LinesFile, Origin, alike

RESULTS = Path("bench/results/faults.jsonl")


class FaultConfiguration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What sets one measurement apart from another: blocks of the same add up.

    `kind`: `kill` (SIGKILL) or `stop` (SIGSTOP, and SIGCONT after `hold_seconds`). `hasty`: the part of faults after
    which the next does not wait until spares are ready again. `points`: where exactly, instead of whom.
    """

    kind: str
    serves: str
    seed: int
    streams: int
    whole: int
    gateway_workers: int
    victims: tuple[str, ...]
    hold_seconds: float
    hasty: float
    points: tuple[str, ...] = ()


class Injected(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault. Seconds are since it was injected.

    `victim`: who was struck, or at which point. `silence_seconds`: the longest of each stream that waited.
    `served_seconds`: until requests were served with another process in the victim's place; `redundant_seconds`: until
    spares were ready too, None where that was not waited for. `ended_seconds`: until a process that was stopped had
    been ended by the appliance. `problem`: what else happened, empty where nothing did.
    """

    number: int
    victim: str
    waiting: int
    silence_seconds: tuple[float, ...] = ()
    served_seconds: float | None = None
    redundant_seconds: float | None = None
    ended_seconds: float | None = None
    problem: str = ""


class FaultLine(msgspec.Struct, frozen=True):
    """A block. `verdicts`: of all `requests`, by kind, in the words of `bench.faults.verdict`.

    `pages_left`: in use when nobody asked any more, None where it did not serve then. `load_average`: of the machine.
    `odd`: what is known of each request that was lost or wrong, to find out why.
    """

    origin: Origin
    configuration: FaultConfiguration
    faults: tuple[Injected, ...]
    requests: int
    verdicts: dict[str, int]
    tokens: int
    seconds: float
    pages_left: int | None
    load_average: float
    odd: tuple[str, ...] = ()


class FaultResults(LinesFile[FaultLine]):
    """What has been injected, and where the next block goes."""

    kind, noun = FaultLine, "block of faults"

    def done(self, configuration: FaultConfiguration, origin: Origin) -> int:
        """Faults that were injected with this configuration, on such a machine."""
        return sum(len(line.faults) for line in alike(self.lines, configuration, origin.machine))
