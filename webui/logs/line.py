"""One line of a log, and which lines are asked for."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

LEVELS = ("debug", "info", "warning", "error", "critical")
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
            return cls(unit, "", "", raw, "")

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


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)
