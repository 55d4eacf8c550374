"""The tables of `appliance.db`. Times are seconds since the epoch (UTC), splits are texts such as "70/30"."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import JSON, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

# Names for all constraints: SQLite cannot alter one that has none, and Alembic's batch mode needs to say which.
schema = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Resolution(StrEnum):
    """How much time one row of metrics stands for."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"

    @property
    def seconds(self) -> int:
        return {Resolution.SECOND: 1, Resolution.MINUTE: 60, Resolution.HOUR: 3600}[self]


slo_targets = Table(
    "slo_targets",
    schema,
    Column("id", Integer, primary_key=True),
    Column("set_at", Float, nullable=False),
    Column("set_by", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ttft_ms", Float, nullable=False),
    Column("tpot_ms", Float, nullable=False),
    Column("window_seconds", Float, nullable=False),
    Column("cooldown_seconds", Float, nullable=False),
    Column("min_confidence", Float, nullable=False),
    Column("mode", String, nullable=False),
    Index(None, "set_at"),
)
"""One row a change; the latest holds. A row has all the policy's settings, whichever of them the change was about.
`set_by`: a user of the machine, or `console:NAME`. `mode`: auto, hold or manual."""


def _metrics(resolution: Resolution) -> Table:
    return Table(
        f"metrics_{resolution}",
        schema,
        Column("time", Integer, primary_key=True, autoincrement=False),
        Column("samples", Integer, nullable=False),
        Column("requests", Integer, nullable=False),
        Column("attained", Integer, nullable=False),
        Column("ttft_violated", Integer, nullable=False),
        Column("tpot_violated", Integer, nullable=False),
        Column("ttft_p50_ms", Float),
        Column("ttft_p95_ms", Float),
        Column("ttft_p99_ms", Float),
        Column("tpot_p50_ms", Float),
        Column("tpot_p95_ms", Float),
        Column("tpot_p99_ms", Float),
        Column("ttft_target_ms", Float, nullable=False),
        Column("tpot_target_ms", Float, nullable=False),
        Column("ttft_counts", JSON, nullable=False),
        Column("tpot_counts", JSON, nullable=False),
        Column("waiting", Float),
        Column("prefilling", Float),
        Column("decoding", Float),
        Column("kv_used_pages", Float),
        Column("kv_total_pages", Integer),
        Column("preemptions", Integer, nullable=False),
        Column("prefill_tokens_per_second", Float),
        Column("decode_tokens_per_second", Float),
        Column("split_asked", String),
        Column("split_in_force", String),
        Column("prefill_sms", Integer),
        Column("decode_sms", Integer),
        Column("gpu_memory_bytes", Integer),
        Column("gpu_power_watts", Float),
        Column("gpu_utilization", Float),
        Column("confidence", Float),
        Column("prediction_error", Float),
    )


metrics = {resolution: _metrics(resolution) for resolution in Resolution}
"""The same columns at three resolutions; `time` is where the second, minute or hour begins.

| columns | meaning |
|---|---|
| samples | seconds of it in which the controller looked; 0 < samples ≤ 1, 60 or 3600 |
| requests, attained, ttft_violated, tpot_violated | requests that ended in it, against the targets of that moment: \
attained kept both; one that missed both is in both violated counts |
| ttft_…_ms, tpot_…_ms | second: of the policy's window at that moment, None with no requests in it. minute, hour: of \
the requests that ended in it, from the counts, within 1 % |
| ttft_counts, tpot_counts | how many requests at which latency: see `appliance.store.sketch` |
| waiting, prefilling, decoding, kv_used_pages | mean of the samples; None while the scheduler does not answer |
| …_tokens_per_second | computed in it; prompt tokens for prefill |
| preemptions | in it |
| split_…, …_sms, kv_total_pages, targets | at its end; SMs are None where the splitter has none |
| gpu_memory_bytes (used), gpu_power_watts, gpu_utilization (0…1) | the whole device; mean; None without a GPU |
| confidence, prediction_error | the policy's, at its end |
"""

attainment = Table(
    "attainment",
    schema,
    Column("time", Integer, primary_key=True, autoincrement=False),
    Column("split", String, primary_key=True),
    Column("span_seconds", Integer, nullable=False),
    Column("in_force_seconds", Integer, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("attained", Integer, nullable=False),
    Column("ttft_violated", Integer, nullable=False),
    Column("tpot_violated", Integer, nullable=False),
    Column("ttft_counts", JSON, nullable=False),
    Column("tpot_counts", JSON, nullable=False),
)
"""For the compliance report: as in metrics, by minute and split; by hour (`span_seconds` 3600) once two days old.
`split` is "" while none was in force."""

decisions = Table(
    "decisions",
    schema,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("decided_at", Float, nullable=False),
    Column("action", String, nullable=False),
    Column("in_force", String, nullable=False),
    Column("split", String, nullable=False),
    Column("confidence", Float),
    Column("was_taken", Boolean),
    Column("outcome", Text, nullable=False),
    Column("error", Float),
    Column("sentence", Text, nullable=False),
    Column("record", JSON, nullable=False),
    UniqueConstraint("run", "number"),
    Index(None, "decided_at"),
)
"""The policy's decisions. `record`: all of `DecisionRecord.as_dict`, of which the other columns are parts. `outcome`
is "" until a window later. `run`: when that controller started, in ms; numbers begin at 1 in each run."""

rotations = Table(
    "rotations",
    schema,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("asked", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("live_seconds", Float),
    Column("problem", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("record", JSON, nullable=False),
    UniqueConstraint("run", "number"),
    Index(None, "asked_at"),
)
"""Rotations that were asked for. `record`: all of `RotationRecord.as_dict`. `live_seconds` is None while one is under
way and where there is a `problem`."""

keys = Table(
    "keys",
    schema,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("sha256", String, nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("requests_per_minute", Integer),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("expires_at", Float),
    Column("last_used_at", Float),
    Column("revoked_at", Float),
    Column("revoked_by", String),
    sqlite_autoincrement=True,
)
"""API keys, never the keys themselves. `scopes`: a list of "inference" and "admin". `expires_at`, `revoked_at` and
`requests_per_minute` are None where there is no such thing; `last_used_at` is right to a minute. An id is never used
again."""

events = Table(
    "events",
    schema,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("sentence", Text, nullable=False),
    Index(None, "at"),
)
"""What else happened, for a person. Kinds: "start", "stop", "store"."""
