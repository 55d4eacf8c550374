"""A step takes no longer than the targets leave it, by the speed that is seen."""

from __future__ import annotations

import pytest

from engine.scheduler.limits import Limits
from engine.scheduler.step_limit import LEAST_PART, TPOT_PART, TTFT_PART, StepLimit

MOST = 3000
RATE = 1000.0
"""Tokens a second."""


def limit(ttft: float, tpot: float, is_colocated: bool = False) -> StepLimit:
    made = StepLimit(
        Limits(
            max_model_len=100,
            max_running_requests=4,
            max_queued_requests=4,
            prefill_token_budget=MOST,
            ttft_target_seconds=ttft,
            tpot_target_seconds=tpot,
        )
    )
    made.is_shared = is_colocated
    return made


def work(limit: StepLimit, rate: float = RATE, steps: int = 20) -> None:
    for _ in range(steps):
        limit.learn(limit.tokens, limit.tokens / rate)


@pytest.mark.parametrize(
    ("ttft", "tpot", "is_colocated", "tokens"),
    [
        (3.0, 0.1, False, int(TTFT_PART * 3.0 * RATE)),
        (3.0, 1.0, True, int(TPOT_PART * 1.0 * RATE)),
        (3.0, 5.0, True, int(TTFT_PART * 3.0 * RATE)),
        (0.0, 1.0, True, int(TPOT_PART * 1.0 * RATE)),
        (0.0, 0.5, False, MOST),
        (0.0, 0.0, True, MOST),
        (99.0, 99.0, True, MOST),
        (0.1, 0.1, True, MOST // LEAST_PART),
    ],
)
def test_the_shorter_of_what_both_targets_leave(ttft: float, tpot: float, is_colocated: bool, tokens: int) -> None:
    of_targets = limit(ttft, tpot, is_colocated)
    assert of_targets.tokens == MOST, "no speed is known yet"
    work(of_targets)
    assert of_targets.tokens == pytest.approx(tokens, abs=1)


def test_another_target_counts_from_the_next_step_on() -> None:
    moved = limit(1.6, 0.0)
    work(moved)
    moved.aim(3.0, 0.0)
    work(moved, steps=1)
    assert moved.tokens == pytest.approx(TTFT_PART * 3.0 * RATE, abs=1)
    moved.aim(0.0, 0.0)
    assert moved.tokens == MOST


def test_who_shares_its_steps_with_decode_counts_from_the_next_step_on() -> None:
    moved = limit(3.0, 0.8)
    work(moved)
    moved.is_shared = True
    work(moved, steps=1)
    assert moved.tokens == pytest.approx(TPOT_PART * 0.8 * RATE, abs=1)
    moved.is_shared = False
    work(moved)
    assert moved.tokens == pytest.approx(TTFT_PART * 3.0 * RATE, abs=1)


def test_a_device_that_becomes_faster_or_slower_is_followed() -> None:
    borrowed = limit(2.0, 0.0)
    work(borrowed)
    work(borrowed, rate=2 * RATE)
    assert borrowed.tokens == pytest.approx(TTFT_PART * 2 * 2 * RATE, abs=1)
    work(borrowed, rate=1.5 * RATE, steps=1)
    assert borrowed.tokens == pytest.approx(TTFT_PART * 2 * 1.5 * RATE, abs=1)
