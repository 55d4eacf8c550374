"""The standard library's loggers in the form of the others: one JSON object an event, on standard error.

gunicorn, uvicorn and APScheduler log this way, and so do our modules that also run in the foreground's terminal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

OURS = ("engine", "appliance", "webui")
MORE = "more"
"""`extra={MORE: {...}}` adds fields to a line."""

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)

_noted: ContextVar[dict[str, Any]] = ContextVar("noted", default={})  # noqa: B039 - nobody changes it, see `note`


def note(**fields: Any) -> None:
    """Every line of this task has these from now on: which request it is about."""
    _noted.set(_noted.get() | fields)


class JsonLines(logging.Formatter):
    """With the names that `set_up_logging` gives to the fields."""

    def __init__(self, process: str):
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {"process": self._process, "pid": record.process, "event": record.getMessage()}
        line |= _noted.get() | getattr(record, MORE, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line["level"] = record.levelname.lower()
        line["timestamp"] = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return priority(line["level"]) + json.dumps(line, default=str)


def priority(level: str) -> str:
    """What goes before a line so that `journalctl --priority` knows it; nothing where it does not go to the journal."""
    return f"<{_PRIORITIES[level]}>" if _goes_to_journal() else ""


def _goes_to_journal() -> bool:
    """As systemd.exec(5) says of this variable, which is inherited also by processes that write elsewhere."""
    stream = os.fstat(sys.stderr.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def log_as_json(process: str, level: str) -> None:
    """For this process and those that it forks. Of libraries only what is wrong is told, Python's warnings among it."""
    logging.captureWarnings(True)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(process))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in OURS:
        logging.getLogger(package).setLevel(level)
