"""How a step's decode attention is divided into pieces of work: which part of which lane each of them reads. No torch.

The division follows from the lanes' lengths alone, never from the number of SMs: when the split changes, sums are still
added up in the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILE_TOKENS = 128
"""What the kernel reads at a time. A shorter piece would leave part of it idle."""

SPARE_BLOCKS = 256
"""A lane and KV head is one block of threads; so many more may share the work of lanes that are long beside the others.
It is enough to fill a large chip with a single lane, and few enough that those left over cost nothing that shows."""

FIXED_PIECES = 8
"""Of the longest lane, where the division may not depend on the batch. A graph starts so many blocks for every lane,
and those left over do cost something, so that they are few."""

_ALIGNMENT = 4
"""In int32: FlashInfer wants its arrays on 16 bytes."""


class WorkList:
    """The int32 numbers that a step over `lanes` lanes reads, and where in one buffer each array of them stands.

    `table_pages`: how long a lane's row in the page tables is. A lane that takes no part is one of length 1. With
    `is_fixed` a lane is divided by its own length alone, whatever the others' are.
    """

    def __init__(self, lanes: int, kv_heads: int, page_size: int, table_pages: int, is_fixed: bool = False):
        self.lanes = lanes
        self._page_size = page_size
        self._table_pages = table_pages
        self._spare = max(1, SPARE_BLOCKS // kv_heads)
        self._tile_pages = max(1, TILE_TOKENS // page_size)
        self._fixed_pages = self._whole_tiles(-(-table_pages // FIXED_PIECES)) if is_fixed else None
        self.pieces = lanes * FIXED_PIECES if is_fixed else lanes + self._spare
        """At most; the number of blocks that a graph starts for each KV head."""
        self.size = 0
        self.positions = self._reserve(lanes)
        self.last_page_len = self._reserve(lanes)
        self.piece_indptr = self._reserve(lanes + 1)
        """Lane i has the pieces `piece_indptr[i]` … `piece_indptr[i + 1]`."""
        self.piece_tokens = self._reserve(1)
        self.row_count = self._reserve(1)
        self.piece_lane = self._reserve(self.pieces)
        self.piece_index = self._reserve(self.pieces)
        """Counted within its lane."""
        self.piece_is_used = self._reserve(-(-self.pieces // 4))
        """One byte each."""
        self.query_tile = self._reserve(self.pieces)
        """Always 0: the query heads that share a KV head fit one tile."""

    def fill(self, buffer: NDArray[np.int32], positions: NDArray[np.int32]) -> None:
        """Write the numbers of a step in which lane i feeds the token at `positions[i]`."""
        pages = positions // self._page_size + 1
        piece_pages = self._piece_pages(int(pages.sum()))
        counts = -(-pages // piece_pages)
        ends = np.cumsum(counts)
        used = int(ends[-1])
        buffer[: self.size] = 0
        buffer[self.positions] = positions
        # FlashInfer takes a lane's length from its row in the tables, which is the whole row here. What is too much is
        # taken off the last page.
        buffer[self.last_page_len] = positions + 1 - (self._table_pages - 1) * self._page_size
        buffer[self.piece_indptr][1:] = ends
        buffer[self.piece_tokens] = piece_pages * self._page_size
        buffer[self.row_count] = self.lanes
        buffer[self.piece_lane][:used] = np.repeat(np.arange(self.lanes), counts)
        buffer[self.piece_index][:used] = np.arange(used) - np.repeat(ends - counts, counts)
        buffer[self.piece_is_used].view(np.uint8)[:used] = 1

    def _piece_pages(self, all_pages: int) -> int:
        """The shortest whole number of tiles with which the pieces are at most `lanes` + spare: Σ⌈pᵢ/c⌉ ≤ B + Σpᵢ/c."""
        if self._fixed_pages is not None:
            return self._fixed_pages
        return self._whole_tiles(-(-all_pages // self._spare))

    def _whole_tiles(self, pages: int) -> int:
        return -(-pages // self._tile_pages) * self._tile_pages

    def _reserve(self, count: int) -> slice:
        start = self.size
        self.size = start + -(-count // _ALIGNMENT) * _ALIGNMENT
        return slice(start, start + count)
