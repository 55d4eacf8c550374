"""How long steps take: fitted, kept, and added up in closed form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.simulator.box import Box
from appliance.simulator.least_squares import nonnegative_least_squares
from appliance.simulator.run import Pace, Run
from appliance.simulator.step_times import DecodeStep, PrefillStep, StepTimes, token_context
from tests.simulator.boxes import LARGE, SMALL

KNOWN = StepTimes(c0=0.003, c1=4e-5, c2=2e-9, d0=0.005, d1=3e-5, d2=4e-8, overhead=0.01)


def test_a_fit_finds_the_coefficients_that_made_the_samples() -> None:
    prefill = [
        PrefillStep(n, token_context(start, n), KNOWN.prefill(n, token_context(start, n)))
        for n in (1, 64, 512, 4096)
        for start in (0, 2000, 8000)
    ]
    decode = [DecodeStep(b, c, KNOWN.decode(b, c)) for b in (1, 8, 64) for c in (100, 5000, 90_000)]
    fitted = StepTimes.fitted(prefill, decode, overhead=0.01)
    for name in ("c0", "c1", "c2", "d0", "d1", "d2", "overhead"):
        assert getattr(fitted, name) == pytest.approx(getattr(KNOWN, name), rel=1e-6)
    with pytest.raises(ValueError, match="at least three"):
        StepTimes.fitted(prefill[:2], decode)


def test_a_fit_finds_what_lanes_cost_beyond_the_knee() -> None:
    known = replace(KNOWN, d3=2e-5, knee=32)
    prefill = [PrefillStep(n, token_context(0, n), known.prefill(n, token_context(0, n))) for n in (1, 64, 512)]
    decode = [DecodeStep(b, c, known.decode(b, c)) for b in (1, 8, 32, 64, 256) for c in (5000, 90_000)]
    fitted = StepTimes.fitted(prefill, decode, knee=32)
    for name in ("d0", "d1", "d2", "d3", "knee"):
        assert getattr(fitted, name) == pytest.approx(getattr(known, name), rel=1e-6)
    assert known.decode(40, 0) == pytest.approx(KNOWN.decode(40, 0) + 8 * 2e-5)
    assert known.decode(32, 0) == KNOWN.decode(32, 0)
    assert StepTimes.fitted(prefill, decode[:6]).d3 == 0.0, "without a knee there is no bend"


def test_where_attention_is_known_the_rest_is_fitted_beside_it() -> None:
    prefill = [PrefillStep(n, token_context(0, n), KNOWN.prefill(n, token_context(0, n))) for n in (1, 64, 512)]
    decode = [DecodeStep(b, c, KNOWN.decode(b, c)) for b in (1, 8, 64) for c in (100, 5000)]
    fitted = StepTimes.fitted(prefill, decode, attention=KNOWN.c2)
    for name in ("c0", "c1", "c2"):
        assert getattr(fitted, name) == pytest.approx(getattr(KNOWN, name), rel=1e-6)
    assert StepTimes.fitted(prefill, decode, attention=0.0).c2 == 0.0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(-5, 5)), min_size=3, max_size=12))
def test_least_squares_stay_non_negative_and_beat_their_neighbours(samples: list[tuple[float, float, float]]) -> None:
    rows, values = [(1.0, a, b) for a, b, _ in samples], [value for *_, value in samples]
    assume(all(max(column) > 0.1 for column in zip(*rows, strict=True)))

    def error(x: list[float]) -> float:
        return sum(
            (sum(f * c for f, c in zip(row, x, strict=True)) - v) ** 2 for row, v in zip(rows, values, strict=True)
        )

    found = nonnegative_least_squares(rows, values)
    assert min(found) >= 0
    for at in range(3):
        for change in (-1e-2, 1e-2):
            other = [max(0.0, c + change * (place == at)) for place, c in enumerate(found)]
            assert error(found) <= error(other) + 1e-6


def test_chunks_attend_to_as_much_as_the_prompt_they_are_cut_from() -> None:
    assert token_context(0, 300) == pytest.approx(sum(token_context(start, 100) for start in (0, 100, 200)))
    assert token_context(7, 1) == 8


def test_steps_and_boxes_survive_their_files(tmp_path: Path) -> None:
    KNOWN.save(tmp_path / "times.json")
    assert StepTimes.load(tmp_path / "times.json") == KNOWN
    LARGE.save(tmp_path / "box.json")
    assert Box.load(tmp_path / "box.json").as_dict() == LARGE.as_dict()
    (tmp_path / "box.json").write_text('{"times": {"c0": 1}}')
    with pytest.raises(ValueError, match="describes no box"):
        Box.load(tmp_path / "box.json")
    with pytest.raises(ValueError, match="must not be negative"):
        StepTimes(**(LARGE.as_dict()["times"] | {"d1": -1.0}))


@given(
    st.floats(1e-4, 1.0), st.floats(0, 1e-3), st.integers(1, 300), st.sampled_from([0.2, 0.5, 1.0]), st.booleans(),
    st.floats(0, 2.0),
)  # fmt: skip
def test_a_run_in_closed_form_is_its_steps_one_by_one(
    first: float, growth: float, steps: int, speed: float, stretches: bool, part: float
) -> None:
    run = Run(10.0, first, growth, steps, Pace.at_speed(speed, stretches_steps=stretches))
    at, reports = 10.0, []
    for step in range(steps):
        seconds = first + growth * step
        reports.append(at + (seconds / speed if stretches else seconds))
        at += seconds / speed
        assert run.report_at(step) == pytest.approx(reports[-1])
    assert run.ends_at == pytest.approx(at)
    now = 10.0 + part * (at - 10.0)
    assume(all(abs(report - now) > 1e-6 for report in reports))
    assert run.steps_by(now) == sum(report <= now for report in reports)


def test_what_a_step_costs_whatever_is_in_it_is_paid_once() -> None:
    both = SMALL.times.packed(100, 5000, 4, 400)
    assert both < SMALL.times.prefill(100, 5000) + SMALL.times.decode(4, 400)
    assert SMALL.times.packed(100, 5000, 0, 0) == SMALL.times.prefill(100, 5000)
