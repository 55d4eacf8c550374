"""The results file of overloads: a JSON line each."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.results import LinesFile, Origin, alike
from bench.summary import Percentiles

RESULTS = Path("bench/results/overload.jsonl")


class OverloadConfiguration(msgspec.Struct, frozen=True):
    """What sets one overload apart from another. `times` what is served, for `minutes`; each request asks for `tokens`.
    `queue_seconds`: how long one may wait. Earlier there was a number of those that may, `queue`, None for as many as
    can be in time."""

    serves: str
    times: float
    minutes: float
    tokens: int
    ttft_ms: float
    tpot_ms: float
    gateway_workers: int
    seed: int
    queue: int | None = None
    queue_seconds: float | None = None


class Grown(msgspec.Struct, frozen=True):
    """Bytes of a process' memory: its own, PSS and RSS, at the medians of the first third of the looks and of the last.

    The KV pool is shared, and counts in PSS and RSS of who has touched its pages; only a process' own tells of a leak.
    """

    first: tuple[int, int, int]
    last: tuple[int, int, int]


class OverloadLine(msgspec.Struct, frozen=True):
    """`served_per_second` where as many as possible were under way, before; `queue_limit`: of those that may wait,
    if it is a number.

    `whole`: answers that were accepted and whole, of which `within` kept both targets; of these are TTFT and TPOT.
    `refusal_ms`: from the begin of connecting to the refusal's end, and the longest. `too_long`: how requests were
    answered of which it is only known when they are tokenised. `pages_left`: in use when all had ended, None where it
    did not serve then. `late_ms_p99`: the client's own lag.
    """

    origin: Origin
    configuration: OverloadConfiguration
    served_per_second: float
    requests: int
    whole: int
    within: int
    ttft_ms: Percentiles | None
    tpot_ms: Percentiles | None
    refused: int
    refusal_ms: Percentiles | None
    longest_refusal_ms: float
    too_long: dict[str, int]
    failures: dict[str, int]
    memory: dict[str, Grown]
    pages_left: int | None
    late_ms_p99: float
    load_average: float
    queue_limit: int | None = None


class OverloadResults(LinesFile[OverloadLine]):
    """What has been measured, and where the next line goes."""

    kind, noun = OverloadLine, "overload"

    def has(self, configuration: OverloadConfiguration, origin: Origin) -> bool:
        return bool(alike(self.lines, configuration, origin.machine))
