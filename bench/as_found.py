"""A bench moves the split and the targets of a running appliance itself; afterwards they are as it found them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from appliance.control.client import Conversation
from appliance.control.messages import AskRotation, AskStatus, Command, Reply, SetMode, SetTarget
from appliance.instance import Instance
from engine.errors import SemiPDError

ROTATION_SECONDS = 180.0


@contextmanager
def left_as_found(instance: Instance) -> Iterator[dict[str, Any]]:
    """The status at the begin; until the end the policy keeps its hands off. Raises `NotRunning`, `SemiPDError`."""
    with Conversation(instance) as controller:
        found = json.loads(told(controller, AskStatus()).data)
        told(controller, SetMode("manual"))
    try:
        yield found
    finally:
        with Conversation(instance) as controller:
            prefill, decode = (int(share) for share in found["split_in_force"].split("/"))
            target = found["slo"]["target"]
            told(controller, AskRotation(prefill, decode, reason="bench, as it was before"))
            told(controller, SetTarget(target["ttft_target_ms"], target["tpot_target_ms"]))
            told(controller, SetMode(found["slo"]["mode"]))


def told(controller: Conversation, command: Command) -> Reply:
    """Its reply. Raises `SemiPDError` where it was not done."""
    reply = controller.ask(command, ROTATION_SECONDS)
    if not reply.done:
        raise SemiPDError(reply.sentence)
    return reply
