"""Commands about the machine's services, answered."""

from __future__ import annotations

import json

from appliance.control.messages import AskUnits, Reply, RestartUnit
from appliance.store.store import Store
from appliance.supervisor.systemd import Units

CONTROLLER = "semi-pd-controller.service"


def answer_about_units(units: Units | None, store: Store | None, command: AskUnits | RestartUnit) -> Reply:
    """Refused where the processes are no services. Raises `SemiPDError` where systemd refuses."""
    if units is None:
        return Reply(False, "This appliance runs in the foreground: its processes are no services of the machine.")
    match command:
        case AskUnits():
            return Reply(True, "", json.dumps([state._asdict() for state in units.states()]))
        case RestartUnit(name, by):
            units.restart(name, wait=name != CONTROLLER)  # who waited for its own end would never come to it
            sentence = f"{name} was restarted by {by or 'somebody'}."
            if store is not None:
                store.journal.event("restart", sentence)
            return Reply(True, sentence)
