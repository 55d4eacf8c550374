"""When everything is started over: from what systemd says of the services."""

from __future__ import annotations

import pytest

from appliance.machine.escalation import is_start_over_needed
from appliance.supervisor.systemd import UnitState
from engine.errors import CANNOT_START


def state(name: str, active: str = "active", exit_code: int | None = None) -> UnitState:
    return UnitState(f"semi-pd-{name}.service", active, "signal", "", 0, 0, 0.0, 0.0, None, None, exit_code)


def spent(name: str) -> UnitState:
    return state(name, "failed", exit_code=1)


@pytest.mark.parametrize("name", ["resident", "scheduler"])
def test_without_one_of_them_nobody_serves(name: str) -> None:
    assert is_start_over_needed([spent(name), state("gateway")])


def test_of_two_leaders_one_is_enough() -> None:
    assert not is_start_over_needed([spent("group@a"), state("group@b")])
    assert is_start_over_needed([spent("group@a"), spent("group@b")])


def test_one_that_said_why_it_cannot_start_would_say_it_again() -> None:
    assert not is_start_over_needed([state("scheduler", "failed", CANNOT_START)])


@pytest.mark.parametrize("active", ["active", "activating", "inactive"])
def test_one_that_is_started_again_or_was_stopped_is_no_reason(active: str) -> None:
    assert not is_start_over_needed([state("scheduler", active, exit_code=1)])


def test_what_serves_without_the_engine_being_to_blame_is_left() -> None:
    assert not is_start_over_needed([spent("gateway"), spent("console"), spent("controller")])
