"""A flood before a real gateway, and what is said of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from bench.endpoint import Endpoint
from bench.faults.flood import Flood, Outcome, Task, together
from bench.faults.memory import MemoryWatch, Taken, grown
from bench.faults.overload_result import Grown, OverloadConfiguration, OverloadLine, OverloadResults
from bench.faults.overload_table import rows
from bench.machine import Machine
from bench.record import Record
from bench.report import report
from bench.results import BadResults, Origin
from bench.summary import percentiles
from tests.gateway.fake_scheduler import READY
from tests.gateway.running_gateway import running_gateway
from tests.gateway.stand import KEY, MODEL
from tests.gateway.tiny_model import save_tiny_model

MIB = 1 << 20


@pytest.mark.system
@pytest.mark.parametrize("is_full", [True, False])
def test_what_is_refused_before_it_is_tokenised_is_told_from_what_is_not(tmp_path: Path, is_full: bool) -> None:
    load = msgspec.structs.replace(READY, queue_limit=100, waiting=100 if is_full else 0)
    with running_gateway(save_tiny_model(tmp_path / "tiny"), load, max_body_bytes=MIB) as gateway:
        gateway.scheduler.script = lambda request: range(10, 60)
        endpoint = Endpoint("127.0.0.1", "127.0.0.1", gateway.port, False, None, KEY, "/v1", MODEL)
        outcome = uvloop.run(Flood(Task(endpoint, 60.0, 0.5, 4, 64, too_long_every=5, seed=1)).run())
    assert outcome.requests > 10 and len(outcome.late) == outcome.requests
    assert outcome.too_long == {"HTTP 503" if is_full else "HTTP 400": outcome.requests // 5} and not outcome.failures
    assert bool(outcome.refusals) == is_full and bool(outcome.ttfts) == (not is_full)
    assert all(seconds > 0 for seconds in (*outcome.refusals, *outcome.ttfts))


def test_what_became_of_a_request_is_counted_once() -> None:
    whole = Record(0.0, 1, 2, sent=1.0, events=[1.5, 1.7], completion_tokens=2, failure=None)
    outcome = Outcome()
    for record in (whole, Record(0.0, 1, 2, sent=1.0, failure="HTTP 503"), Record(0.0, 1, 2, failure="cut off")):
        outcome.take(record, ended=1.25)
    both = together([outcome, Outcome(too_long={"HTTP 503": 1}), outcome])
    assert both.ttfts == [0.5] * 2 and both.tpots == pytest.approx([0.2] * 2) and both.refusals == [0.25] * 2
    assert both.failures == {"cut off": 2} and both.requests == 7


def test_memory_has_grown_where_the_last_third_is_more_than_the_first() -> None:
    looks = [Taken(mib, 2 * mib, 3 * mib) for mib in (10, 30, 11, 50, 12, 90, 13, 14, 15)]
    assert grown(looks) == Grown((11, 22, 33), (14, 28, 42))


def test_memory_is_looked_at_in_running_processes_only() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    seen = MemoryWatch({"this": os.getpid(), "ended": ended.pid}, 60.0).stop()
    assert list(seen) == ["this"] and 0 < seen["this"].first[0] <= seen["this"].first[1] <= seen["this"].first[2]


ORIGIN = Origin("2026-01-01T00:00:00+00:00", "python -m bench.faults overload", Machine({}, "3.11.0", 2))
CONFIGURATION = OverloadConfiguration("demo on cpu by duty", 10.0, 10.0, 32, 2000.0, 200.0, 2, 0)


def a_line(**changes: Any) -> OverloadLine:
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "configuration": CONFIGURATION,
        "served_per_second": 12.34,
        "queue_limit": 12,
        "requests": 70_000,
        "whole": 7_000,
        "within": 6_998,
        "ttft_ms": percentiles([0.1, 0.2]),
        "tpot_ms": None,
        "refused": 61_600,
        "refusal_ms": percentiles([0.003]),
        "longest_refusal_ms": 41.0,
        "too_long": {"HTTP 503": 1390, "HTTP 400": 10},
        "failures": {},
        "memory": {
            "scheduler": Grown((30 * MIB, 37 * MIB, 59 * MIB), (30 * MIB, 38 * MIB, 60 * MIB)),
            "spare a0": Grown((1, 1, 1), (1, 1, 1)),
        },
        "pages_left": 0,
        "late_ms_p99": 1.5,
        "load_average": 2.0,
    }
    return OverloadLine(**fields | changes)


def test_the_rows_say_who_was_refused_when_and_who_was_late() -> None:
    found = dict(rows(a_line()))
    assert found["of these not within TTFT ≤ 2000 ms and TPOT ≤ 200 ms"] == "2"
    assert found["too long for the model: refused before that was seen, of"] == "1,390 of 1,400"
    assert found["refused after, ms, p50 / p90 / p95 / p99, longest"] == "3.00 / 3.00 / 3.00 / 3.00, 41.0"
    assert found["scheduler: its own memory, PSS, RSS, MiB"] == "30.0 → 30.0, 37.0 → 38.0, 59.0 → 60.0"
    assert not any("spare" in name for name in found)
    assert dict(rows(a_line(pages_left=None)))["pages in use afterwards"] == "not served"


def test_the_report_has_a_table_of_each_overload_and_its_command() -> None:
    page = report([], overloads=[a_line()])
    assert "**10 times what is served, for 10 minutes: demo on cpu by duty" in page and "| refused | 61,600 |" in page
    assert "python -m bench.faults overload    # 2026-01-01" in page


def test_what_was_done_is_found_again_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "overload.jsonl"
    OverloadResults(path).append(a_line())
    again = OverloadResults(path)
    assert again.has(CONFIGURATION, ORIGIN)
    assert not again.has(msgspec.structs.replace(CONFIGURATION, seed=1), ORIGIN)
    path.write_text("{}\n")
    with pytest.raises(BadResults, match="Line 1"):
        OverloadResults(path)
