"""Named questions to `appliance.db`, for the console and for commands. They only read; rows are plain dicts.

`appliance.store.reading.reading(state_dir)` gives the connection.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, func, literal, or_, select, union_all

from appliance.store import schema
from appliance.store.rollup import attainment_rows, minutes_due
from appliance.store.schema import Resolution

Row = dict[str, Any]

_SKETCHES = ("ttft_counts", "tpot_counts")
_MOST_POINTS = 3600


def resolution_for(span_seconds: float) -> Resolution:
    """The finest one that draws a span with at most 3600 points and is kept for as long: 1 h, 2.5 days, beyond."""
    fits = (resolution for resolution in Resolution if span_seconds <= _MOST_POINTS * resolution.seconds)
    return next(fits, Resolution.HOUR)


def metrics(
    connection: Connection, since: float, until: float | None = None, resolution: Resolution | None = None
) -> list[Row]:
    """The rows of metrics that begin in [since, until), oldest first; columns: see `schema.metrics`, counts left out.

    Without `until` up to now, without `resolution` that of `resolution_for`. Only times that were sampled have a row:
    a gap is a time in which the controller did not run.
    """
    end = time.time() if until is None else until
    table = schema.metrics[resolution or resolution_for(end - since)]
    columns = [column for column in table.c if column.name not in _SKETCHES]
    return _rows(connection, select(*columns).where(_within(table.c.time, since, end)).order_by(table.c.time))


def latest_metrics(connection: Connection) -> Row | None:
    """The latest second that was sampled."""
    table = schema.metrics[Resolution.SECOND]
    columns = [column for column in table.c if column.name not in _SKETCHES]
    return _first(connection, select(*columns).order_by(table.c.time.desc()).limit(1))


def marks(connection: Connection, since: float, until: float | None = None) -> list[Row]:
    """What happened in [since, until), oldest first: `at`, `kind`, `sentence`.

    Kinds: "decision" (moves and tries only; that the policy stays is no event), "rotation", "target", and those of
    `schema.events`.
    """
    d, r, t, e = schema.decisions, schema.rotations, schema.slo_targets, schema.events
    end = time.time() if until is None else until
    target = func.printf(
        "Targets set by %s: TTFT %g ms, TPOT %g ms, policy %s. %s", t.c.set_by, t.c.ttft_ms, t.c.tpot_ms, t.c.mode,
        t.c.reason,
    )  # fmt: skip
    everything = union_all(
        select(d.c.decided_at.label("at"), literal("decision").label("kind"), d.c.sentence).where(
            d.c.action != "stay", _within(d.c.decided_at, since, end)
        ),
        select(r.c.asked_at, literal("rotation"), r.c.sentence).where(_within(r.c.asked_at, since, end)),
        select(t.c.set_at, literal("target"), target).where(_within(t.c.set_at, since, end)),
        select(e.c.at, e.c.kind, e.c.sentence).where(_within(e.c.at, since, end)),
    ).subquery()
    return _rows(connection, select(everything).order_by(everything.c.at))


def target(connection: Connection) -> Row | None:
    """The settings of the policy that were set last; all columns of `schema.slo_targets`. None if none ever was."""
    return _first(connection, _latest(schema.slo_targets).limit(1))


def target_history(connection: Connection, limit: int = 100) -> list[Row]:
    """Changes of the targets, the latest first; all columns of `schema.slo_targets`."""
    return _rows(connection, _latest(schema.slo_targets).limit(limit))


def decisions(connection: Connection, limit: int = 100, since: float = 0.0, only_changes: bool = False) -> list[Row]:
    """The policy's latest decisions, oldest first; all columns of `schema.decisions`. `only_changes`: no "stay"."""
    table = schema.decisions
    query = _latest(table).where(table.c.decided_at >= since).limit(limit)
    return _rows(connection, query.where(table.c.action != "stay") if only_changes else query)[::-1]


def rotations(connection: Connection, limit: int = 100, since: float = 0.0) -> list[Row]:
    """The latest rotations, oldest first; all columns of `schema.rotations`."""
    table = schema.rotations
    return _rows(connection, _latest(table).where(table.c.asked_at >= since).limit(limit))[::-1]


def attainment(connection: Connection, since: float, until: float | None = None) -> list[Row]:
    """Rows of `schema.attainment` that begin in [since, until), oldest first, counts included.

    What has not been summed up to minutes yet is summed up here.
    """
    table = schema.attainment
    end = time.time() if until is None else until
    kept = _rows(connection, select(table).where(_within(table.c.time, since, end)).order_by(table.c.time))
    late = [row for begin, seconds in minutes_due(connection) for row in attainment_rows(begin, seconds)]
    return kept + [row for row in late if since <= row["time"] < end]


def keys(connection: Connection) -> list[Row]:
    """All keys, revoked and expired ones too, by name; all columns of `schema.keys` but `sha256`."""
    table = schema.keys
    columns = [column for column in table.c if column.name != "sha256"]
    return _rows(connection, select(*columns).order_by(table.c.name))


def all_keys(connection: Connection) -> list[Row]:
    """All keys, revoked and expired ones too, by id; all columns of `schema.keys`."""
    return _rows(connection, select(schema.keys).order_by(schema.keys.c.id))


def valid_keys(connection: Connection, now: float) -> list[Row]:
    """The keys that may be used at `now`, by id; all columns of `schema.keys`."""
    table = schema.keys
    return _rows(connection, select(table).where(_is_valid(now)).order_by(table.c.id))


def key_of_digest(connection: Connection, sha256: str, now: float) -> Row | None:
    """The key with this SHA-256 (hex), if it may be used at `now`; all columns of `schema.keys`."""
    return _first(connection, select(schema.keys).where(schema.keys.c.sha256 == sha256, _is_valid(now)))


def events(connection: Connection, limit: int = 100) -> list[Row]:
    """The latest events, oldest first; all columns of `schema.events`."""
    return _rows(connection, _latest(schema.events).limit(limit))[::-1]


def _is_valid(now: float) -> ColumnElement[bool]:
    table = schema.keys
    return and_(table.c.revoked_at.is_(None), or_(table.c.expires_at.is_(None), table.c.expires_at > now))


def _latest(table: Table) -> Select:
    return select(table).order_by(table.c.id.desc())


def _within(column: ColumnElement, since: float, until: float) -> ColumnElement[bool]:
    return and_(column >= since, column < until)


def _rows(connection: Connection, query: Select) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _first(connection: Connection, query: Select) -> Row | None:
    return next(iter(_rows(connection, query)), None)
