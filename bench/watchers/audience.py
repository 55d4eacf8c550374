"""Those who watch, as the one who measures holds them: there when it begins, gone when it is closed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Self

import msgspec
import psutil

from bench.watchers.watching import READY, Task
from engine.errors import SemiPDError

READY_SECONDS = 300.0
END_SECONDS = 60.0


class NobodyWatches(SemiPDError):
    """The browsers did not come, or saw nothing."""


class Audience:
    """Returns when every browser watches. Raises `NobodyWatches`."""

    def __init__(self, task: Task):
        command = [sys.executable, "-m", "bench.watchers.watching"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin and self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        self._input.write(f"{msgspec.json.encode(task).decode()}\n")
        self._input.flush()
        patience = threading.Timer(READY_SECONDS, self._process.kill)
        patience.start()
        said = self._output.readline().strip()
        patience.cancel()
        if said != READY:
            self._process.kill()
            self._process.communicate()
            raise NobodyWatches(f"{task.browsers} browsers did not all come to watch, or not in {READY_SECONDS:g} s.")

    def cpu_seconds(self) -> float:
        """What the browsers have computed so far, all their processes together."""
        return cpu_seconds(family(self._process.pid))

    def leave(self) -> list[int]:
        """Looks that each has seen."""
        said, _ = self._process.communicate(timeout=END_SECONDS)
        looks = msgspec.json.decode(said, type=list[int]) if self._process.returncode == 0 else []
        if not looks or not all(looks):
            raise NobodyWatches("Some of the browsers saw nothing, so this was no watching.")
        return looks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """That these have computed so far; one that has ended counts for nothing."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
