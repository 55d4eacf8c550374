"""What is read from the streams of a rotated appliance: faults, pauses, gaps, and how blocks add up."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import pytest

from appliance.workload import Arrival, mix_named
from bench.endpoint import Endpoint
from bench.machine import Machine
from bench.record import Record
from bench.report import report
from bench.results import BadResults, Origin
from bench.rotation.__main__ import splits_in
from bench.rotation.load import EndlessLoad
from bench.rotation.orders import Outcome, in_place
from bench.rotation.result import Rotated, RotationConfiguration, RotationLine, RotationResults
from bench.rotation.table import HEADINGS, row, summaries
from bench.rotation.timeline import Moments, Span, calm_gaps, calm_pauses, longest_gap, pauses
from bench.rotation.witness import Fault, fault_of, witnesses
from engine.allocation import SMAllocation

KNOWN = list(range(100, 130))
ENDPOINT = Endpoint("127.0.0.1", "127.0.0.1", 1, False, None, "key", "/v1", "tiny")
ORIGIN = Origin("2026-01-01T00:00:00+00:00", "python -m bench.rotation", Machine({}, "3.11.0", 2))
ASKED = RotationConfiguration(
    "semi-pd", "demo on cpu by duty", "sharegpt", 2.0, 0.5, 0, 0.5, True, 20.0, 1.0, ("50/50", "70/30")
)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (KNOWN, None),
        (KNOWN[:-1], Fault.LOST),
        (KNOWN[:10] + KNOWN[11:], Fault.LOST),
        (KNOWN[:10] + KNOWN[13:], Fault.LOST),
        (KNOWN[:10] + KNOWN[9:], Fault.REPEATED),
        (KNOWN[:10] + KNOWN[6:-4], Fault.REPEATED),
        ([*KNOWN[:10], 7, *KNOWN[11:]], Fault.CHANGED),
        ([], Fault.LOST),
    ],
)
def test_what_is_wrong_with_an_answer_is_named(answer: list[int], fault: Fault | None) -> None:
    assert fault_of(answer, KNOWN) is fault


def stream(*gaps: float, begin: float = 0.0) -> Record:
    return Record(0.0, 1, 1, events=list(accumulate(gaps, initial=begin)))


STEPS = [0.1] * 30


def test_a_pause_is_what_is_longer_than_a_step_of_that_moment() -> None:
    moments = Moments(ordered=0.5, ready=3.05, live=3.06, gone=4.5)
    crossing = stream(*STEPS, 0.35, *STEPS)
    assert pauses([crossing], moments) == [pytest.approx(0.25)]


def test_steps_that_are_longer_at_the_new_split_are_no_pause() -> None:
    moments = Moments(ordered=0.5, ready=3.05, live=3.06, gone=3.2)
    assert pauses([stream(*STEPS, *[0.2] * 20)], moments) == [pytest.approx(0.0)]


def test_a_stream_that_does_not_cross_the_hand_over_has_no_pause() -> None:
    moments = Moments(ordered=0.5, ready=3.05, live=3.06, gone=4.5)
    assert pauses([stream(*STEPS[:20]), stream(*STEPS, begin=3.5)], moments) == []


def test_the_longest_gap_is_looked_for_in_every_stream_and_at_both_edges() -> None:
    records = [stream(1.0, 1.0, 5.0), stream(2.0, 2.0)]
    assert longest_gap(records, Span(0.5, 1.5)) == 2.0
    assert longest_gap(records, Span(3.0, 3.5)) == 5.0
    assert longest_gap(records, Span(20.0, 21.0)) == 0.0


def test_calm_spans_are_as_long_as_a_rotation() -> None:
    assert calm_gaps([stream(*STEPS)], Span(0.0, 2.0), 0.9) == [pytest.approx(0.1)] * 2
    assert calm_gaps([stream(*STEPS)], Span(0.0, 0.5), 0.9) == []


def test_where_nothing_is_handed_over_a_silence_is_the_machines_own() -> None:
    silent = stream(*STEPS[:12], 0.5, *STEPS)
    assert max(calm_pauses([silent], Span(0.0, 3.0), 0.5)) == pytest.approx(0.4)
    assert max(calm_pauses([stream(*STEPS)], Span(0.0, 3.0), 0.5)) == pytest.approx(0.0)


def test_load_goes_on_until_it_is_stopped_and_keeps_what_it_sent() -> None:
    known = witnesses([Arrival(0.0, 5, 7), Arrival(0.0, 6, 8)], vocabulary=50, seed=1)
    load = EndlessLoad(ENDPOINT, mix_named("fixed:3/4"), 10.0, known, 0.5, 50, Random(1))
    plan = load.plan()
    sent = [next(plan) for _ in range(50)]
    load.stop()
    assert next(plan, None) is None
    assert [planned.record for planned in sent] == load.records
    assert 10 < len(load.watched) < 40
    assert {(record.input_tokens, record.output_tokens) for _, record in load.watched} == {(5, 7), (6, 8)}
    assert all(record.token_ids == [] for _, record in load.watched)


def test_the_same_seed_gives_the_same_witnesses() -> None:
    lengths = [Arrival(0.0, 5, 7)]
    assert witnesses(lengths, 50, seed=1) == witnesses(lengths, 50, seed=1) != witnesses(lengths, 50, seed=2)


def a_line(**changes: Any) -> RotationLine:
    made = Rotated("50/50", 0.2, 0.3, 1.0, 40.0, (3.0, 5.0))
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "configuration": ASKED,
        "rotations": (made, Rotated("70/30", problem="It was not ready in time.")),
        "requests": 10,
        "failures": {},
        "compared": 5,
        "faults": {},
        "tokens": 100,
        "seconds": 30.0,
        "calm_gaps_ms": (30.0,),
        "late_ms_p99": 0.5,
        "loop_lag_ms_p99": 0.7,
        "load_average": 1.0,
    }
    return RotationLine(**fields | changes)


def test_blocks_of_one_configuration_add_up() -> None:
    (summed,) = summaries([a_line(), a_line(faults={"lost": 2}, failures={"cut off": 1})])
    cells = dict(zip(HEADINGS[:4], row(summed), strict=False))
    assert cells["rotations"] == "4"
    assert cells["requests"] == "20"
    assert row(summed)[2] == "2", "rotations that were not made"
    assert row(summed)[4] == "1 cut off"
    assert row(summed)[6] == "2 lost"
    assert row(summed)[8] == "3.00 / 5.00 / 5.00"


def test_times_of_a_late_client_do_not_count_and_what_it_counted_does() -> None:
    (summed,) = summaries([a_line(), a_line(loop_lag_ms_p99=50.0, faults={"lost": 1})])
    cells = row(summed)
    assert cells[6] == "1 lost"
    assert cells[7] == "1 of 2"
    (late,) = summaries([a_line(loop_lag_ms_p99=50.0)])
    assert row(late)[8] == "–"


def test_the_report_has_a_column_a_measurement_and_its_commands() -> None:
    page = report([], [a_line(), a_line(faults={"lost": 2})])
    assert "| tokens lost, repeated, changed | 2 lost |" in page
    assert "python -m bench.rotation    # 2026-01-01" in page
    assert "Nothing has been measured yet" not in page


def test_what_was_done_is_found_again_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rotation.jsonl"
    RotationResults(path).append(a_line())
    again = RotationResults(path)
    assert again.done(ASKED, ORIGIN) == 2
    assert again.done(ASKED, Origin("", "", Machine({}, "3.12.0", 2))) == 0
    path.write_text("{}\n")
    with pytest.raises(BadResults, match="Line 1"):
        RotationResults(path)


def test_splits_are_pairs_of_shares() -> None:
    assert splits_in("50/50,70/30") == [SMAllocation(50, 50), SMAllocation(70, 30)]
    for bad in ("50", "0/100", "a/b", ""):
        with pytest.raises(ValueError, match="must be pairs of shares"):
            splits_in(bad)


def test_a_split_taken_in_place_has_no_old_group_to_wait_for() -> None:
    split = SMAllocation(60, 40)
    record = {"way": "in place", "not_in_place": "", "live_seconds": 0.25}
    assert in_place(split, 10.0, record) == Outcome(split, Moments(10.0, 10.0, 10.25, 10.25), "")


def test_a_split_that_was_not_prepared_was_not_taken_in_place() -> None:
    record = {"way": "with a new group", "not_in_place": "It is not prepared.", "live_seconds": 3.0}
    outcome = in_place(SMAllocation(60, 40), 10.0, record)
    assert outcome.moments is None
    assert outcome.problem == "It was with a new group. It is not prepared."
