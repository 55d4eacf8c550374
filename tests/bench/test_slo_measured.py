"""The simulator beside runs that were measured: the same requests, and what counts as foretold."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measured_box import SINCE, measured_box
from bench.slo_measured import Compared, Seen, compared, measured_runs, target_of

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "speed.jsonl"


def run_at(rate: float) -> Compared:
    (run,) = [run for run in measured_runs(RESULTS) if run.configuration.rate == rate]
    return compared(run, measured_box().aimed(target_of(run)))


def test_a_run_is_foretold_from_its_own_requests() -> None:
    found = run_at(20)
    assert found.is_within
    assert found.points == pytest.approx(found.simulated.attained - 97.17, abs=0.01)


def test_a_prediction_is_within_only_if_all_three_are() -> None:
    found = run_at(20)
    right = found.measured
    assert found._replace(simulated=right).is_within
    off: list[Seen] = [
        right._replace(attained=right.attained - 10.1),
        right._replace(ttft_p95=right.ttft_p95 * 1.26),
        right._replace(tpot_p95=right.tpot_p95 * 0.74),
    ]
    assert not any(found._replace(simulated=seen).is_within for seen in off)


def test_runs_of_another_engine_are_left_out() -> None:
    runs = list(measured_runs(RESULTS))
    assert runs and all(run.origin.at >= SINCE for run in runs)
