"""Commands about services where there are none, and what systemd's properties come to."""

from __future__ import annotations

import os

import pytest

from appliance.control.messages import AskUnits, RestartUnit
from appliance.supervisor.systemd import unit_state
from appliance.supervisor.units_desk import answer_about_units

PROPERTIES = {
    "ActiveState": "active",
    "Result": "success",
    "StatusText": "Takes requests and orders.",
    "MainPID": 42,
    "NRestarts": 1,
    "StateChangeTimestamp": 1_700_000_000_500_000,
    "WatchdogTimestamp": 0,
    "CPUUsageNSec": 2_500_000_000,
    "MemoryCurrent": 2**64 - 1,
    "ExecMainCode": os.CLD_EXITED,
    "ExecMainStatus": 78,
}


def test_a_service_in_plain_numbers() -> None:
    state = unit_state("semi-pd-scheduler.service", PROPERTIES)
    assert (state.main_pid, state.restarts, state.status) == (42, 1, "Takes requests and orders.")
    assert (state.since, state.watchdog_fed_at) == (1_700_000_000.5, 0.0)
    assert state.cpu_seconds == 2.5
    assert state.memory_bytes is None, "this machine does not count it"


@pytest.mark.parametrize(("code", "exit_code"), [(os.CLD_EXITED, 78), (os.CLD_KILLED, None), (0, None)])
def test_a_signals_number_is_no_exit_code(code: int, exit_code: int | None) -> None:
    assert unit_state("semi-pd-scheduler.service", PROPERTIES | {"ExecMainCode": code}).exit_code == exit_code


@pytest.mark.parametrize("command", [AskUnits(), RestartUnit("semi-pd-gateway.service", "anna")])
def test_in_the_foreground_there_are_no_services(command: AskUnits | RestartUnit) -> None:
    reply = answer_about_units(None, None, command)
    assert not reply.done
    assert "no services of the machine" in reply.sentence
