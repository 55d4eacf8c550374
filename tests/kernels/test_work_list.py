"""Every token of every lane is read exactly once, whatever the lengths, and results stand where they are looked for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.kernels.work_list import FIXED_PIECES, NOBODY, PIECE_NUMBERS, SPARE_BLOCKS, TILE_TOKENS, WorkList

LONGEST = 4096
Piece = tuple[int, ...]
"""Lane, position, begin, end, slot, first slot, count."""


def filled(work: WorkList, positions: list[int]) -> list[Piece]:
    """The pieces that are somebody's, from memory that holds the numbers of another step."""
    rows = np.full((work.pieces, PIECE_NUMBERS), 77, dtype=np.int32)
    work.fill(rows, np.array(positions, dtype=np.int32))
    pieces = [tuple(row) for row in rows.tolist()]
    used = [piece[:7] for piece in pieces if piece != NOBODY]
    assert pieces[len(used) :] == [NOBODY] * (work.pieces - len(used)), "those of nobody come last"
    return used


@given(
    positions=st.lists(st.integers(0, LONGEST - 1), min_size=1, max_size=40),
    kv_heads=st.sampled_from([1, 2, 8, 512]),
    is_fixed=st.booleans(),
)
def test_pieces_cover_every_lane_once(positions: list[int], kv_heads: int, is_fixed: bool) -> None:
    pieces = filled(WorkList(len(positions), kv_heads, LONGEST, is_fixed), positions)
    assert sorted(slot for *_, slot, _, _ in pieces) == list(range(len(pieces)))
    lanes = [sorted(piece for piece in pieces if piece[0] == lane) for lane in range(len(positions))]
    for position, mine in zip(positions, lanes, strict=True):
        assert [(piece[1], piece[4] - piece[5], piece[6]) for piece in mine] == [
            (position, at, len(mine)) for at in range(len(mine))
        ]
        bounds = [0, *(end for _, _, _, end, *_ in mine)]
        assert [(begin, end) for _, _, begin, end, *_ in mine] == list(pairwise(bounds))
        assert bounds[-1] == position, "the new token is the last piece's"
        assert all(begin % TILE_TOKENS == 0 for _, _, begin, *_ in mine)


@given(positions=st.lists(st.integers(0, LONGEST - 1), min_size=1, max_size=40))
def test_the_longest_begin_first(positions: list[int]) -> None:
    lengths = [end - begin for _, _, begin, end, *_ in filled(WorkList(len(positions), 8, LONGEST), positions)]
    assert lengths == sorted(lengths, reverse=True)


def test_one_long_lane_is_shared_by_as_many_blocks_as_there_are_to_spare() -> None:
    assert len(filled(WorkList(1, 8, 131072), [131071])) == SPARE_BLOCKS // 8


def test_equal_lanes_in_a_large_batch_are_not_divided() -> None:
    assert [piece[0] for piece in filled(WorkList(64, 8, LONGEST), [600] * 64)] == list(range(64))


def fixed_pieces(positions: list[int]) -> list[list[tuple[int, int]]]:
    """With a fixed division, the pieces each lane is read in; rows of nobody are one token long."""
    rows = [*positions, *[0] * (40 - len(positions))]
    pieces = filled(WorkList(len(rows), 8, LONGEST, is_fixed=True), rows)
    return [sorted((begin, end) for its, _, begin, end, *_ in pieces if its == lane) for lane in range(len(positions))]


@given(mine=st.integers(0, LONGEST - 1), others=st.lists(st.integers(0, LONGEST - 1), max_size=39), data=st.data())
def test_a_fixed_division_goes_by_a_lanes_own_length(mine: int, others: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(others)))
    assert fixed_pieces([*others[:at], mine, *others[at:]])[at] == fixed_pieces([mine])[0]


def test_a_fixed_division_bounds_the_pieces_of_the_longest_lane() -> None:
    assert len(fixed_pieces([LONGEST - 1])[0]) == FIXED_PIECES
    assert fixed_pieces([100, *[LONGEST - 1] * 39])[0] == [(0, 100)]
