"""`python -m appliance.machine.standby`: which slot serves and which stands by, and the split in force, for an upgrade.

One line: the slot that serves, the other one, prefill's and decode's share.
"""

from __future__ import annotations

import json
from typing import Any

from appliance.control.client import NotRunning, ask
from appliance.control.messages import AskStatus
from appliance.instance import Instance
from engine.config import SLOTS
from engine.errors import CannotStart
from engine.process import run

ANSWER_SECONDS = 30.0


def standby(status: dict[str, Any]) -> str:
    """From what the controller says of itself. Raises `CannotStart` where no group serves."""
    active = [group["slot"] for group in status["groups"] if group["stage"] == "active"]
    if not active or not status["split_in_force"]:
        raise CannotStart("No group serves, so there is none that could be replaced while it does.")
    [other] = set(SLOTS) - {active[0]}
    prefill, decode = status["split_in_force"].split("/")
    return f"{active[0]} {other} {prefill} {decode}"


def main() -> None:
    try:
        reply = ask(Instance.of_user(), AskStatus(), ANSWER_SECONDS)
    except NotRunning as error:
        raise CannotStart("No controller answers, so there is nobody who could rotate.") from error
    print(standby(json.loads(reply.data)))


if __name__ == "__main__":
    run(main)
