"""`python -m appliance.machine.escalation`: ends with 0 where only a new start of everything can help, else with 1.

systemd asks when a service has been started as often as its limit allows. It decides, and changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from appliance.supervisor.systemd import Units, UnitState
from engine.config import SLOTS
from engine.errors import CANNOT_START
from engine.process import run


def is_start_over_needed(states: Iterable[UnitState]) -> bool:
    """Without resident or scheduler nobody serves, and with one slot's leader somebody does, whom it would end.

    It has failed for good when it was started too often, or has said that it cannot start and would say so again.
    """
    spent = {state.name for state in states if state.active == "failed" and state.exit_code != CANNOT_START}
    leaders = {f"semi-pd-group@{slot}.service" for slot in SLOTS}
    return not spent.isdisjoint({"semi-pd-resident.service", "semi-pd-scheduler.service"}) or leaders <= spent


def main() -> None:
    if not is_start_over_needed(Units().states()):
        print("Somebody serves, or a new start would change nothing: left as it is.")
        sys.exit(1)
    print("Nobody can serve: everything is started over.")


if __name__ == "__main__":
    run(main)
