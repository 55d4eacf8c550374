"""Decisions and rotations of this run and of those before: what is in memory wins over what is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from appliance.store import queries
from appliance.store.reading import StoreUnreadable, reading

Record = dict[str, Any]


class History:
    """`run` is that of the journal. Records are plain data, oldest first."""

    def __init__(self, state_dir: Path, run: int):
        self._state_dir = state_dir
        self._run = run

    def decisions(self, of_this_run: Sequence[Record], limit: int) -> list[Record]:
        return self._with_earlier(of_this_run, limit, queries.decisions)

    def rotations(self, of_this_run: Sequence[Record], limit: int) -> list[Record]:
        return self._with_earlier(of_this_run, limit, queries.rotations)

    def _with_earlier(
        self, of_this_run: Sequence[Record], limit: int, query: Callable[[Connection, int], list[queries.Row]]
    ) -> list[Record]:
        """This run's as far as memory goes back, before them what the database has."""
        in_memory = {record["number"] for record in of_this_run}
        try:
            with reading(self._state_dir) as connection:
                kept = query(connection, limit)
        except StoreUnreadable:
            kept = []
        earlier = [row["record"] for row in kept if row["run"] != self._run or row["number"] not in in_memory]
        return [*earlier, *of_this_run][-limit:]
