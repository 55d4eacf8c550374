"""What the console asks the controller. An appliance that does not run is an answer, not an error."""

from __future__ import annotations

import json
from typing import Any

from appliance.control.client import NotRunning, ask
from appliance.control.messages import AskStatus, Command, Reply
from appliance.instance import Instance

ROTATION_SECONDS = 180.0


class Controller:
    """The controller of one user's appliance."""

    def __init__(self, instance: Instance):
        self._instance = instance

    def ask(self, command: Command, seconds: float = 5.0) -> Reply:
        """Its reply; one that is not `done`, with the reason, where nobody answers."""
        try:
            return ask(self._instance, command, seconds)
        except NotRunning as error:
            return Reply(False, str(error))

    def status(self) -> dict[str, Any] | None:
        """What `AskStatus` tells, None where nobody answers."""
        reply = self.ask(AskStatus())
        return json.loads(reply.data) if reply.done else None
