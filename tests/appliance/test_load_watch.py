"""What is learnt of one request alone, and from which requests."""

from __future__ import annotations

import pytest

from appliance.load_watch import LoadWatch
from appliance.slo import SLOAwareResourceManager, SLOTarget
from appliance.slo.profile import Profile
from engine.allocation import SMAllocation
from engine.wire.to_controller import LoadReport, RequestProgress


class Box:
    """A rotation manager that has a split, and a clock."""

    def __init__(self) -> None:
        self.allocation_in_force: SMAllocation | None = SMAllocation(50, 50)
        self.now = 100.0

    def request_sm_reallocation(self, sm_allocation: SMAllocation, *, reason: str = "") -> bool:
        raise AssertionError("nobody asks")


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def watch(box: Box) -> LoadWatch:
    policy = SLOAwareResourceManager(SLOTarget(500.0, 50.0), box, clock=lambda: box.now)
    watch = LoadWatch(policy, Profile.duty(), lambda: box.allocation_in_force, lambda: box.now)
    watch.observe(report())
    return watch


def report(*requests: RequestProgress) -> LoadReport:
    return LoadReport(requests, (), 0, 0.0, 0, 0, 0.0)


def answer(request_id: int, arrived_at: float, ttft: float = 0.2, tpot: float = 0.04) -> RequestProgress:
    first = arrived_at + ttft
    return RequestProgress(request_id, arrived_at, 10, first, first + 9 * tpot, 10, True)


def test_it_is_reckoned_to_the_whole_device(watch: LoadWatch) -> None:
    watch.observe(report(answer(1, 101.0)))
    assert watch.alone.ttft_ms == pytest.approx(100.0)
    assert watch.alone.tpot_ms == pytest.approx(20.0)


def test_a_request_that_saw_two_splits_teaches_nothing(watch: LoadWatch, box: Box) -> None:
    box.allocation_in_force, box.now = SMAllocation(90, 10), 110.0
    watch.observe(report(answer(1, 109.0, tpot=0.001)))
    assert watch.alone.tpot_ms is None
    watch.observe(report(answer(2, 111.0)))
    assert watch.alone.tpot_ms == pytest.approx(4.0)


def test_while_no_group_serves_nothing_is_learnt(watch: LoadWatch, box: Box) -> None:
    box.allocation_in_force = None
    watch.observe(report(answer(1, 101.0)))
    assert watch.alone.requests == 0
