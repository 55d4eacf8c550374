"""The machine's journal, read by `journalctl`: the appliance's services in it, their past and what they add."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import IO

from webui.logs.journal_entry import FIELDS, line_of, unit_of
from webui.logs.line import LogFilter, LogLine

UNITS = (
    "console", "controller", "escalation", "gateway", "gateway-next", "gpu", "group@a", "group@b", "mps@a",
    "mps@b", "resident", "scheduler", "settings",
)  # fmt: skip
SEARCHED = 100_000
"""How many of the latest entries are looked through for those that are wanted."""
READ_BYTES = 512 * 1024
"""Of what was added, how much is taken at once."""


class Journal:
    """The process needs to be in the group systemd-journal. What keeps it from reading is told as a line."""

    units = UNITS

    def tail(self, wanted: LogFilter, limit: int) -> list[LogLine]:
        """The latest lines that are wanted, oldest first. It reads backwards and stops where it has enough."""
        try:
            with _journalctl(wanted, "--reverse") as child:
                assert child.stdout is not None
                found = filter(wanted.takes, map(line_of, islice(child.stdout, SEARCHED)))
                lines = list(islice(found, limit))[::-1]
                return lines + list(_problem_at_end(child, child.stdout))
        except OSError as error:
            return [_problem(error.strerror or "")]

    def follow(self, wanted: LogFilter) -> JournalTail:
        return JournalTail(wanted)


class JournalTail:
    """What is added from now on, though `journalctl` is started by the first call of `added` only."""

    def __init__(self, wanted: LogFilter):
        self._wanted = wanted
        self._since = time.time()
        self._child: subprocess.Popen[bytes] | None = None
        self._begun = b""
        self._is_over = False

    def added(self) -> list[LogLine]:
        """Whole lines that came since the last call. If `journalctl` ends, one says why, and no more come."""
        if self._is_over:
            return []
        try:
            raw = self._read()
        except OSError as error:
            return self._end(error.strerror or "")
        if raw is None:
            return self._end(_last_words(self._started()))
        *whole, self._begun = (self._begun + raw).split(b"\n")
        return [line for line in map(line_of, whole) if self._wanted.takes(line)]

    def close(self) -> None:
        self._is_over = True
        if self._child is not None:
            self._child.terminate()
            self._child.communicate()
            self._child = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            # Without --merge only the boot that /proc names is followed; one of a container's own may name another.
            following = ("--follow", "--merge", "--no-tail", "--since", f"@{self._since:.6f}")
            self._child = _journalctl(self._wanted, *following)
            assert self._child.stdout is not None
            os.set_blocking(self._child.stdout.fileno(), False)
        return self._child

    def _read(self) -> bytes | None:
        """What is there, maybe nothing; None at the end."""
        stdout = self._started().stdout
        assert stdout is not None
        try:
            return os.read(stdout.fileno(), READ_BYTES) or None
        except BlockingIOError:
            return b""

    def _end(self, reason: str) -> list[LogLine]:
        self.close()
        return [_problem(reason)]


def _journalctl(wanted: LogFilter, *options: str) -> subprocess.Popen[bytes]:
    """Entries as JSON, one a line. `--all`: long messages too. Of a unit that is not ours nothing is asked for."""
    units = [f"--unit={unit_of(unit)}" for unit in UNITS if wanted.unit in ("", unit)]
    fields = f"--output-fields={','.join(FIELDS)}"
    command = ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", fields, *options]
    command += units or ["--unit=semi-pd-none.service"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _problem_at_end(child: subprocess.Popen[bytes], stdout: IO[bytes]) -> Iterator[LogLine]:
    """Nothing if it did as it was told, or has more to say than is wanted: then it is ended."""
    if stdout.read(1):
        child.terminate()
    elif child.wait():
        yield _problem(_last_words(child))


def _last_words(child: subprocess.Popen[bytes]) -> str:
    _, said = child.communicate()
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"journalctl ended with status {child.returncode}"


def _problem(reason: str) -> LogLine:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return LogLine("console", now, "error", f"The journal cannot be read: {reason.rstrip('.')}.", "")
