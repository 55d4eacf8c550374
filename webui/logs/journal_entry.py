"""An entry of the journal, in its JSON form, as a line of a log. Source: journalctl(1), systemd.journal-fields(7)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from webui.logs.line import LogLine

FIELDS = ("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "UNIT", "_SYSTEMD_UNIT", "_TRANSPORT")
"""Those that are asked for; an entry's time is always there."""

_LEVELS = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
"""Of syslog's priorities."""


def line_of(raw: bytes) -> LogLine:
    """A process's own time and level if its message tells them; what systemd says of a unit is that unit's."""
    entry: dict[str, Any] = json.loads(raw)
    by, about = _text(entry.get("_SYSTEMD_UNIT")), _text(entry.get("UNIT"))
    line = LogLine.of(short_name(about or by), _text(entry.get("MESSAGE")))
    if about:
        line = line._replace(more=f"by={_text(entry.get('SYSLOG_IDENTIFIER'))}")
    return line._replace(at=line.at or _time(entry), level=line.level or _level(entry))


def unit_of(short: str) -> str:
    """`gateway` is `semi-pd-gateway.service`."""
    return f"semi-pd-{short}.service"


def short_name(unit: str) -> str:
    """The opposite of `unit_of`."""
    return unit.removeprefix("semi-pd-").removesuffix(".service")


def _text(value: str | list | None) -> str:
    """Bytes that cannot be printed make a list of numbers of a field; one given twice is a list of values."""
    if isinstance(value, list):
        if value and all(isinstance(byte, int) for byte in value):
            return bytes(value).decode(errors="replace")
        return " ".join(_text(one) for one in value)
    return value or ""


def _time(entry: dict[str, Any]) -> str:
    """As processes write it: ISO 8601 in UTC, to the microsecond."""
    at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _level(entry: dict[str, Any]) -> str:
    """What is written to standard output has the same priority whatever it says, so it has none."""
    priority = _text(entry.get("PRIORITY"))
    if entry.get("_TRANSPORT") == "stdout" or priority not in tuple("01234567"):
        return ""
    return _LEVELS[int(priority)]
