"""Figures from records, by hand."""

from __future__ import annotations

import pytest

from bench.record import Observed
from bench.summary import Percentiles, Targets, percentiles, summarize, tail_tpot_ms
from tests.bench.answers import make_record

EVERYTHING = Targets(ttft_ms=100, tpot_ms=20, gap_ms=50)


def test_a_record_knows_its_times() -> None:
    record = make_record([1.25, 1.26, 1.30], tokens=6, due=1.0, sent=1.125)

    assert record.late == 0.125
    assert record.ttft == 0.125
    assert record.tpot == pytest.approx(0.05 / 5)
    assert record.longest_gap == pytest.approx(0.04)
    assert record.end_to_end == pytest.approx(0.175)


def test_one_token_has_neither_tpot_nor_gap_and_keeps_those_targets() -> None:
    record = make_record([0.05])

    assert record.tpot is None and record.longest_gap is None
    assert EVERYTHING.are_kept_by(record)


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        ([0.1, 0.12], True),
        ([0.101, 0.12], False),  # the first token is late
        ([0.1, 0.121], False),  # the second took too long
        ([0.1, 0.105, 0.156, 0.157, 0.158], False),  # fast on the whole, with one long silence
    ],
)
def test_every_target_must_be_kept(events: list[float], kept: bool) -> None:
    assert EVERYTHING.are_kept_by(make_record(events)) is kept


def test_failures_keep_no_target() -> None:
    assert not Targets(ttft_ms=1e9).are_kept_by(make_record([0.1], failure="cut off"))


def test_percentiles_lie_between_the_nearest_values() -> None:
    assert percentiles([None, *(at / 100 for at in range(101))]) == Percentiles(500.0, 900.0, 950.0, 990.0)
    assert percentiles([None]) is None


def test_only_requests_after_the_warm_up_are_measured_but_all_tokens_of_the_time() -> None:
    warm = make_record([9.9, 10.5, 11.5], due=9.0)
    good = make_record([10.05, 10.06], due=10.0)
    slow = make_record([12.5, 12.51], due=12.0)
    lost = make_record([13.1], due=13.0, failure="HTTP 503", completion_tokens=None)
    summary = summarize(Observed([warm, good, slow, lost], [0.001] * 100), 10.0, 14.0, EVERYTHING)

    assert (summary.requests, summary.finished, summary.failures) == (3, 2, {"HTTP 503": 1})
    assert summary.attainment == pytest.approx(1 / 3)
    assert summary.output_tokens_per_second == pytest.approx((2 + 2 + 2 + 1) / 4.0)
    assert summary.requests_per_second == pytest.approx(3 / 4.0)
    assert summary.ttft_ms is not None and summary.ttft_ms.p50 == pytest.approx(275.0)


def test_events_with_several_tokens_count_as_many() -> None:
    told = make_record([1.0, 2.0], tokens=5, event_tokens=[4, 1])
    untold = make_record([1.0, 2.0], tokens=5)

    assert told.tokens_within(0.0, 2.0) == 4
    assert untold.tokens_within(0.0, 2.0) == 2.5


def test_a_run_of_a_late_client_does_not_count() -> None:
    late = [make_record([1.0], due=0.5, sent=0.5 + 0.0021)]

    in_time = summarize(Observed([make_record([1.0], due=0.5)], [0.0019] * 100), 0.0, 2.0, Targets())
    in_sending = summarize(Observed(late, [0.0] * 100), 0.0, 2.0, Targets())
    in_loop = summarize(Observed([make_record([1.0])], [0.0] * 97 + [0.03] * 3), 0.0, 2.0, Targets())

    assert in_time.counts and not in_time.verdict
    assert not in_sending.counts and "2.1 ms in sending" in in_sending.verdict
    assert not in_loop.counts and "30.0 ms in its event loop" in in_loop.verdict


def test_what_a_run_cut_short_left_open_might_have_been_kept() -> None:
    missed = make_record([0.5], due=0.0)
    open_ones = [make_record([], due=0.1, failure="unfinished", completion_tokens=None) for _ in range(3)]
    summary = summarize(Observed([missed, *open_ones], [], is_cut_short=True), 0.0, 1.0, EVERYTHING)

    assert summary.attainment == 0.75


def test_the_tail_is_the_time_in_which_all_streams_decode() -> None:
    early = make_record([0.0, 1.0, 2.0, 3.0, 3.5, 4.0])  # alone until 2.0, then at half a second a token from 3.0
    late = make_record([3.0, 3.5, 4.0, 4.5, 9.0])
    failed = [make_record([1.0, 2.0]), make_record([1.0], failure="cut off")]

    assert tail_tpot_ms([[early, late], failed]) == pytest.approx(500.0)
    assert tail_tpot_ms([failed]) is None
    assert tail_tpot_ms([[make_record([0.0, 1.0]), make_record([2.0, 3.0])]]) is None
