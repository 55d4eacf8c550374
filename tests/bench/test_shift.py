"""Which requests a shift has, who kept the targets, and how runs are compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.machine import Machine
from bench.measured_box import measured_box
from bench.record import Record
from bench.report import report
from bench.results import Origin
from bench.shift.__main__ import rulers
from bench.shift.load import arrivals_of, kept_by_part
from bench.shift.result import POLICY, Kept, Part, ShiftConfiguration, ShiftLine, ShiftResults
from bench.shift.simulated import is_alike, runs_of
from bench.shift.table import compared, headings, row, verdict
from bench.summary import Targets

PARTS = (Part("fixed:40/2", 5.0, 20.0), Part("fixed:2/40", 10.0, 30.0), Part("fixed:40/2", 5.0, 20.0))
ASKED = ShiftConfiguration("semi-pd", "demo", PARTS, 1.0, 0, 100.0, 10.0, 5.0, 10.0, "50/50")
MACHINE = Machine({}, "3.11.0", 2)


def test_the_parts_follow_one_another_and_the_same_seed_gives_the_same_requests() -> None:
    arrivals = arrivals_of(PARTS, 1.0, seed=3)
    assert arrivals == arrivals_of(PARTS, 1.0, seed=3)
    assert arrivals == sorted(arrivals)
    assert arrivals[-1].at_seconds < 70.0
    assert {arrival.input_tokens for arrival in arrivals if arrival.at_seconds < 20.0} == {40}
    assert {arrival.input_tokens for arrival in arrivals if 20.0 <= arrival.at_seconds < 50.0} == {2}


def record(due: float, ttft: float) -> Record:
    return Record(due, 4, 1, sent=due, events=[due + ttft], completion_tokens=1, prompt_tokens=4, failure=None)


def test_requests_are_counted_in_the_part_in_which_they_came() -> None:
    records = [record(1.0, 0.05), record(6.0, 0.2), record(19.9, 0.05), record(20.0, 0.05), Record(69.0, 4, 1)]
    kept = kept_by_part(records, PARTS, Targets(100.0, 10.0), window_seconds=5.0)
    assert kept == (Kept(3, 2, 2, 1), Kept(1, 1, 0, 0), Kept(1, 0, 1, 0))


def a_line(ruled_by: str, *parts: Kept) -> ShiftLine:
    return ShiftLine(Origin("", "", MACHINE), ASKED, ruled_by, parts, {}, ("It moved.",), 0.1, 0.2, 1.0)


RUNS = [
    a_line("30/70", Kept(100, 20, 80, 20), Kept(100, 90, 80, 80), Kept(100, 10, 80, 10)),
    a_line("70/30", Kept(100, 90, 80, 80), Kept(100, 0, 80, 0), Kept(100, 90, 80, 80)),
    a_line(POLICY, Kept(100, 80, 80, 76), Kept(100, 80, 80, 80), Kept(100, 80, 80, 40)),
]


def test_the_policy_is_compared_with_the_best_single_split_and_the_best_of_each_part() -> None:
    (group,) = compared(RUNS)
    assert [line.ruled_by for line in group.lines] == [POLICY, "30/70", "70/30"]
    said = verdict(group)
    assert "1.33 times what the best single split tried (70/30)" in said
    assert said.endswith("95%, 100%, 50%.")
    assert len(row(group.lines[0])) == len(headings(ASKED))


def test_without_both_there_is_no_verdict() -> None:
    assert all(verdict(group) == "" for runs in (RUNS[:2], RUNS[2:]) for group in compared(runs))


def test_the_policy_and_the_splits_run_together_or_alone() -> None:
    assert rulers(True, "30/70,70/30") == [POLICY, "30/70", "70/30"]
    assert rulers(True, "") == [POLICY]
    assert rulers(False, "30/70") == ["30/70"]
    with pytest.raises(ValueError, match="Neither the policy nor any split"):
        rulers(False, "")


def test_what_was_run_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "shift.jsonl"
    ShiftResults(path).append(RUNS[0])
    again = ShiftResults(path)
    assert again.has(ASKED, MACHINE, "30/70")
    assert not again.has(ASKED, MACHINE, POLICY)
    assert again.lines[0].attainment == pytest.approx(0.4)


def test_the_report_has_a_row_a_run_and_the_verdict() -> None:
    page = report([], shifts=RUNS)
    assert "| policy | 300 | 80.0% |" in page
    assert "1.33 times" in page


def test_a_simulated_shift_stands_beside_runs_of_the_same_requests_on_a_gpu() -> None:
    on_gpu = replace(RUNS[0], origin=Origin("", "", replace(MACHINE, gpus=["NVIDIA H200"])))
    assert is_alike(on_gpu, replace(ASKED, serves="", start="80/20"))
    assert not is_alike(RUNS[0], ASKED)
    assert not is_alike(on_gpu, replace(ASKED, seed=1))


def test_each_split_the_policy_and_one_worker_are_simulated_in_turn() -> None:
    light = replace(ASKED, parts=(Part("azure-code", 2.0, 5.0), Part("reason", 1.0, 5.0)), ttft_ms=500.0, tpot_ms=30.0)
    found = [(result.name, result.attainment) for result in runs_of(measured_box(), light)]
    assert [name for name, _ in found][-2:] == ["policy", "colocated"]
    assert dict(found)["60/40"] == 1.0
