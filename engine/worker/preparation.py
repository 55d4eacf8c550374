"""What a worker has yet to prepare, done a piece at a time: before it is ready, and later when it has nothing to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from engine.device.device import Partition
from engine.worker.parts import WHOLE_SHARE, Parts

Prepare = Callable[[Partition], Iterator[None]]
"""The pieces of work that make a part one to compute in; each is done in that part, with nothing in flight."""

_OVER = object()


class Preparation:
    """Shares to prepare, the most urgent first."""

    def __init__(self, parts: Parts, shares: Iterable[int], prepare: Prepare):
        self._parts = parts
        self._wanted = deque(dict.fromkeys(shares))
        self._prepare = prepare
        self._pieces: Iterator[None] | None = None

    def want(self, shares: Iterable[int]) -> None:
        """Prepare these instead of what was wanted before; what is begun is finished, and the whole stays wanted."""
        begun = self._wanted[0] if self._pieces is not None else None
        kept = [share for share in self._wanted if share in (begun, WHOLE_SHARE)]
        self._wanted = deque(share for share in dict.fromkeys([*kept, *shares]) if self._parts.lacks(share))

    @property
    def is_over(self) -> bool:
        return not self._wanted

    def advance(self) -> bool:
        """Do one piece; True if another share can be taken now."""
        share = self._wanted[0]
        partition = self._parts.of_share(share)
        self._pieces = self._pieces or self._prepare(partition)
        with self._parts.step(partition):
            if next(self._pieces, _OVER) is not _OVER:
                return False
        self._pieces = None
        self._wanted.popleft()
        self._parts.is_prepared(share)
        return True

    def advance_while(self, goes_on: Callable[[], bool]) -> None:
        while not self.is_over and goes_on():
            self.advance()
