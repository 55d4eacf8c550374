"""Window, cooldown and confidence, changed while the policy is at work."""

from __future__ import annotations

import pytest

from appliance.slo import RequestRecord, SLOAwareResourceManager, SLOTarget
from appliance.slo.window import Window
from engine.allocation import SMAllocation


class Still:
    """A rotation manager that nobody asks for anything."""

    allocation_in_force = SMAllocation(50, 50)

    def request_sm_reallocation(self, sm_allocation: SMAllocation, *, reason: str = "") -> bool:
        raise AssertionError("nothing is to be moved here")


def ended(number: int, at: float) -> RequestRecord:
    return RequestRecord(number, at, 100, at + 0.5, at + 1.0, 11, is_finished=True)


def test_a_window_of_another_size_has_the_same_past() -> None:
    window = Window(30.0)
    for number in range(30):
        window.observe(ended(number, float(number)))
    shorter = window.resized(10.0)
    summary = shorter.summary(31.0)
    assert (summary.seconds, summary.samples) == (10.0, 10)
    assert summary.offered.prefill == pytest.approx(100.0, rel=0.3)
    longer = window.resized(60.0).summary(31.0)
    assert longer.samples == 30


def test_a_window_without_a_length_is_refused_and_the_old_one_stays() -> None:
    window = Window(30.0)
    with pytest.raises(ValueError, match="longer than 0"):
        window.resized(0.0)


def test_the_manager_goes_on_with_what_it_has_seen() -> None:
    now = 31.0
    manager = SLOAwareResourceManager(SLOTarget(1000.0, 500.0), Still(), clock=lambda: now)
    for number in range(30):
        manager.observe(ended(number, float(number)))
    manager.set_pace(60.0, 5.0, 0.9)
    record = manager.decide()
    assert record is not None and record.decision.seen.seconds == 60.0 and record.decision.seen.samples == 30
    manager.start()
    manager.set_pace(45.0, 5.0, 0.9)  # while its job runs
    manager.stop()
