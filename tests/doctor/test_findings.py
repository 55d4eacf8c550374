"""What each observation means, and what it advises. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from appliance.doctor.finding import Finding, Level
from appliance.doctor.observations import Answer, Daemon, Observations, Process
from appliance.doctor.report import findings, worst_of
from engine.config import ServerArgs
from tests.doctor.observed import GPU, a_status, observed, on_gpu


def about(seen: Observations, what: str) -> Finding:
    """The worst finding of that name."""
    found = [finding for finding in findings(seen) if finding.about == what]
    return max(found, key=lambda finding: list(Level).index(finding.level))


@pytest.mark.parametrize("seen", [observed(), on_gpu()])
def test_an_appliance_that_is_well_needs_nothing(seen: Observations) -> None:
    found = findings(seen)
    assert worst_of(found) is Level.OK, [finding for finding in found if finding.level is not Level.OK]
    assert all(finding.seen.endswith(".") and not finding.advice for finding in found)


def test_a_gpu_is_named_by_its_number() -> None:
    assert about(on_gpu(), "device").seen == "GPU 0 serves: Some GPU, driver 580.1."


ILL: list[tuple[str, Level, str, Observations]] = [
    (
        "compute mode",
        Level.PROBLEM,
        "-i 0 -c DEFAULT",
        on_gpu(gpu=GPU._replace(compute_mode="Exclusive_Process")),
    ),
    ("MIG", Level.ADVICE, "-i 0 -mig 0", on_gpu(gpu=GPU._replace(mig_mode="Enabled"))),
    ("MPS", Level.ADVICE, "kill 12", on_gpu(daemons=(Daemon(10, "a"), Daemon(11, "b"), Daemon(12, None)))),
    ("MPS", Level.PROBLEM, "Restart", on_gpu(daemons=(Daemon(10, "a"),))),
    ("MPS", Level.ADVICE, "Install", on_gpu(has_mps=False)),
    ("MPS", Level.ADVICE, "kill 10", replace(on_gpu(daemons=(Daemon(10, "a"),)), running_pid=None, status=None)),
    ("device", Level.PROBLEM, "nvidia-smi", on_gpu(gpu=None, gpu_problem="It is gone.")),
    ("communication", Level.PROBLEM, "restart", observed(answers=(Answer("resident", None, "it hung up."),))),
    ("communication", Level.ADVICE, "overloaded", observed(answers=(Answer("resident", 900.0),))),
    ("processes", Level.PROBLEM, "-CONT 7", observed(processes=(Process("leader-a", 7, "stopped"),))),
    ("processes", Level.PROBLEM, "Restart", observed(processes=(Process("leader-a", 7, None),))),
    ("free memory", Level.PROBLEM, "kv_memory_bytes", observed(free_memory_bytes=1 << 20)),
]


@pytest.mark.parametrize(("what", "level", "advice", "seen"), ILL)
def test_an_ill_one_is_told_what_to_do(what: str, level: Level, advice: str, seen: Observations) -> None:
    finding = about(seen, what)
    assert finding.level is level
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("what", "level", "advice", "changes"),
    [
        ("KV pages", Level.PROBLEM, "kv_memory_bytes", {"scheduler__free_pages": 10, "scheduler__waiting": 3}),
        ("KV pages", Level.ADVICE, "kv_memory_bytes", {"scheduler__preemptions": 3}),
        ("page size", Level.ADVICE, "page_size", {"scheduler__total_pages": 100}),
        ("split", Level.ADVICE, "decode at least 20", {"split_in_force": "90/10"}),
        ("split", Level.ADVICE, "Rotate to 40/60", {"split_in_force": "40/40"}),
        ("split", Level.ADVICE, "add up to 100", {"split_in_force": "80/100", "slo__mode": "manual"}),
        ("targets", Level.PROBLEM, "semi-pd slo", {"slo__alone__tpot_ms": 51.0}),
        ("kept", Level.ADVICE, "semi-pd decisions", {"slo__seen__ttft_ms": [1.0, 501.0, 501.0]}),
        ("window", Level.ADVICE, "window_size_seconds to 120", {"slo__seen__samples": 5}),
        ("appliance", Level.PROBLEM, "logs", {"health": {"healthy": False, "reason": "No group serves."}}),
    ],
)
def test_a_bad_status_is_told_what_to_do(what: str, level: Level, advice: str, changes: dict[str, Any]) -> None:
    finding = about(observed(status=a_status(**changes)), what)
    assert finding.level is level
    assert advice in finding.advice


def test_the_pages_that_could_be_freed_are_counted() -> None:
    finding = about(observed(status=a_status(scheduler__cached_pages=12)), "cached pages")
    assert finding.level is Level.OK
    assert "12 pages" in finding.seen
    assert "--free-cached-pages" in finding.seen


def test_an_overlapping_split_is_the_policys_to_leave() -> None:
    assert about(observed(status=a_status(split_in_force="80/100")), "split").level is Level.OK


def test_one_worker_for_both_phases_is_a_choice() -> None:
    finding = about(observed(status=a_status(split_in_force="100/100", slo__mode="manual")), "split")
    assert finding.level is Level.OK
    assert finding.seen.startswith("One worker does both phases")


def test_what_can_be_looked_at_before_a_start_is() -> None:
    seen = Observations(
        ServerArgs(device="cpu", policy="manual"), free_memory_bytes=1 << 30, port_problem="Port taken."
    )
    found = {finding.about: finding for finding in findings(seen)}
    assert found["appliance"].level is Level.ADVICE
    assert found["endpoint"].level is Level.PROBLEM
    assert found["split"].level is Level.ADVICE, "the default overlaps, and nobody moves it"
    assert {"device", "MPS", "free memory"} <= set(found)


def test_a_setting_that_is_none_is_told() -> None:
    found = findings(Observations(None, settings_problem="The setting port cannot be 'x'."))
    assert worst_of(found) is Level.PROBLEM
