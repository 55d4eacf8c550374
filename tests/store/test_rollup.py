"""Seconds, minutes, hours: nothing is counted twice, nothing is lost, and what is old goes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select

from appliance.slo.percentiles import Weighted, percentiles
from appliance.store import queries, sketch
from appliance.store.database import open_database
from appliance.store.metrics_row import Latency
from appliance.store.reading import FILE
from appliance.store.rollup import DAY, HOUR, KEPT_SECONDS, STAYS_KEPT_SECONDS, forget_old, roll_up
from appliance.store.schema import Resolution, attainment, decisions, metrics
from tests.store.rows import row, write

NOON = 1_800_000_000 - 1_800_000_000 % DAY + DAY // 2
KEPT, LATE_FIRST, LATE_REST, LATE_BOTH = Latency(100, 10), Latency(600, 10), Latency(100, 60), Latency(600, 60)


@pytest.fixture
def engine(tmp_path: Path):
    engine = open_database(tmp_path / FILE).engine
    yield engine
    engine.dispose()


def test_a_minute_from_its_seconds(engine: Engine) -> None:
    with engine.begin() as connection:
        write(
            row(NOON, KEPT, LATE_FIRST, waiting=2.0, preemptions=1),
            row(NOON + 1, LATE_BOTH, waiting=None),
            row(NOON + 59, LATE_REST, waiting=5.0, split="70/30"),
        )(connection)
        roll_up(connection, NOON + 60.0)
        (minute,) = queries.metrics(connection, NOON, NOON + 3600, Resolution.MINUTE)
    counts = [minute[name] for name in ("samples", "requests", "attained", "ttft_violated", "tpot_violated")]
    assert counts == [3, 4, 1, 2, 2]
    assert (minute["waiting"], minute["preemptions"], minute["split_in_force"]) == (3.5, 1, "70/30")
    assert minute["ttft_p50_ms"] == pytest.approx(100, rel=0.01)
    assert minute["ttft_p95_ms"] == pytest.approx(600, rel=0.01)
    assert minute["gpu_power_watts"] is None


def test_only_what_is_over_is_summed_up_and_only_once(engine: Engine) -> None:
    with engine.begin() as connection:
        write(*(row(NOON + at, KEPT) for at in range(0, 7200, 10)))(connection)
        for now in (30, 119.9, 120, 120, 3599, 3600, 5000, 7199):
            roll_up(connection, NOON + now)
        minutes = queries.metrics(connection, NOON, NOON + 7200, Resolution.MINUTE)
        hours = queries.metrics(connection, NOON, NOON + 7200, Resolution.HOUR)
    assert [minute["time"] - NOON for minute in minutes] == list(range(0, 7140, 60))
    assert {minute["requests"] for minute in minutes} == {6}
    assert [(hour["time"] - NOON, hour["requests"]) for hour in hours] == [(0, 360)]


def test_attainment_by_split_and_the_minute_under_way(engine: Engine) -> None:
    with engine.begin() as connection:
        write(
            row(NOON, KEPT), row(NOON + 1, LATE_REST, split="70/30"), row(NOON + 2, KEPT), row(NOON + 61, LATE_FIRST)
        )(connection)
        roll_up(connection, NOON + 60)
        rows = queries.attainment(connection, NOON, NOON + 120)
        parts = [(part["time"] - NOON, part["split"], part["in_force_seconds"], part["attained"]) for part in rows]
        assert parts == [(0, "50/50", 2, 2), (0, "70/30", 1, 0), (60, "50/50", 1, 0)]
        roll_up(connection, NOON + 120)
        assert queries.attainment(connection, NOON, NOON + 120) == rows


def test_attainment_that_is_days_old_is_kept_by_hour(engine: Engine) -> None:
    with engine.begin() as connection:
        write(*(row(NOON + at, KEPT, LATE_BOTH, split=f"{at % 2}/9") for at in range(0, 7200, 7)))(connection)
        roll_up(connection, NOON + 7200)
        before = queries.attainment(connection, NOON, NOON + DAY)
        forget_old(connection, NOON + 3600 + 2 * DAY)
        after = queries.attainment(connection, NOON, NOON + DAY)
    assert [(part["time"] - NOON, part["split"]) for part in after[:2]] == [(0, "0/9"), (0, "1/9")]
    assert {part["span_seconds"] for part in after} == {60, 3600}
    for name in ("requests", "attained", "in_force_seconds", "tpot_violated"):
        assert sum(part[name] for part in before) == sum(part[name] for part in after)
    assert sketch.merged(part["ttft_counts"] for part in before) == sketch.merged(part["ttft_counts"] for part in after)


def test_what_is_old_goes(engine: Engine) -> None:
    now = NOON + 10 * 365 * DAY
    with engine.begin() as connection:
        for resolution, seconds in KEPT_SECONDS.items():
            rows = [row(now - seconds - 1, KEPT), row(now - seconds + 1, KEPT)]
            connection.execute(insert(metrics[resolution]), rows)
        decision = {
            "run": 1, "in_force": "", "split": "", "outcome": "", "sentence": "", "record": {}, "decided_at":
            now - STAYS_KEPT_SECONDS - 1,
        }  # fmt: skip
        connection.execute(insert(decisions), [decision | {"number": 1, "action": "stay"}])
        connection.execute(insert(decisions), [decision | {"number": 2, "action": "move"}])
        forget_old(connection, now)
        for table in metrics.values():
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 1
        assert connection.execute(select(decisions.c.number)).scalars().all() == [2]
        assert connection.execute(select(func.count()).select_from(attainment)).scalar() == 0


def test_a_clock_that_was_set_back_replaces_seconds(engine: Engine) -> None:
    with engine.begin() as connection:
        write(row(NOON, KEPT), row(NOON, LATE_BOTH, LATE_BOTH))(connection)
        assert [second["requests"] for second in queries.metrics(connection, NOON, NOON + 1)] == [2]


@pytest.mark.parametrize(
    ("span", "resolution"), [(300, "second"), (HOUR, "second"), (DAY, "minute"), (30 * DAY, "hour")]
)
def test_a_span_is_drawn_with_what_is_kept_for_so_long(span: int, resolution: str) -> None:
    found = queries.resolution_for(span)
    assert found == resolution and KEPT_SECONDS[found] >= span and span / found.seconds <= 3600


def test_percentiles_of_added_up_counts() -> None:
    dice = random.Random(1)
    latencies = [dice.lognormvariate(4, 1.5) for _ in range(5000)]
    parts = [sketch.counted(latencies[at : at + 70]) for at in range(0, 5000, 70)]
    found = sketch.percentiles_of(sketch.merged(parts))
    exact = percentiles(map(Weighted, latencies))
    assert found is not None and exact is not None
    assert list(found) == pytest.approx(list(exact), rel=0.01)
    assert sketch.percentiles_of({}) is None
    assert sketch.counted([0.0, -1.0, 1e9]) != {}
