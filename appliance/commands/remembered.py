"""Decisions and rotations: of the appliance that runs or, where none does, as the last one left them."""

from __future__ import annotations

import json
from typing import Any

from appliance.commands.terminal import NOT_RUNNING, explained
from appliance.control.client import NotRunning, ask
from appliance.control.messages import AskDecisions, AskRotations
from appliance.instance import Instance


def remembered(command: AskDecisions | AskRotations) -> list[dict[str, Any]]:
    """Records as plain data, oldest first; without an appliance and a database, the command ends with a sentence."""
    instance = Instance.of_user()
    with explained(NOT_RUNNING):
        try:
            return json.loads(ask(instance, command).data)
        except NotRunning:
            if (records := _on_disk(instance, command)) is None:
                raise
            return records


def _on_disk(instance: Instance, command: AskDecisions | AskRotations) -> list[dict[str, Any]] | None:
    """None where there is no database."""
    from appliance.store import queries  # noqa: PLC0415  SQLAlchemy takes a while to import
    from appliance.store.reading import StoreUnreadable, reading  # noqa: PLC0415

    query = queries.decisions if isinstance(command, AskDecisions) else queries.rotations
    try:
        with reading(instance.state_dir) as connection:
            return [row["record"] for row in query(connection, command.limit)]
    except StoreUnreadable:
        return None
