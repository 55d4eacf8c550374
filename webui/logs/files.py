"""Logs as files, one a process: their end, and what is added to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from webui.logs.line import LogFilter, LogLine

TAIL_BYTES = 512 * 1024
"""Of each file, how much of its end is searched."""


class LogFiles:
    """`*.log` in a directory."""

    def __init__(self, directory: Path):
        self._directory = directory

    @property
    def units(self) -> list[str]:
        return sorted(path.stem for path in self._directory.glob("*.log"))

    def tail(self, wanted: LogFilter, limit: int) -> list[LogLine]:
        """The latest lines that are wanted, of all files, oldest first."""
        lines = [line for unit in self.units for line in self._lines(unit) if wanted.takes(line)]
        return sorted(lines, key=lambda line: line.at)[-limit:]

    def _lines(self, unit: str) -> Iterator[LogLine]:
        """A line without a time, of a traceback say, is given that of the line before it."""
        at = ""
        for raw in _end_of(self._directory / f"{unit}.log").splitlines():
            line = LogLine.of(unit, raw)
            at = line.at or at
            yield line._replace(at=at)

    def follow(self, wanted: LogFilter) -> FileTail:
        return FileTail(self._directory, wanted)


class FileTail:
    """What is added from now on."""

    def __init__(self, directory: Path, wanted: LogFilter):
        self._directory = directory
        self._wanted = wanted
        self._read = {path: path.stat().st_size for path in directory.glob("*.log")}

    def added(self) -> list[LogLine]:
        """Whole lines that were added since the last call; a file that became shorter was begun anew."""
        lines = [LogLine.of(path.stem, raw) for path in self._directory.glob("*.log") for raw in self._added_to(path)]
        return sorted(filter(self._wanted.takes, lines), key=lambda line: line.at)

    def close(self) -> None:
        """No file stays open between calls."""

    def _added_to(self, path: Path) -> list[str]:
        start, size = self._read.get(path, 0), path.stat().st_size
        if size < start:
            start = 0
        with path.open("rb") as file:
            file.seek(max(start, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES)
            whole = text.rfind(b"\n") + 1
            self._read[path] = file.tell() - len(text) + whole
        return text[:whole].decode(errors="replace").splitlines()


def _end_of(path: Path) -> str:
    """Whole lines from the end of a file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        text = file.read()
    return (text if size <= TAIL_BYTES else text[text.find(b"\n") + 1 :]).decode(errors="replace")
