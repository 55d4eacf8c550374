"""Which processes of an appliance have ended while nobody meant them to."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.faults.box import Box
from bench.faults.memory import processes_of

BAD = ("error", "critical")
LAST_LINES = 8
"""Of each log, that are shown with a crash."""


class Crashes:
    """Told by their ids: who is another now has ended."""

    def __init__(self, box: Box):
        self._box = box
        self._before = self._now()

    def since(self) -> list[str]:
        """In words, each once, and after them what the logs complain of."""
        now = self._now()
        if now is None or self._before is None:
            return ["the appliance does not say what runs", *self._complaints()]
        gone = [f"{name} has ended" for name, pid in self._before.items() if now.get(name) != pid]
        return [*gone, *self._complaints()] if gone else []

    def _now(self) -> dict[str, int] | None:
        status = self._box.status()
        return None if status is None else processes_of(status)

    def _complaints(self) -> Iterator[str]:
        for path in sorted(self._box.instance.log_dir.glob("*.log")):
            bad = [line for line in path.read_text(errors="replace").splitlines() if _is_bad(line)]
            yield from (f"{path.name}: {line}" for line in bad[-LAST_LINES:])


def _is_bad(line: str) -> bool:
    """What is no line of ours, such as a traceback, is shown too; and how a worker ended."""
    try:
        told = json.loads(line)
    except ValueError:
        return bool(line.strip())
    return not isinstance(told, dict) or told.get("level") in BAD or told.get("event") == "worker ended"
