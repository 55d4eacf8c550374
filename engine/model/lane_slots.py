"""Which row of the device's buffers each lane has, and what has to be written there before a step. No torch.

Rows are kept while a lane runs on, so that a step over the same lanes writes nothing but the pages they were granted.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.model.lane import Lane

Cells = NDArray[np.int64]
"""[2, n]: where in the flat buffer, and what."""


class Placement(NamedTuple):
    """`slots[i]` is the row of the i-th lane, all of them below `bucket`.

    `moves`: (from, to) rows of tokens that the device alone knows, to be copied first. `cells`: what to write then.
    """

    slots: list[int]
    bucket: int
    moves: list[tuple[int, int]]
    cells: Cells


class LaneSlots:
    """The flat buffer: a token for each of `buckets[-1]` rows, then for each row a page table of `table_pages`.

    A row without a lane has page 0 at its beginning, which belongs to nobody: whatever is computed there is written
    there.
    """

    def __init__(self, buckets: Sequence[int], table_pages: int):
        self.buckets = buckets
        self._rows = buckets[-1]
        self._table_pages = table_pages
        self._slot_of: dict[Lane, int] = {}
        self._free = list(range(self._rows))
        self._next_position = [0] * self._rows
        """Of the token that the device holds for a row."""
        self._page_count = [0] * self._rows

    @property
    def size(self) -> int:
        return self._rows * (1 + self._table_pages)

    def place(self, lanes: Sequence[Lane]) -> Placement:
        """Give each of `lanes`, at least one and none of them twice, a row; those of all other lanes are free again."""
        changes = _Changes(self._rows, self._table_pages)
        freed = self._free_others(set(lanes))
        bucket = self.bucket(len(lanes))
        moves = self._move_below(bucket, [lane for lane in lanes if self._slot_of.get(lane, 0) >= bucket])
        freed += [source for source, _ in moves]
        slots = [self._write(lane, changes) for lane in lanes]
        taken = set(slots)
        changes.clear(slot for slot in freed if slot not in taken)
        return Placement(slots, bucket, moves, changes.cells)

    def bucket(self, count: int) -> int:
        """The number of rows with which a step over `count` lanes is computed."""
        return self.buckets[bisect_left(self.buckets, count)]

    def _free_others(self, staying: set[Lane]) -> list[int]:
        freed = [self._slot_of.pop(lane) for lane in [lane for lane in self._slot_of if lane not in staying]]
        for slot in freed:
            heapq.heappush(self._free, slot)
        return freed

    def _move_below(self, bucket: int, high: Iterable[Lane]) -> list[tuple[int, int]]:
        """Lanes have left and the rest fit a smaller bucket: move those that stand above it into rows that are free."""
        moves = []
        for lane in high:
            source, slot = self._slot_of[lane], heapq.heappop(self._free)
            heapq.heappush(self._free, source)
            self._slot_of[lane] = slot
            self._next_position[slot] = self._next_position[source]
            self._page_count[slot] = 0
            moves.append((source, slot))
        return moves

    def _write(self, lane: Lane, changes: _Changes) -> int:
        """What the device does not know of a lane: its pages, and its token if the last step was not the device's."""
        slot = self._slot_of.get(lane)
        if slot is None:
            slot = self._slot_of[lane] = heapq.heappop(self._free)
            self._page_count[slot], self._next_position[slot] = 0, -1
        if self._next_position[slot] != lane.position:
            changes.token(slot, lane.token_id)
        if self._page_count[slot] != len(lane.pages):
            changes.pages(slot, self._page_count[slot], lane.pages)
            self._page_count[slot] = len(lane.pages)
        self._next_position[slot] = lane.position + 1
        return slot


class _Changes:
    """Cells of the flat buffer, gathered."""

    def __init__(self, rows: int, table_pages: int):
        self._rows = rows
        self._table_pages = table_pages
        self._places: list[int] = []
        self._values: list[int] = []

    @property
    def cells(self) -> Cells:
        return np.array([self._places, self._values], dtype=np.int64)

    def token(self, slot: int, token_id: int) -> None:
        self._places.append(slot)
        self._values.append(token_id)

    def pages(self, slot: int, known: int, pages: Sequence[int]) -> None:
        """All of a lane's pages but the first `known`."""
        assert len(pages) <= self._table_pages, "a lane is longer than the longest sequence"
        start = self._table_start(slot)
        self._places += range(start + known, start + len(pages))
        self._values += pages[known:]

    def clear(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._places.append(self._table_start(slot))
            self._values.append(0)

    def _table_start(self, slot: int) -> int:
        return self._rows + slot * self._table_pages
