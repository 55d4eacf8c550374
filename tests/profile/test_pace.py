"""Speeds from the times at which steps ended."""

from __future__ import annotations

import pytest

from appliance.profile.pace import pace_alone, paces
from engine.profile.messages import Worked


def test_only_time_in_which_both_were_busy_counts() -> None:
    prefill = Worked(10.0, (11.0, 12.0, 13.0, 13.1, 13.2))  # alone from 13.0 on, and faster
    decode = Worked(10.5, (10.6, 10.8, 11.0, 12.0, 13.0))
    found = paces(prefill, decode, chunk_tokens=100, decode_lanes=8)
    assert found is not None
    assert found.prefill.step_ms == pytest.approx(1000.0)
    assert found.prefill.tokens_per_second == pytest.approx(100.0)
    assert found.decode.step_ms == pytest.approx(500.0)
    assert found.decode.tokens_per_second == pytest.approx(16.0)


def test_too_few_steps_beside_each_other_say_nothing() -> None:
    long, short = Worked(0.0, tuple(map(float, range(1, 20)))), Worked(0.0, (0.5, 1.5))
    assert paces(long, short, 1, 1) is None
    assert paces(short, long, 1, 1) is None
    assert paces(Worked(0.0, (1.0, 2.0)), Worked(5.0, (6.0, 7.0)), 1, 1) is None


def test_alone_all_of_it_counts() -> None:
    alone = pace_alone(Worked(1.0, (1.5, 2.0, 2.5)), 10)
    assert alone is not None
    assert (alone.step_ms, alone.tokens_per_second) == (pytest.approx(500.0), pytest.approx(20.0))
    assert pace_alone(Worked(1.0, (1.5,)), 10) is None
