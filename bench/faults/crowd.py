"""Difficult clients, as the one who measures holds them: there when it begins, gone when it is closed."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Self

import msgspec

from bench.faults.difficult import READY, SETTLE_SECONDS, Seen, Task
from engine.errors import SemiPDError

END_SECONDS = 60.0


class NoCrowd(SemiPDError):
    """The process of the difficult clients has failed."""


class Crowd:
    """Returns when all have come. Raises `NoCrowd`."""

    def __init__(self, task: Task):
        command = [sys.executable, "-m", "bench.faults.difficult"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{msgspec.json.encode(task).decode()}\n")
        self._process.stdin.flush()
        patience = threading.Timer(2 * SETTLE_SECONDS, self._process.kill)
        patience.start()
        said = self._process.stdout.readline().strip()
        patience.cancel()
        if said != READY:
            self._process.kill()
            self._process.communicate()
            raise NoCrowd(f"{task.clients} {task.kind} did not come.")

    def leave(self) -> Seen:
        """All at once; what they have seen until then. Raises `NoCrowd`."""
        said, _ = self._process.communicate(timeout=END_SECONDS)
        if self._process.returncode != 0:
            raise NoCrowd("The difficult clients did not stay to the end.")
        return msgspec.json.decode(said, type=Seen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
