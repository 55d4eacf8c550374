"""What the pages show live: the controller's status, without what they do not need, and the latest sample."""

from __future__ import annotations

import json
import time
from typing import Any

from appliance.control.messages import AskStatus
from appliance.store import queries
from appliance.store.reading import StoreUnreadable, reading
from webui.accounts.audit import AuditLog
from webui.config import ConsoleConfig
from webui.controller import Controller

MARKS_SECONDS = 120.0


class Look:
    """Called by the feed once a second, and by whoever polls."""

    def __init__(self, config: ConsoleConfig, controller: Controller, audit: AuditLog):
        self._config = config
        self._controller = controller
        self._audit = audit

    def __call__(self) -> dict[str, Any]:
        reply = self._controller.ask(AskStatus())
        status = json.loads(reply.data) if reply.done else None
        self._audit.write_waiting()
        seen = {"at": time.time(), "appliance": summary(status), "problem": reply.sentence, **self._recorded()}
        store = (status or {}).get("store") or {}
        problems = (store.get("problem", ""), seen["store_problem"], self._audit.problem)
        return seen | {"store_problem": " ".join(filter(None, problems))}

    def _recorded(self) -> dict[str, Any]:
        try:
            with reading(self._config.instance.state_dir) as connection:
                sample = queries.latest_metrics(connection)
                marks = queries.marks(connection, time.time() - MARKS_SECONDS)
        except StoreUnreadable as error:
            return {"sample": None, "marks": [], "store_problem": str(error)}
        return {"sample": sample, "marks": marks, "store_problem": ""}


def summary(status: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of a status, what fits on a page: only the latest rotation."""
    if status is None:
        return None
    return {
        "split": status["split_in_force"],
        "splitter": status["splitter"],
        "is_rotating": status["rotating"],
        "groups": status["groups"],
        "scheduler": status["scheduler"],
        "rotation": status["rotations"][-1] if status["rotations"] else None,
        "rotations": len(status["rotations"]),
        "slo": status["slo"],
    }
