"""Decisions, rotations and events as rows. Each is told again when there is more to say of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects.sqlite import insert as upsert

from appliance.rotation.history import RotationRecord
from appliance.slo.decisions import DecisionRecord
from appliance.store import schema
from appliance.store.writer import Writer

_DECISION = ("number", "decided_at", "action", "in_force", "split", "confidence", "was_taken", "outcome", "error")
_ROTATION = ("number", "asked_at", "asked", "reason", "live_seconds", "problem")


class Journal:
    """One run's: numbers of records begin anew with each start of the controller."""

    def __init__(self, writer: Writer, run: int):
        self._writer = writer
        self._run = run

    def decision(self, record: DecisionRecord) -> None:
        self._keep(schema.decisions, _DECISION, record.as_dict())

    def rotation(self, record: RotationRecord) -> None:
        self._keep(schema.rotations, _ROTATION, record.as_dict())

    def event(self, kind: str, sentence: str) -> None:
        self._writer.record(event(kind, sentence, time.time()))

    def _keep(self, table: Table, columns: tuple[str, ...], record: Mapping[str, Any]) -> None:
        values = {name: record[name] for name in (*columns, "sentence")}
        plain = json.loads(json.dumps(record, default=str))
        self._writer.record(lambda connection: _put(connection, table, {**values, "run": self._run, "record": plain}))


def event(kind: str, sentence: str, at: float) -> Callable[[Connection], object]:
    """For `Writer.record`."""
    return lambda connection: connection.execute(insert(schema.events).values(at=at, kind=kind, sentence=sentence))


def _put(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    connection.execute(
        upsert(table).values(values).on_conflict_do_update(index_elements=["run", "number"], set_=values)
    )
