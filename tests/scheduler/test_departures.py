"""What a worker had launched on a GPU may outlive it; how long that is waited for."""

from __future__ import annotations

import pytest

from engine.allocation import Phase
from engine.scheduler.departures import (
    FIRST_SECONDS,
    FIRST_STEPS,
    LEAST_SECONDS,
    SLACK,
    STEPS_LAUNCHED,
    Departures,
    lingering_seconds,
)
from engine.scheduler.groups import Worker
from engine.wire.to_scheduler import WorkerReady

STEP = 0.02
LINGERING = LEAST_SECONDS + SLACK * STEPS_LAUNCHED * STEP


@pytest.fixture
def worker() -> Worker:
    made = Worker(b"decode", WorkerReady(1, "a", (Phase.DECODE,), 7, "green", 50, 0))
    for _ in range(FIRST_STEPS):
        made.did_step(STEP)
    return made


def test_its_pages_are_waited_for_as_long_as_its_steps_take(worker: Worker) -> None:
    departures = Departures(device_lingers=True)
    assert departures.must_wait(worker, owes=True, now=100.0)
    assert departures.take_due(100.0 + 0.9 * LINGERING) == []
    assert departures.take_due(100.0 + 1.1 * LINGERING) == [b"decode"]
    assert departures.take_due(200.0) == [], "it is named once"


def test_of_one_that_has_hardly_begun_nothing_is_known() -> None:
    assert (
        lingering_seconds(Worker(b"decode", WorkerReady(1, "a", (Phase.DECODE,), 7, "green", 50, 0))) == FIRST_SECONDS
    )


@pytest.mark.parametrize(("device_lingers", "owes"), [(True, False), (False, True)])
def test_nothing_is_left_of_one_that_had_nothing_to_do_or_of_one_on_a_cpu(
    worker: Worker, device_lingers: bool, owes: bool
) -> None:
    departures = Departures(device_lingers)
    assert not departures.must_wait(worker, owes, now=0.0)
    assert departures.take_due(1000.0) == []


def test_sleep_ends_when_the_first_is_due(worker: Worker) -> None:
    departures = Departures(device_lingers=True)
    assert departures.wait_ms(0.0, None) is None
    assert departures.wait_ms(0.0, 250) == 250
    departures.must_wait(worker, owes=True, now=10.0)
    asleep = departures.wait_ms(10.0, 250)
    assert asleep is not None and departures.take_due(10.0 + asleep / 1000) == [b"decode"]
    departures.must_wait(worker, owes=True, now=10.0)
    assert departures.wait_ms(10.0, 5) == 5
    assert departures.wait_ms(20.0, None) in (0, 1)
