"""The mixes are what the tables say, and a seed always gives the same requests."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import pytest

from appliance.workload import MIXES, Arrival, draw, draw_evenly, draw_together, mix_named, read_trace

MANY_SECONDS = 4000.0


@pytest.mark.parametrize("name", [name for name in MIXES if name != "shift"])
def test_lengths_have_the_mean_and_the_bounds_of_their_mix(name: str) -> None:
    arrivals = draw(MIXES[name], rate=5.0, seconds=MANY_SECONDS, seed=1)
    (part,) = MIXES[name].parts
    for wanted, drawn in (
        (part.input, [arrival.input_tokens for arrival in arrivals]),
        (part.output, [arrival.output_tokens for arrival in arrivals]),
    ):
        # The bounds take more from the long tail than they give to the short one: at most a seventh.
        assert 0.86 * wanted.mean < mean(drawn) < 1.02 * wanted.mean
        assert wanted.minimum <= min(drawn) and max(drawn) <= wanted.maximum


def test_arrivals_are_a_poisson_process() -> None:
    times = [arrival.at_seconds for arrival in draw(MIXES["sharegpt"], rate=5.0, seconds=MANY_SECONDS, seed=2)]
    gaps = [later - sooner for sooner, later in pairwise(times)]

    assert times[-1] < MANY_SECONDS
    assert mean(gaps) == pytest.approx(1 / 5.0, rel=0.03)
    assert stdev(gaps) == pytest.approx(1 / 5.0, rel=0.05)


def test_a_seed_gives_the_same_requests_and_another_rate_the_same_lengths_sooner() -> None:
    slow, fast = (draw(MIXES["azure-conv"], rate, seconds=100.0, seed=3) for rate in (2.0, 4.0))

    assert slow == draw(MIXES["azure-conv"], 2.0, seconds=100.0, seed=3)
    assert slow != draw(MIXES["azure-conv"], 2.0, seconds=100.0, seed=4)
    assert [arrival[1:] for arrival in slow] == [arrival[1:] for arrival in fast[: len(slow)]]
    assert all(sooner.at_seconds == later.at_seconds / 2 for later, sooner in zip(slow, fast, strict=False))


def test_shift_asks_for_code_first_and_for_reasoning_then() -> None:
    arrivals = draw(MIXES["shift"], rate=5.0, seconds=1000.0, seed=5)
    first = [arrival for arrival in arrivals if arrival.at_seconds < 500.0]
    second = [arrival for arrival in arrivals if arrival.at_seconds >= 500.0]

    assert max(arrival.output_tokens for arrival in first) <= 256
    assert mean(arrival.output_tokens for arrival in second) > 800
    assert mean(arrival.input_tokens for arrival in first) > 5 * mean(arrival.input_tokens for arrival in second)


def test_a_fixed_mix_has_one_length() -> None:
    assert draw_together(mix_named("fixed:512/256"), 3, seed=0) == [Arrival(0.0, 512, 256)] * 3


def test_scaled_lengths_stay_at_least_one_token() -> None:
    scaled = MIXES["azure-code"].scaled(0.01)
    arrivals = draw(scaled, rate=5.0, seconds=200.0, seed=0)

    assert min(arrival.output_tokens for arrival in arrivals) == 1
    assert max(arrival.input_tokens for arrival in arrivals) <= 82


@pytest.mark.parametrize("name", ["azure", "fixed:512", "fixed:a/b", "fixed:0/4", "fixed:1/2/3"])
def test_what_is_no_mix_is_said_in_a_sentence(name: str) -> None:
    with pytest.raises(ValueError, match=r"mix '.*' .*\.|There is no mix"):
        mix_named(name)


def test_a_trace_times_itself(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(
        '{"at_seconds": 2.5, "input_tokens": 7, "output_tokens": 8}\n\n'
        '{"at_seconds": 1, "input_tokens": 5, "output_tokens": 6, "user": "x"}\n'
    )

    assert read_trace(path) == [Arrival(1.0, 5, 6), Arrival(2.5, 7, 8)]


@pytest.mark.parametrize(
    "line", ["{", '{"at_seconds": 1}', '{"at_seconds": -1, "input_tokens": 5, "output_tokens": 6}']
)
def test_a_bad_line_of_a_trace_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"at_seconds": 1, "input_tokens": 5, "output_tokens": 6}\n' + line + "\n")

    with pytest.raises(ValueError, match="Line 2"):
        read_trace(path)


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("seed", [0, 1])
def test_half_a_minute_drawn_evenly_is_what_an_hour_is(name: str, seed: int) -> None:
    mix = MIXES[name]
    hour, half_minute = draw(mix, 10.0, 3600.0, seed=7), draw_evenly(mix, 10.0, 30.0, seed)
    assert len(half_minute) == 300
    for number in (1, 2):
        assert mean(each[number] for each in half_minute) == pytest.approx(
            mean(each[number] for each in hour), rel=0.04
        )


def test_what_is_drawn_evenly_comes_at_random_moments_in_random_order() -> None:
    one, other = (draw_evenly(MIXES["azure-conv"], 10.0, 100.0, seed) for seed in (1, 2))
    assert one == draw_evenly(MIXES["azure-conv"], 10.0, 100.0, seed=1)
    assert [each.input_tokens for each in one] != [each.input_tokens for each in other]
    gaps = [later.at_seconds - sooner.at_seconds for sooner, later in pairwise(one)]
    assert min(gaps) >= 0 and one[-1].at_seconds < 100.0
    assert stdev(gaps) == pytest.approx(0.1, rel=0.1)
    lengths = [each.input_tokens for each in one]
    rising = sum(later > sooner for sooner, later in pairwise(lengths))
    assert 0.45 < rising / len(lengths) < 0.55


def test_each_part_of_a_mix_is_even_in_its_own_time() -> None:
    arrivals = draw_evenly(MIXES["shift"], 4.5, 60.0, seed=1)
    first = [each for each in arrivals if each.at_seconds < 30.0]
    assert (len(first), len(arrivals)) == (135, 270)
    assert mean(each.output_tokens for each in first) < 40 < mean(each.output_tokens for each in arrivals[135:])
