"""The simulator beside runs that were measured: the same requests, and what counts as foretold."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measured_box import PUNCTUAL_SINCE, as_it_was, measured_box
from bench.slo_measured import UNDER_LOAD as FITTED
from bench.slo_measured import Compared, Seen, box_of, compared, measured_runs
from engine.allocation import SMAllocation

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "speed.jsonl"


def run_at(rate: float) -> Compared:
    (run,) = [run for run in measured_runs(RESULTS) if run.configuration.rate == rate]
    return compared(run, box_of(run, measured_box(FITTED)))


def test_a_run_is_foretold_from_its_own_requests() -> None:
    found = run_at(21.5)
    assert found.is_within
    assert found.points == pytest.approx(found.simulated.attained - 92.16, abs=0.01)


def test_a_prediction_is_within_only_if_all_three_are() -> None:
    found = run_at(21.5)
    right = found.measured
    assert found._replace(simulated=right).is_within
    off: list[Seen] = [
        right._replace(attained=right.attained - 10.1),
        right._replace(ttft_p95=right.ttft_p95 * 1.26),
        right._replace(tpot_p95=right.tpot_p95 * 0.74),
    ]
    assert not any(found._replace(simulated=seen).is_within for seen in off)


def test_the_box_of_an_older_run_lends_nothing_and_takes_prompts_as_they_come() -> None:
    box = measured_box()
    assert as_it_was(PUNCTUAL_SINCE, box) == box
    former = as_it_was("2026-11-22T20:35", box)
    assert not former.borrowing
    assert former.ttft_target_ms == 0
    even = SMAllocation(50, 50)
    assert former.profile.speeds(even).prefill < box.profile.speeds(even).prefill
