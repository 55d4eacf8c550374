"""From what the controller knows each second to a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.attention import Closed
from appliance.slo.percentiles import Percentiles
from appliance.store import queries
from appliance.store.database import open_database
from appliance.store.gpu_meter import GpuMeter, GpuReading
from appliance.store.metrics_row import Latency, Work, judged, latency_of, rates
from appliance.store.reading import FILE, reading
from appliance.store.sampler import Sampler
from appliance.store.writer import Writer
from engine.wire.to_controller import LoadReport, RequestProgress

WORKER = {"epoch": 3, "sm_count": 64, "is_active": True}
STATUS: dict[str, Any] = {
    "split_in_force": "50/50",
    "split_asked": "70/30",
    "scheduler": {
        "waiting": 4, "prefilling": 1, "decoding": 7, "total_pages": 100, "free_pages": 60, "preemptions": 2,
        "workers": [WORKER | {"phases": ["prefill"]}, WORKER | {"phases": ["decode"], "sm_count": 68}],
    },
    "slo": {
        "target": {"ttft_target_ms": 500.0, "tpot_target_ms": 50.0},
        "seen": {"ttft_ms": Percentiles(1.0, 2.0, 3.0), "tpot_ms": None},
        "confidence": 0.8,
        "prediction_error": None,
    },
}  # fmt: skip


def progress(request_id: int, ttft: float, tpot: float, tokens: int = 11, is_finished: bool = True) -> RequestProgress:
    """Seconds."""
    return RequestProgress(request_id, 100.0, 10, 100.0 + ttft, 100.0 + ttft + tpot * (tokens - 1), tokens, is_finished)


def report(*requests: RequestProgress, tokens: int = 0) -> LoadReport:
    return LoadReport(requests, (), tokens, 0.0, tokens, 0, 0.0)


def test_a_second(tmp_path: Path) -> None:
    writer = Writer("The database", lambda: open_database(tmp_path / FILE), lambda said: None)
    writer.start()
    now = 1000.4
    sampler = Sampler(writer, lambda: STATUS, lambda: GpuReading(2**30, 300.0, 0.5), clock=lambda: now)
    sampler.sample()  # nothing can be served yet
    sampler.observe(report(progress(1, 0.1, 0.01), progress(2, 0.7, 0.07), progress(3, 0.1, 0.01, is_finished=False)))
    sampler.sample()
    sampler.observe(report(progress(3, 0.1, 0.01)))
    sampler.sample()  # of a second that has a row already: it is told of the next
    now += 1.0
    sampler.sample()
    writer.stop()
    with reading(tmp_path) as connection:
        first, second = queries.metrics(connection, 0.0, 2000.0)
        latest = queries.latest_metrics(connection)
    assert latest == second
    counts = ("time", "requests", "attained", "ttft_violated", "tpot_violated")
    assert [first[name] for name in counts] == [1000, 2, 1, 1, 1]
    assert [second[name] for name in counts] == [1001, 1, 1, 0, 0]
    assert [first[f"ttft_p{part}_ms"] for part in (50, 95, 99)] == [1.0, 2.0, 3.0]
    assert first["tpot_p95_ms"] is None
    assert (first["split_asked"], first["split_in_force"]) == ("70/30", "50/50")
    assert (first["prefill_sms"], first["decode_sms"]) == (64, 68)
    assert (first["waiting"], first["kv_used_pages"], first["gpu_power_watts"]) == (4, 40, 300.0)


def test_nothing_is_written_once_the_appliance_stops(tmp_path: Path) -> None:
    writer = Writer("The database", lambda: open_database(tmp_path / FILE), lambda said: None)
    writer.start()

    def status() -> dict[str, Any]:
        raise Closed("The appliance has stopped.")

    sampler = Sampler(writer, status)
    sampler.observe(report())
    sampler.sample()
    writer.stop()
    with reading(tmp_path) as connection:
        assert queries.latest_metrics(connection) is None


@pytest.mark.parametrize(
    ("ended", "counts"),
    [
        ([], (0, 0, 0, 0)),
        ([Latency(500.0, 50.0)], (1, 1, 0, 0)),
        ([Latency(500.1, None)], (1, 0, 1, 0)),
        ([Latency(501.0, 51.0), Latency(1.0, None)], (2, 1, 1, 1)),
    ],
)
def test_who_kept_the_targets(ended: list[Latency], counts: tuple[int, ...]) -> None:
    found = judged(ended, STATUS["slo"]["target"])
    assert tuple(found[name] for name in ("requests", "attained", "ttft_violated", "tpot_violated")) == counts


def test_latencies_of_a_request() -> None:
    assert latency_of(progress(1, 0.25, 0.02)) == pytest.approx((250.0, 20.0))
    assert latency_of(progress(1, 0.25, 0.0, tokens=1)) == (pytest.approx(250.0), None)
    assert latency_of(RequestProgress(1, 100.0, 10, None, None, 0, True)) is None


def test_rates() -> None:
    before, now = Work(10.0, 100, 1000, 5), Work(12.0, 300, 1100, 6)
    assert rates(before, now) == {
        "preemptions": 1, "prefill_tokens_per_second": 100.0, "decode_tokens_per_second": 50.0,
    }  # fmt: skip
    anew = rates(before, Work(12.0, 20, 10, 0))
    assert (anew["prefill_tokens_per_second"], anew["decode_tokens_per_second"], anew["preemptions"]) == (10.0, 5.0, 0)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("1024, 310.52, 98", GpuReading(2**30, 310.52, 0.98)),
        ("1024, [N/A], 0", GpuReading(2**30, None, 0.0)),
        ("No devices were found", None),
        ("", None),
    ],
)
def test_a_line_of_nvidia_smi(line: str, found: GpuReading | None) -> None:
    assert GpuReading.from_line(line) == found


def test_the_meter_follows_a_program_and_ends_it(tmp_path: Path) -> None:
    """The program stands for nvidia-smi, which this machine need not have."""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "$@" > "$0.arguments"\necho "2, 1.5, 50"\nexec sleep 600\n')
    program.chmod(0o755)
    meter = GpuMeter("GPU-1", str(program))
    meter.start()
    while meter.latest is None:
        pass
    assert meter.latest == GpuReading(2 * 2**20, 1.5, 0.5)
    assert "--id=GPU-1" in (tmp_path / "nvidia-smi.arguments").read_text()
    meter.stop()
    assert meter.latest is None
    absent = GpuMeter("0", str(tmp_path / "absent"))
    absent.start()
    absent.stop()
