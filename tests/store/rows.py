"""Rows of metrics as the sampler writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, insert

from appliance.store.metrics_row import Latency, judged
from appliance.store.schema import Resolution, metrics

TARGET = {"ttft_target_ms": 500.0, "tpot_target_ms": 50.0}


def row(at: int, *ended: Latency, split: str = "50/50", **changes: Any) -> dict[str, Any]:
    """A second of metrics in which these requests ended."""
    status = {"split_asked": split, "split_in_force": split, "kv_total_pages": 100, "preemptions": 0, "waiting": 1.0}
    return {"time": at, "samples": 1, **judged(ended, TARGET), **status, **changes}


def write(*rows: dict[str, Any]) -> Callable[[Connection], object]:
    """For `Writer.sample`."""
    return lambda connection: [
        connection.execute(insert(metrics[Resolution.SECOND]).prefix_with("OR REPLACE").values(one)) for one in rows
    ]


def second(number: int) -> Callable[[Connection], object]:
    """Ten seconds after the one before."""
    return write(row(10 * number, Latency(100.0 + number, 10.0)))
