"""Curves that were put in come out, and what cannot be known is not believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.slo.backlog import prefill_delay_ms, waits_for_lanes
from appliance.slo.capacity import Capacity
from appliance.slo.line import Point, through
from appliance.slo.metrics import WorkTotals
from appliance.slo.offered import Load
from appliance.slo.percentiles import Percentiles
from appliance.slo.predictor import Predictor
from appliance.slo.profile import Profile, Speeds
from appliance.slo.target import SLOTarget
from appliance.slo.window import WindowSummary

TARGET = SLOTarget(1000.0, 50.0)
NO_LOAD = Load()


def window(at: float, ttft: float, tpot: float, load: Load = NO_LOAD, **more: Any) -> WindowSummary:
    return WindowSummary(
        at=at, seconds=30.0, samples=100, ttft_ms=Percentiles(ttft, ttft, ttft), tpot_ms=Percentiles(tpot, tpot, tpot),
        offered=load, forecast=load, **more,
    )  # fmt: skip


def taught(a1: float, b1: float, a2: float, b2: float, shares: list[float]) -> Predictor:
    """A predictor that has seen the exact curves of an idle box at these prefill shares."""
    predictor = Predictor(Profile.duty(), TARGET)
    for number, x in enumerate(shares):
        seen = window(30.0 * number, a1 / x + b1, a2 / (1 - x) + b2)
        predictor = predictor.learned(seen, Speeds(x, 1 - x))
    return predictor


@given(st.floats(1, 500), st.floats(0, 200), st.floats(1, 50), st.floats(0, 20))
def test_the_papers_curves_are_found_again(a1: float, b1: float, a2: float, b2: float) -> None:
    predictor = taught(a1, b1, a2, b2, [0.3, 0.5, 0.7, 0.4])
    last = window(90.0, a1 / 0.4 + b1, a2 / 0.6 + b2)
    predicted = predictor.predict(last, Speeds(0.4, 0.6), Speeds(0.8, 0.2))
    assert predicted == pytest.approx((a1 / 0.8 + b1, a2 / 0.2 + b2), rel=1e-3)
    assert predictor.confidence(90.0) > 0.8


def test_one_split_alone_is_taken_to_scale_with_speed() -> None:
    predictor = taught(100.0, 50.0, 10.0, 0.0, [0.5, 0.5])
    seen = window(60.0, 250.0, 20.0)
    assert predictor.predict(seen, Speeds(0.5, 0.5), Speeds(0.25, 0.75)) == pytest.approx((500.0, 40 / 3))


def test_load_is_measured_in_what_the_whole_chip_can_do() -> None:
    work = WorkTotals(
        prefill_tokens=30_000, prefill_seconds=10.0, decode_tokens=1000, decode_steps=100, decode_seconds=2.0
    )
    seen = window(0.0, 100.0, 20.0, Load(1000.0, 500.0), work=work)
    rests = Capacity().learned(seen, Speeds(0.5, 0.5), Profile.duty())
    assert rests.utilization(seen.offered).prefill == pytest.approx(1 / 3)
    stretches = Capacity().learned(seen, Speeds(0.5, 0.5), Profile({}, stretches_steps=True))
    assert stretches.utilization(seen.offered).prefill == pytest.approx(1 / 6)


def test_what_a_request_adds_to_a_decode_step_is_told_from_batches_that_differ() -> None:
    capacity = Capacity()
    for batch in (10, 20, 40):
        work = WorkTotals(decode_tokens=batch * 100, decode_steps=100, decode_seconds=100 * (0.004 + 0.0001 * batch))
        capacity = capacity.learned(window(0.0, 1.0, 1.0, work=work), Speeds(0.5, 0.5), Profile.duty())
    assert capacity.seconds_a_lane == pytest.approx(0.0001)
    assert capacity.utilization(Load(0.0, 3000.0)).decode == pytest.approx(0.3)


def test_beyond_capacity_the_backlog_tells_the_delay() -> None:
    seen = window(0.0, 5000.0, 20.0, Load(9000.0), waiting_prompt_tokens=20_000)
    # 10,000 tokens/s on the whole chip: at 80 % 1,000 tokens/s pile up for 30 s on what waits already.
    assert prefill_delay_ms(seen, 20_000, 10_000, 0.8, 0.9) == pytest.approx(1000 * 50_000 / 8000)
    assert prefill_delay_ms(seen, 20_000, 10_000, 1.0, 0.9) == 0.0
    assert prefill_delay_ms(seen, 20_000, None, 0.5, 0.9) == 0.0


def test_a_curve_of_short_prompts_holds_for_long_ones() -> None:
    """5,000 prompt tokens a second on the whole chip; a first token takes five times what its prompt alone would."""
    predictor = Predictor(Profile.duty(), TARGET)
    for number, (tokens, x) in enumerate([(20, 0.3), (20, 0.5), (20, 0.8), (20, 0.5)]):
        predictor = predictor.learned(computing(30.0 * number, tokens, 5 * tokens / 5.0 / x), Speeds(x, 1 - x))
    long = computing(120.0, 200, 5 * 200 / 5.0 / 0.5)
    assert predictor.predict(long, Speeds(0.5, 0.5), Speeds(0.8, 0.2)).ttft_ms == pytest.approx(250.0, rel=0.01)
    coming = replace(computing(120.0, 20, 40.0), next_prompt_tokens=200.0)
    assert predictor.predict(coming, Speeds(0.5, 0.5), Speeds(0.8, 0.2)).ttft_ms == pytest.approx(250.0, rel=0.01)


def computing(at: float, prompt_tokens: float, ttft: float) -> WindowSummary:
    work = WorkTotals(prefill_tokens=1000, prefill_seconds=0.2)
    return window(at, ttft, 20.0, work=work, prompt_tokens=prompt_tokens, next_prompt_tokens=prompt_tokens)


def test_a_window_of_two_loads_says_nothing_of_either() -> None:
    predictor = taught(100.0, 50.0, 10.0, 0.0, [0.3, 0.5, 0.7])
    seen = window(90.0, 9000.0, 900.0, is_mixed=True)
    assert predictor.learned(seen, Speeds(0.5, 0.5)).samples == predictor.samples


@pytest.mark.parametrize(("waiting", "waits"), [(7, False), (30, True)])
def test_a_burst_of_prompts_does_not_wait_for_lanes(waiting: int, waits: bool) -> None:
    seen = window(0.0, 5000.0, 20.0, Load(1000.0, 500.0), served_decode=480.0, waiting=waiting)
    assert waits_for_lanes(seen, 0.5, 0.2, TARGET) is waits


def test_prompts_whose_load_has_just_grown_wait_for_prefill() -> None:
    """Of 5,000 prompt tokens a second on the whole chip: a tenth over the window, and half of them from now on."""
    work = WorkTotals(prefill_tokens=15_000, prefill_seconds=3.0)
    seen = window(0.0, 5000.0, 20.0, Load(500.0, 500.0), work=work, served_decode=480.0, waiting=30)
    predictor = Predictor(Profile.duty(), TARGET).learned(seen, Speeds(0.5, 0.5))
    assert predictor.is_blocked(seen, Speeds(0.5, 0.5))
    assert not predictor.is_blocked(replace(seen, forecast=Load(2400.0, 500.0)), Speeds(0.5, 0.5))


WORK = WorkTotals(prefill_tokens=70_000, prefill_seconds=15.0)
DRAINING = {"work": WORK, "latest_prefill": 70_000 / 30, "served_decode": 480.0, "waiting": 30}
"""70,000 tokens in 30 s: all that half of a chip does that has 4,667 in a second."""


def test_who_works_off_a_backlog_waits_for_prefill_however_little_comes() -> None:
    seen = window(0.0, 5000.0, 20.0, Load(1000.0, 500.0), **DRAINING)
    predictor = Predictor(Profile.duty(), TARGET).learned(seen, Speeds(0.5, 0.5))
    assert not predictor.is_blocked(seen, Speeds(0.5, 0.5))
    assert predictor.is_blocked(replace(seen, latest_prefill=1000.0), Speeds(0.5, 0.5))


def test_prompts_that_have_just_begun_to_come_wait_for_prefill() -> None:
    """Over the window little has come, and little was computed; for 8 s prefill has had no time."""
    work = WorkTotals(prefill_tokens=18_000, prefill_seconds=18_000 / 70_000 * 15.0)
    seen = window(0.0, 1300.0, 8.0, Load(600.0, 100.0), work=work, served_decode=90.0, waiting=13)
    predictor = Predictor(Profile.duty(), TARGET).learned(seen, Speeds(0.5, 0.5))
    assert predictor.is_blocked(seen, Speeds(0.5, 0.5))
    assert not predictor.is_blocked(replace(seen, latest_prefill=70_000 / 30), Speeds(0.5, 0.5))


@pytest.mark.parametrize("piled", [{"waiting_prompt_tokens": 20_000}, {"waited_prompt_tokens": 20_000}])
def test_what_was_left_undone_before_says_nothing_of_the_split(piled: dict[str, int]) -> None:
    """20,000 tokens are 8.6 s of half the chip, 6,000 are 2.6, and a tenth of the window is 3."""
    drains = window(0.0, 9000.0, 20.0, Load(1000.0, 500.0), **DRAINING, **piled)
    predictor = Predictor(Profile.duty(), TARGET).learned(drains, Speeds(0.5, 0.5))
    assert predictor.samples[-1].ttft_ms is None
    few = replace(drains, waiting_prompt_tokens=6000, waited_prompt_tokens=6000)
    assert predictor.learned(few, Speeds(0.5, 0.5)).samples[-1].ttft_ms == 9000.0


def test_a_backlog_goes_on_being_waited_for_and_longer_at_a_smaller_share() -> None:
    drains = window(0.0, 9000.0, 20.0, Load(1000.0, 500.0), **DRAINING, waiting_prompt_tokens=150_000)
    predictor = Predictor(Profile.duty(), TARGET).learned(drains, Speeds(0.5, 0.5))
    stays, less = (predictor.predict(drains, Speeds(0.5, 0.5), Speeds(x, 1 - x)).ttft_ms for x in (0.5, 0.2))
    rate = 70_000 / 15.0
    assert stays == pytest.approx(1000 * (150_000 + 30 * (1000 - 0.5 * rate)) / (0.5 * rate))
    assert less > 2 * stays


def test_a_larger_share_is_never_foretold_to_be_of_no_use() -> None:
    """TPOT that lags behind a load that grows says so, when the share has grown meanwhile."""
    predictor = Predictor(Profile.duty(), TARGET)
    for number, (y, tpot) in enumerate([(0.3, 10.0), (0.5, 15.0), (0.7, 20.0)]):
        predictor = predictor.learned(window(30.0 * number, 250.0, tpot), Speeds(1 - y, y))
    last = window(90.0, 250.0, 20.0)
    less, more = (predictor.predict(last, Speeds(0.3, 0.7), Speeds(1 - y, y)).tpot_ms for y in (0.4, 0.8))
    assert less == pytest.approx(2 * more)


def test_bad_latency_is_no_bad_fit() -> None:
    slow = taught(5000.0, 100.0, 400.0, 20.0, [0.3, 0.5, 0.7, 0.4])
    assert slow.confidence(90.0) > 0.8


def test_windows_that_contradict_each_other_are_not_believed() -> None:
    predictor = Predictor(Profile.duty(), TARGET)
    for number, ttft in enumerate([100.0, 9000.0] * 2):
        predictor = predictor.learned(window(30.0 * number, ttft, 20.0), Speeds(0.5, 0.5))
    assert predictor.confidence(120.0) < 0.7


def borrowing(part: float) -> WorkTotals:
    """Both phases had the whole device for this part of their time."""
    return WorkTotals(1000, 10.0, 1000, 100, 10.0, 10.0 * part, 10.0 * part)


def test_a_window_counts_by_the_part_that_was_not_borrowed() -> None:
    """What was fast because the other phase was idle says little of the split."""
    believed = []
    for part in (0.0, 0.5, 0.9, 1.0):
        predictor = Predictor(Profile.duty(), TARGET)
        for number in range(4):
            seen = window(30.0 * number, 250.0, 20.0, work=borrowing(part))
            predictor = predictor.learned(seen, Speeds(0.5, 0.5))
        believed.append(predictor.confidence(90.0))
    assert believed == sorted(believed, reverse=True) and len(set(believed)) == len(believed)
    assert believed[-1] == 0.0


def test_borrowed_windows_hardly_move_the_curve() -> None:
    predictor = taught(100.0, 50.0, 10.0, 0.0, [0.5, 0.5, 0.5])
    seen = window(90.0, 100.0, 8.0, work=borrowing(0.97))
    curve = predictor.learned(seen, Speeds(0.5, 0.5)).fit_ttft(90.0).line
    assert curve.at(2.0) == pytest.approx(250.0, rel=0.1)


def test_borrowed_steps_are_steps_of_the_whole_chip() -> None:
    work = WorkTotals(prefill_tokens=30_000, prefill_seconds=10.0, prefill_borrowed_seconds=4.0)
    seen = window(0.0, 100.0, 20.0, Load(1000.0, 0.0), work=work)
    capacity = Capacity().learned(seen, Speeds(0.5, 0.5), Profile({}, stretches_steps=True))
    assert capacity.prefill_rate == pytest.approx(30_000 / 7.0)


def test_nothing_seen_is_no_confidence() -> None:
    assert Predictor(Profile.duty(), TARGET).confidence(0.0) == 0.0


SEEN = st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 1e5), st.floats(0.1, 1e4), st.floats(0, 2e4), st.floats(0, 5e3))


def learn_all(windows: list[tuple[float, float, float, float, float]]) -> tuple[Predictor, WindowSummary, Speeds]:
    predictor, seen, x = Predictor(Profile.duty(), TARGET), window(0.0, 1.0, 1.0), 0.5
    for number, (x, ttft, tpot, prompts, tokens) in enumerate(windows):
        work = WorkTotals(1000, 0.1, int(tokens * 30) + 1, 100 + number, 2.0)
        seen = window(30.0 * number, ttft, tpot, Load(prompts, tokens), work=work, waiting_prompt_tokens=500, waiting=2)
        predictor = predictor.learned(seen, Speeds(x, 1 - x))
    return predictor, seen, Speeds(x, 1 - x)


@given(st.lists(SEEN, min_size=1, max_size=12), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_more_speed_never_predicts_more_latency(windows: list, one: float, other: float) -> None:
    assume(one < other)
    predictor, seen, now = learn_all(windows)
    less, more = (predictor.predict(seen, now, Speeds(x, x)) for x in (one, other))
    assert more.ttft_ms <= less.ttft_ms * (1 + 1e-9)
    assert more.tpot_ms <= less.tpot_ms * (1 + 1e-9)


@given(st.lists(SEEN, min_size=1, max_size=12))
def test_confidence_is_from_0_to_1(windows: list) -> None:
    predictor, seen, _ = learn_all(windows)
    assert 0 <= predictor.confidence(seen.at) <= 1


POINTS = st.lists(st.builds(Point, st.floats(0.5, 20), st.floats(0, 1e4), st.floats(0.01, 1)), min_size=2, max_size=20)


@given(POINTS, st.floats(0, 1e3), st.floats(0, 1e3))
def test_no_other_line_of_that_kind_fits_better(points: list[Point], slope: float, level: float) -> None:
    assume(max(p.u for p in points) - min(p.u for p in points) > 0.5)
    line = through(points)

    def error(a: float, b: float) -> float:
        return sum(p.weight * (a * p.u + b - p.value) ** 2 for p in points)

    assert min(line) >= 0
    assert error(*line) <= error(slope, level) * (1 + 1e-9) + 1e-6
