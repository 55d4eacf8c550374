"""What the policy reads from the recent past."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.slo.forecast import forecast, significant_slope, step_in
from appliance.slo.metrics import RequestRecord, WorkloadMetrics, WorkTotals
from appliance.slo.percentiles import Weighted, percentiles
from appliance.slo.window import Window


def finished(request_id: int, arrived_at: float, ttft: float, tokens: int, tpot: float) -> RequestRecord:
    first = arrived_at + ttft
    return RequestRecord(request_id, arrived_at, 100, first, first + tpot * (tokens - 1), tokens, is_finished=True)


def reported(ttft_p95: float, count: int = 1) -> WorkloadMetrics:
    return WorkloadMetrics(0.0, 5, 10, 1000.0, 2000.0, ttft_p95, 40.0, 0.7, 0.8, count)


def test_percentiles_are_nearest_ranks() -> None:
    assert percentiles(Weighted(float(value)) for value in range(1, 101)) == (50.0, 95.0, 99.0)
    assert percentiles([Weighted(1.0, 95.0), Weighted(9.0, 5.0)]) == (1.0, 1.0, 9.0)
    assert percentiles([]) is None


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 100)), min_size=1))
def test_percentiles_are_values_that_were_seen_and_in_order(values: list[tuple[float, float]]) -> None:
    found = percentiles(Weighted(*value) for value in values)
    assert found is not None
    assert set(found) <= {value for value, _ in values}
    assert found.p50 <= found.p95 <= found.p99


def test_one_still_waiting_counts_with_the_wait_it_has() -> None:
    window = Window(30.0)
    window.observe(finished(1, 10.0, ttft=0.1, tokens=11, tpot=0.02))
    window.observe(RequestRecord(2, 12.0, prompt_tokens=700))
    seen = window.summary(17.0)
    assert seen.ttft_ms is not None
    assert seen.ttft_ms.p99 == pytest.approx(5000)
    assert seen.tpot_ms is not None
    assert seen.tpot_ms.p99 == pytest.approx(20)
    assert (seen.waiting, seen.running, seen.waiting_prompt_tokens, seen.samples) == (1, 0, 700, 2)


def test_who_waited_when_the_window_began_is_counted_apart() -> None:
    window = Window(30.0)
    window.observe(RequestRecord(1, 5.0, prompt_tokens=100))
    window.observe(RequestRecord(2, 6.0, 200, first_token_at=50.0, last_token_at=50.0, output_tokens=1))
    window.observe(RequestRecord(3, 7.0, 400, first_token_at=9.0, last_token_at=50.0, output_tokens=9))
    window.observe(RequestRecord(4, 40.0, prompt_tokens=800))
    seen = window.summary(60.0)
    assert (seen.waited_prompt_tokens, seen.waiting_prompt_tokens) == (300, 900)


def test_what_prefill_did_lately_is_told_apart() -> None:
    window = Window(30.0)
    assert window.summary(0.0).latest_prefill == 0.0
    for at in range(31):
        window.count_work(WorkTotals(prefill_tokens=1000 * max(0, at - 20)), now=float(at))
    assert window.summary(30.0).latest_prefill == pytest.approx(1000.0)
    assert window.summary(300.0).latest_prefill == 0.0


def test_a_running_request_whose_next_token_is_late_is_seen_to_be_slow() -> None:
    running = RequestRecord(1, 0.0, 10, first_token_at=1.0, last_token_at=2.0, output_tokens=11)
    assert running.tpot_seconds(2.0) == pytest.approx(0.1)
    assert running.tpot_seconds(12.0) == pytest.approx(1.0)


def test_what_ended_before_the_window_is_forgotten_and_what_is_live_is_not() -> None:
    window = Window(30.0)
    window.observe(finished(1, 0.0, 0.1, 5, 0.01))
    window.observe(RequestRecord(2, 0.0, 50))
    assert window.summary(1.0).samples == 2
    seen = window.summary(60.0)
    assert (seen.samples, seen.waiting) == (1, 1)
    window.forget(2)
    assert window.summary(60.0).samples == 0


def test_offered_load_counts_all_that_came_served_or_not() -> None:
    window = Window(30.0)
    for number in range(60):
        window.observe(finished(number, 0.5 * number, 0.1, 20, 0.01))
    seen = window.summary(30.0)
    assert seen.offered.prefill == pytest.approx(60 * 100 / 30)
    assert seen.offered.decode == pytest.approx(60 * 20 / 30)
    assert seen.served_decode == pytest.approx(40, rel=0.05)


def test_reported_percentiles_weigh_by_their_count() -> None:
    window = Window(30.0)
    window.report(reported(80.0, count=99), now=1.0)
    window.report(reported(500.0, count=1), now=2.0)
    seen = window.summary(3.0)
    assert seen.ttft_ms is not None
    assert (seen.ttft_ms.p95, seen.ttft_ms.p99, seen.samples) == (80.0, 80.0, 100)
    assert seen.prefill_utilization == pytest.approx(0.7)
    assert window.summary(100.0).ttft_ms is None


def test_work_is_what_was_added_within_the_window() -> None:
    window = Window(30.0)
    for at in range(0, 100, 10):
        window.count_work(WorkTotals(at * 7, at * 0.5, at * 20, at, at * 0.3), now=float(at))
    work = window.summary(90.0).work
    assert work is not None
    assert (work.prefill_tokens, work.decode_tokens, work.decode_steps) == (210, 600, 30)
    assert (work.prefill_seconds, work.decode_seconds) == pytest.approx((15.0, 9.0))


def test_work_counted_by_another_scheduler_is_not_set_off_against_that_of_the_one_before() -> None:
    window = Window(30.0)
    for at, steps in enumerate((100, 120, 5, 9)):
        window.count_work(WorkTotals(decode_steps=steps), now=float(at))
    work = window.summary(3.0).work
    assert work is not None and work.decode_steps == 4


def test_a_rise_is_forecast_to_go_on_and_noise_is_not() -> None:
    assert forecast([10.0 * span for span in range(12)], 110.0, 3) > 115
    assert significant_slope([5, 9, 4, 8, 6, 7, 5, 9, 4, 8, 6, 7]) == 0.0
    assert forecast([100.0, 80.0, 60.0, 40.0, 20.0, 0.0], 10.0, 3) == 0.0


NOISE = [1.0, -2.0, 0.0, 2.0, -1.0, 1.0, -1.0, 2.0, 0.0, -2.0, 1.0, 0.0]


@pytest.mark.parametrize("spans", [1, 2, 3, 6])
@pytest.mark.parametrize(("before", "after"), [(60.0, 12.0), (12.0, 60.0), (0.0, 60.0)])
def test_a_step_is_found_where_it_was_taken(spans: int, before: float, after: float) -> None:
    levels = [before] * (12 - spans) + [after] * spans
    step = step_in([level + noise for level, noise in zip(levels, NOISE, strict=True)])
    assert step is not None and step.spans == spans


def test_noise_a_rise_and_one_burst_are_no_steps() -> None:
    assert step_in([10 + noise for noise in NOISE]) is None
    assert step_in([10.0 * at + noise for at, noise in enumerate(NOISE)]) is None
    assert step_in([10.0, 11.0, 9.0, 40.0, 10.0, 11.0, 9.0, 10.0]) is None
    assert step_in([10.0, 10.0, 10.0, 10.0, 60.0]) is None  # so little past tells nothing


@given(st.lists(st.floats(0, 1e5), max_size=12))
def test_a_step_leaves_some_past_before_it(series: list[float]) -> None:
    step = step_in(series)
    assert step is None or 1 <= step.spans <= len(series) - 3


def test_after_a_step_the_forecast_is_of_what_has_come_since() -> None:
    """For 100 s requests of 100 tokens and 10 of answer, then, at the same rate, of 20 tokens and 50 of answer."""
    window = Window(30.0)
    for number in range(240):
        record = finished(number, 0.5 * number, 0.1, 10 if number < 200 else 50, 0.01)
        window.observe(record if number < 200 else replace(record, prompt_tokens=20))
    seen = window.summary(120.0)
    assert seen.forecast == pytest.approx((40.0, 100.0), rel=0.05)
    assert seen.next_prompt_tokens == pytest.approx(20.0)
    assert seen.offered.prefill == pytest.approx((20 * 100 + 40 * 20) / 30, rel=0.05)
    assert seen.is_mixed


@given(st.lists(st.floats(0, 1e5), max_size=12), st.floats(0, 1e5))
def test_a_forecast_is_never_negative(series: list[float], level: float) -> None:
    assert forecast(series, level, 3) >= 0


RECORDS = st.builds(
    RequestRecord,
    request_id=st.integers(1, 30),
    arrived_at=st.floats(0, 100),
    prompt_tokens=st.integers(1, 1000),
    first_token_at=st.none() | st.floats(100, 150),
    last_token_at=st.floats(150, 200),
    output_tokens=st.integers(1, 500),
)


@given(st.lists(RECORDS, max_size=40), st.floats(200, 260))
def test_every_live_request_is_in_the_summary_once(records: list[RequestRecord], now: float) -> None:
    window = Window(30.0)
    for record in records:
        window.observe(record)
    latest = {record.request_id: record for record in records}.values()
    seen = window.summary(now)
    assert seen.waiting == sum(record.first_token_at is None for record in latest)
    assert seen.waiting + seen.running == len(latest)
    assert seen.waiting_prompt_tokens == sum(r.prompt_tokens for r in latest if r.first_token_at is None)
    assert min(seen.offered + seen.forecast) >= 0
