"""The compliance report: of the requests that ended in a span of time, how many kept which promise, at which split."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from appliance.store import queries
from appliance.store.reading import StoreUnreadable, reading

COLUMNS = ("time", "split", "requests", "attained", "ttft_violated", "tpot_violated", "in_force_seconds")
_COUNTS = COLUMNS[2:6]


class Compliance(NamedTuple):
    """Sums over a span, and by split."""

    requests: int
    attained: int
    ttft_violated: int
    tpot_violated: int
    by_split: dict[str, dict[str, int]]
    rows: list[dict[str, Any]]

    @property
    def percent(self) -> float | None:
        """Of the requests, those that kept both; None of none."""
        return 100 * self.attained / self.requests if self.requests else None


def compliance(state_dir: Path, span_seconds: float) -> Compliance:
    """The latest `span_seconds`."""
    try:
        with reading(state_dir) as connection:
            rows = queries.attainment(connection, time.time() - span_seconds)
    except StoreUnreadable:
        rows = []
    return summed([{name: row[name] for name in COLUMNS} for row in rows])


def summed(rows: list[dict[str, Any]]) -> Compliance:
    splits = sorted({row["split"] for row in rows if row["requests"]})
    by_split = {split: _sums(row for row in rows if row["split"] == split) for split in splits}
    return Compliance(**_sums(rows), by_split=by_split, rows=rows)


def as_csv(found: Compliance) -> str:
    """One line a minute (an hour once it is days old) and split; times are ISO 8601 in UTC."""
    out = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    for row in found.rows:
        writer.writerow(row | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row["time"]))})
    return out.getvalue()


def _sums(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    kept = list(rows)
    return {name: sum(row[name] for row in kept) for name in _COUNTS}
