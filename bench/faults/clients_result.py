"""The results file of difficult clients: a JSON line a pair of rounds, one with them and one without."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.faults.difficult import Kind
from bench.results import LinesFile, Origin, alike

RESULTS = Path("bench/results/clients.jsonl")


class ClientsConfiguration(msgspec.Struct, frozen=True):
    """What sets one measurement apart from another. `clients`: difficult ones in a round, whose load takes `seconds`.
    `new_per_second`: requests that come in new beside `streams` users who ask for `tokens` each time."""

    kind: Kind
    serves: str
    clients: int
    seconds: float
    streams: int
    tokens: int
    new_per_second: float
    gateway_workers: int


class ClientsRound(msgspec.Struct, frozen=True):
    """Seconds. `tpots`: of each answer that was whole; `ttfts`: of the requests that came in new, whole ones.

    `failures`: of both, by kind. `present` and `ends`: how many of the difficult ones were there, and how their
    connections ended. `pages_left`: in use when all had gone, None where it did not serve then. `worker_bytes`: the
    most memory that a gateway worker had to itself when the load had ended.
    """

    tpots: tuple[float, ...]
    ttfts: tuple[float, ...]
    failures: dict[str, int]
    present: int
    ends: dict[str, int]
    pages_left: int | None
    worker_bytes: int


class ClientsLine(msgspec.Struct, frozen=True):
    """A pair. In the `calm` round leavers stayed, and all others had come and gone before."""

    origin: Origin
    configuration: ClientsConfiguration
    calm: ClientsRound
    difficult: ClientsRound
    load_average: float


class ClientsResults(LinesFile[ClientsLine]):
    """What has been measured, and where the next pair goes."""

    kind, noun = ClientsLine, "pair of rounds"

    def done(self, configuration: ClientsConfiguration, origin: Origin) -> int:
        """Pairs of this configuration, on such a machine."""
        return len(alike(self.lines, configuration, origin.machine))
