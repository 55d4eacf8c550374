"""What a parser is fed with, and what it may do with it: refuse in its own words, within a second."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

MOST_SECONDS = 1.0
"""Of this thread's own computing, whoever else wants the machine."""


class TooSlow(Exception):
    """An input on which it computes for longer than it may."""


class Target(ABC):
    """Made once for many inputs; `folder` is an empty one of its own."""

    seeds: Sequence[bytes] = (b"",)

    def __init__(self, folder: Path):
        self._folder = folder

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Raises whatever is a mistake of ours."""

    def feed_in_time(self, data: bytes) -> None:
        """Raises `TooSlow`, too, for what is slow twice."""
        if self._seconds(data) > MOST_SECONDS and (seconds := self._seconds(data)) > MOST_SECONDS:
            raise TooSlow(f"It computes for {seconds:.1f} s.")

    def _seconds(self, data: bytes) -> float:
        began = time.thread_time()
        self.feed(data)
        return time.thread_time() - began
