"""History for the charts: a span of time as columns, with what happened in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from appliance.store import queries
from appliance.store.reading import StoreUnreadable, reading

SERIES = (
    "time",
    "ttft_p50_ms",
    "ttft_p95_ms",
    "ttft_p99_ms",
    "tpot_p50_ms",
    "tpot_p95_ms",
    "tpot_p99_ms",
    "ttft_target_ms",
    "tpot_target_ms",
    "waiting",
    "prefilling",
    "decoding",
    "kv_used_pages",
    "kv_total_pages",
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
    "split_in_force",
    "prefill_sms",
    "decode_sms",
    "gpu_memory_bytes",
    "gpu_power_watts",
    "gpu_utilization",
)
LONGEST_SECONDS = 30 * 86400


def columns(state_dir: Path, span_seconds: float) -> dict[str, Any]:
    """The latest `span_seconds`: `series` by name, `step_seconds` between rows, `marks`, and why there is nothing."""
    until = time.time()
    since = until - min(span_seconds, LONGEST_SECONDS)
    resolution = queries.resolution_for(until - since)
    found: dict[str, Any] = {"since": since, "until": until, "step_seconds": resolution.seconds}
    try:
        with reading(state_dir) as connection:
            rows = queries.metrics(connection, since, until, resolution)
            marks = queries.marks(connection, since, until)
    except StoreUnreadable as error:
        return found | {"series": {name: [] for name in SERIES}, "marks": [], "problem": str(error)}
    return found | {"series": {name: [row[name] for row in rows] for name in SERIES}, "marks": marks, "problem": ""}
