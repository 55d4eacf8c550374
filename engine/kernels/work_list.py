"""How a step's decode attention is divided into pieces of work: which part of which lane each of them reads. No torch.

The division follows from the lanes' lengths alone, never from the number of SMs: when the split changes, sums are still
added up in the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PIECE_NUMBERS = 8
"""Of a piece, int32: its lane, the position of the lane's new token, the piece's first token, the first that is not its
own (the new one not counted), the slot of its results, the slot of the lane's first piece, the number of the lane's
pieces, and one unused. As `Piece` in `decode_attention.cu`."""
NOBODY = (-1, *(0,) * (PIECE_NUMBERS - 1))

TILE_TOKENS = 256
"""A shorter piece would mostly be the beginning and the end of a block, which take as long as reading so much."""

SPARE_BLOCKS = 256
"""A lane and KV head is one block of threads; so many more may share the work of lanes that are long beside the others.
It is enough to fill a large chip with a single lane, and few enough that those left over cost nothing that shows."""

FIXED_PIECES = 8
"""Of the longest lane, where the division may not depend on the batch. A graph starts so many blocks for every lane,
and those left over do cost something, so that they are few."""


class WorkList:
    """The pieces of a step over `lanes` lanes, whose new tokens stand at positions below `longest`.

    A lane that takes no part is one at position 0. With `is_fixed` a lane is divided by its own length alone, whatever
    the others' are.
    """

    def __init__(self, lanes: int, kv_heads: int, longest: int, is_fixed: bool = False):
        self.lanes = lanes
        self._spare = max(1, SPARE_BLOCKS // kv_heads)
        self._fixed_tokens = _whole_tiles(-(-longest // FIXED_PIECES)) if is_fixed else None
        self.pieces = lanes * FIXED_PIECES if is_fixed else lanes + self._spare
        """At most; the number of blocks that a graph starts for each KV head."""

    def fill(self, rows: NDArray[np.int32], positions: NDArray[np.int32]) -> None:
        """Write to `rows` [pieces, PIECE_NUMBERS] a step in which lane i feeds the token at `positions[i]`.

        The longest pieces come first: blocks start in this order, and the short ones fill up the end.
        """
        piece_tokens = self._piece_tokens(int(positions.sum()))
        counts = positions // piece_tokens + 1
        first = np.cumsum(counts) - counts
        slots = np.arange(counts.sum())
        lanes = np.repeat(np.arange(self.lanes), counts)
        begins = (slots - first[lanes]) * piece_tokens
        ends = np.minimum(begins + piece_tokens, positions[lanes])
        order = np.argsort(begins - ends, kind="stable")
        columns = (lanes, positions[lanes], begins, ends, slots, first[lanes], counts[lanes])
        for number, column in enumerate(columns):
            rows[: len(slots), number] = column[order]
        rows[len(slots) :] = NOBODY

    def _piece_tokens(self, all_tokens: int) -> int:
        """The shortest whole number of tiles with which the pieces are at most `lanes` + spare: Σ⌊pᵢ/c⌋ ≤ Σpᵢ/c."""
        return self._fixed_tokens or _whole_tiles(-(-all_tokens // self._spare))


def _whole_tiles(tokens: int) -> int:
    return max(1, -(-tokens // TILE_TOKENS)) * TILE_TOKENS
