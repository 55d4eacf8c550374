"""Notices that somebody set the wall clock. APScheduler plans by it, so that a job could be hours late or early."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TOLERANCE_SECONDS = 1.0


class WallClockWatch:
    """Calls `on_jump` when wall clock and monotonic clock have moved apart since it last looked."""

    def __init__(
        self,
        on_jump: Callable[[], None],
        every_seconds: float,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ):
        self._on_jump = on_jump
        self._every_seconds = every_seconds
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> bool:
        """True if it jumped."""
        offset = self._wall() - self._steady()
        jumped = abs(offset - self._offset) > TOLERANCE_SECONDS
        self._offset = offset
        if jumped:
            self._on_jump()
        return jumped

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="wall-clock", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            self.look()
