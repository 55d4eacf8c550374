"""Where log lines come from: the machine's journal for services of systemd's, else files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from webui.logs.files import LogFiles
from webui.logs.journal import Journal
from webui.logs.line import LogFilter, LogLine


class LogTail(Protocol):
    """What is written from now on. `close` is called when nobody reads on, also where nobody has begun to."""

    def added(self) -> list[LogLine]:
        """What came since the last call, at once; empty if nothing did."""
        ...

    def close(self) -> None: ...


class LogSource(Protocol):
    """The logs of all processes, as one."""

    @property
    def units(self) -> Sequence[str]: ...

    def tail(self, wanted: LogFilter, limit: int) -> list[LogLine]:
        """The latest lines that are wanted, oldest first."""
        ...

    def follow(self, wanted: LogFilter) -> LogTail: ...


def logs_of_appliance(log_dir: Path) -> LogSource:
    """The journal if this process writes there itself, as all of the appliance then do; else the files in `log_dir`."""
    return Journal() if _writes_to_journal() else LogFiles(log_dir)


def _writes_to_journal() -> bool:
    """systemd.exec(5): `JOURNAL_STREAM` is inherited, so whether it still holds is to be seen from the file itself."""
    error = os.fstat(sys.__stderr__.fileno()) if sys.__stderr__ else None
    return error is not None and os.environ.get("JOURNAL_STREAM") == f"{error.st_dev}:{error.st_ino}"
