"""The simulator beside runs that were measured: the same requests, and what counts as foretold."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measured_box import SINCE, measured_box
from bench.results import RunLine
from bench.slo_measured import Compared, Seen, compared, measured_runs, target_of
from bench.suite import SPLIT

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "speed.jsonl"


def conversations_at(rate: float) -> Compared:
    """The first run of azure-conv at this rate in two processes: runs that are added later leave it alone."""
    asked = ("azure-conv", rate, SPLIT.system)
    run = next(run for run in measured_runs(RESULTS) if asked_of(run) == asked)
    return compared(run, measured_box().aimed(target_of(run)))


def asked_of(run: RunLine) -> tuple[str, float | None, str]:
    asked = run.configuration
    return asked.mix, asked.rate, asked.system


def test_a_run_is_foretold_from_its_own_requests() -> None:
    found = conversations_at(20)
    assert found.is_within
    assert found.points == pytest.approx(found.simulated.attained - 97.17, abs=0.01)


def test_a_prediction_is_within_only_if_all_three_are() -> None:
    found = conversations_at(20)
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
