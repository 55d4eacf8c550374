"""How many requests had which latency, in a form that adds up: seconds become minutes, and minutes hours.

A latency falls in the bucket of its logarithm, each 2 % wider than the one before, so that a percentile that is read
from the middle of a bucket is wrong by at most 1 %. (The idea is DDSketch's: Masson, Rim and Lee, VLDB 2019.)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from appliance.slo.percentiles import Percentiles, Weighted, percentiles

_GROWTH = 1.02
_LEAST_MS = 0.01

Counts = Mapping[str, int]
"""Bucket → requests. Buckets are texts because JSON's keys are."""


def counted(latencies_ms: Iterable[float]) -> dict[str, int]:
    return dict(Counter(map(_bucket, latencies_ms)))


def merged(parts: Iterable[Counts]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


def percentiles_of(counts: Counts) -> Percentiles | None:
    """Milliseconds; None of no requests."""
    return percentiles(Weighted(_middle(bucket), requests) for bucket, requests in counts.items())


def _bucket(latency_ms: float) -> str:
    return str(math.ceil(math.log(max(latency_ms, _LEAST_MS), _GROWTH)))


def _middle(bucket: str) -> float:
    """Bucket n holds (growth^(n-1), growth^n]."""
    return 2 * _GROWTH ** int(bucket) / (1 + _GROWTH)
