"""One line of a log, and which lines are asked for."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

LEVELS = ("debug", "info", "warning", "error", "critical")
_GUNICORN = re.compile(r"\[(?P<at>[\d-]+ [\d:]+ [+-]\d{4})\] \[(?P<pid>\d+)\] \[(?P<level>[A-Z]+)\] (?P<event>.*)")
_NAMED = ("timestamp", "level", "event", "process")


class LogLine(NamedTuple):
    """`at` is ISO 8601 in UTC, empty where the line has no time; `more` is what else the event says."""

    unit: str
    at: str
    level: str
    event: str
    more: str

    @classmethod
    def of(cls, unit: str, raw: str) -> LogLine:
        """A line of JSON, or whatever else a process has written."""
        try:
            said: dict[str, Any] = json.loads(raw)
            more = " ".join(f"{name}={value}" for name, value in said.items() if name not in _NAMED)
            return cls(unit, said["timestamp"], str(said["level"]).lower(), str(said["event"]), more)
        except (ValueError, KeyError, TypeError, AttributeError):
            return _of_gunicorn(unit, raw) or cls(unit, "", "", raw, "")

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.at, self.unit, self.level, self.event, self.more) if part)


class LogFilter(NamedTuple):
    """`level`: this one and worse. `words`: in any order, anywhere in the line; a request's id is one. Empty: all."""

    unit: str = ""
    level: str = ""
    words: str = ""

    def takes(self, line: LogLine) -> bool:
        if self.unit and line.unit != self.unit:
            return False
        if self.level in LEVELS and line.level and LEVELS.index(self.level) > _rank(line.level):
            return False
        text = line.text.lower()
        return all(word in text for word in self.words.lower().split())


def _of_gunicorn(unit: str, raw: str) -> LogLine | None:
    """`[2026-11-22 22:31:57 +0000] [18891] [INFO] Listening …`"""
    found = _GUNICORN.match(raw)
    if found is None:
        return None
    at = datetime.strptime(found["at"], "%Y-%m-%d %H:%M:%S %z").astimezone(UTC)
    return LogLine(
        unit, at.strftime("%Y-%m-%dT%H:%M:%S.000000Z"), found["level"].lower(), found["event"], f"pid={found['pid']}"
    )


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)
