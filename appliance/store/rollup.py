"""Seconds become minutes, minutes hours, and what is old goes. Only whole minutes and hours are summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select

from appliance.store import sketch
from appliance.store.metrics_row import percentile_columns
from appliance.store.schema import Resolution, attainment, decisions, events, metrics, rotations

Row = dict[str, Any]

HOUR, DAY, YEAR = 3600, 86400, 365 * 86400
KEPT_SECONDS = {Resolution.SECOND: 6 * HOUR, Resolution.MINUTE: 31 * DAY, Resolution.HOUR: 2 * YEAR}
STAYS_KEPT_SECONDS = 2 * DAY
"""Of decisions that changed nothing: one a window, and each with a prediction for every rung."""
HISTORY_KEPT_SECONDS = 2 * YEAR
ATTAINMENT_BY_MINUTE_SECONDS = 2 * DAY

_SUMS = ("samples", "requests", "attained", "ttft_violated", "tpot_violated", "preemptions")
_MEANS = (
    "waiting", "prefilling", "decoding", "kv_used_pages", "prefill_tokens_per_second", "decode_tokens_per_second",
    "gpu_memory_bytes", "gpu_power_watts", "gpu_utilization",
)  # fmt: skip
_LAST = (
    "ttft_target_ms", "tpot_target_ms", "kv_total_pages", "split_asked", "split_in_force", "prefill_sms", "decode_sms",
    "confidence", "prediction_error",
)  # fmt: skip
_COUNTS = ("ttft_counts", "tpot_counts")
_ATTAINMENT_SUMS = ("in_force_seconds", "requests", "attained", "ttft_violated", "tpot_violated")


def roll_up(connection: Connection, now: float) -> None:
    """Bring minutes and hours up to `now`; what is up to date already is left alone."""
    for begin, seconds in _due(connection, Resolution.SECOND, Resolution.MINUTE, now):
        _put(connection, metrics[Resolution.MINUTE], [combined(begin, seconds)])
        _put(connection, attainment, attainment_rows(begin, seconds))
    for begin, minutes in _due(connection, Resolution.MINUTE, Resolution.HOUR, now):
        _put(connection, metrics[Resolution.HOUR], [combined(begin, minutes)])


def forget_old(connection: Connection, now: float) -> None:
    """Delete what has been kept for as long as it is to be kept, and sum up attainment that is days old by hours."""
    for resolution, seconds in KEPT_SECONDS.items():
        table = metrics[resolution]
        connection.execute(delete(table).where(table.c.time < now - seconds))
    old_stay = (decisions.c.action == "stay") & (decisions.c.decided_at < now - STAYS_KEPT_SECONDS)
    connection.execute(delete(decisions).where(old_stay))
    for column in (decisions.c.decided_at, rotations.c.asked_at, events.c.at, attainment.c.time):
        connection.execute(delete(column.table).where(column < now - HISTORY_KEPT_SECONDS))
    _attainment_by_hour(connection, now - ATTAINMENT_BY_MINUTE_SECONDS)


def combined(begin: int, rows: Sequence[Row]) -> Row:
    """One row of metrics from finer ones, oldest first: sums, means over the samples, the last, and percentiles."""
    counts = {name: sketch.merged(row[name] for row in rows) for name in _COUNTS}
    return {
        "time": begin,
        **{name: sum(row[name] for row in rows) for name in _SUMS},
        **{name: _mean(rows, name) for name in _MEANS},
        **{name: rows[-1][name] for name in _LAST},
        **counts,
        **percentile_columns("ttft", sketch.percentiles_of(counts["ttft_counts"])),
        **percentile_columns("tpot", sketch.percentiles_of(counts["tpot_counts"])),
    }


def attainment_rows(begin: int, seconds: Sequence[Row]) -> list[Row]:
    """A minute's rows of metrics by the split that was in force."""
    parts = [
        {
            "time": begin,
            "span_seconds": Resolution.MINUTE.seconds,
            "split": row["split_in_force"] or "",
            "in_force_seconds": row["samples"],
            **{name: row[name] for name in (*_ATTAINMENT_SUMS[1:], *_COUNTS)},
        }
        for row in seconds
    ]
    return [_added_up(rows) for _, rows in _grouped(parts, lambda row: row["split"])]


def _attainment_by_hour(connection: Connection, before: float) -> None:
    end = int(before // HOUR * HOUR)
    due = (attainment.c.span_seconds < HOUR) & (attainment.c.time < end)
    parts = [dict(row) | {"span_seconds": HOUR} for row in connection.execute(select(attainment).where(due)).mappings()]
    connection.execute(delete(attainment).where(due))
    for row in parts:
        row["time"] -= row["time"] % HOUR
    _put(
        connection,
        attainment,
        [_added_up(rows) for _, rows in _grouped(parts, lambda row: (row["time"], row["split"]))],
    )


def _added_up(rows: Sequence[Row]) -> Row:
    """Of one split and time."""
    sums = {name: sum(row[name] for row in rows) for name in _ATTAINMENT_SUMS}
    return rows[0] | sums | {name: sketch.merged(row[name] for row in rows) for name in _COUNTS}


def minutes_due(connection: Connection) -> Iterator[tuple[int, Sequence[Row]]]:
    """Minutes that have no row yet, the one under way included, with the seconds in them."""
    return _due(connection, Resolution.SECOND, Resolution.MINUTE)


def _due(
    connection: Connection, finer: Resolution, coarser: Resolution, before: float | None = None
) -> Iterator[tuple[int, Sequence[Row]]]:
    """The spans that have no row yet, with the finer rows in them; those that are over at `before`, or all."""
    source, width = metrics[finer], coarser.seconds
    latest = connection.execute(select(func.max(metrics[coarser].c.time))).scalar()
    query = select(source).where(source.c.time >= (0 if latest is None else latest + width)).order_by(source.c.time)
    if before is not None:
        query = query.where(source.c.time < before // width * width)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return _grouped(rows, lambda row: row["time"] // width * width)


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> Iterator[tuple[Any, list[Row]]]:
    for found, group in groupby(sorted(rows, key=key), key):
        yield found, list(group)


def _mean(rows: Sequence[Row], name: str) -> float | None:
    """Each row counts with its samples; those that do not know do not count."""
    known = [(row[name], row["samples"]) for row in rows if row[name] is not None]
    return sum(value * samples for value, samples in known) / sum(samples for _, samples in known) if known else None


def _put(connection: Connection, table: Table, rows: list[Row]) -> None:
    if rows:
        connection.execute(insert(table).prefix_with("OR REPLACE"), rows)
