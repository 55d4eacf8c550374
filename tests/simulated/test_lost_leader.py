"""A scheduler is lost, then the leader of its workers: the next begins when these have ended, however long it takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulated import simulation
from tests.simulated.controller_process import SimulatedController
from tests.simulated.replay import Failure, replay
from tests.simulated.scenario import Event, Fault, Scenario, scenario_of

SEEDS = range(12)
FIRST_SLOT = 0.0
AT = 1.0
BOTH = [Event(AT, Fault.KILL_SCHEDULER, 0.0, 0.0), Event(AT + 0.001, Fault.KILL_LEADER, FIRST_SLOT, 0.0)]


def with_both(seed: int) -> Scenario:
    return scenario_of(seed)._replace(events=BOTH)


def failures(monkeypatch: pytest.MonkeyPatch) -> list[Failure]:
    monkeypatch.setattr(simulation, "scenario_of", with_both)
    return [result for result in map(replay, SEEDS) if isinstance(result, Failure)]


def test_it_waits_for_workers_that_were_killed_with_their_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not failures(monkeypatch)


def test_one_that_does_not_wait_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(self: SimulatedController, left: list[object], act: Callable[[], None]) -> None:
        act()

    monkeypatch.setattr(SimulatedController, "_when_ended", at_once)
    assert any("a scheduler begins while" in failure.problem for failure in failures(monkeypatch))
