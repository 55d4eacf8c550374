"""Every page of every lane is read exactly once, whatever the lengths, and FlashInfer is told the true lengths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.kernels.work_list import FIXED_PIECES, SPARE_BLOCKS, TILE_TOKENS, WorkList

TABLE_PAGES = 64


def filled(work: WorkList, positions: list[int]) -> np.ndarray:
    """From memory that holds the numbers of another step."""
    buffer = np.full(work.size, 77, dtype=np.int32)
    work.fill(buffer, np.array(positions, dtype=np.int32))
    return buffer


@given(
    positions=st.lists(st.integers(0, TABLE_PAGES * 16 - 1), min_size=1, max_size=40),
    kv_heads=st.sampled_from([1, 2, 8, 512]),
    page_size=st.sampled_from([16, 64, 256]),
)
def test_pieces_cover_every_lane_once(positions: list[int], kv_heads: int, page_size: int) -> None:
    work = WorkList(len(positions), kv_heads, page_size, TABLE_PAGES)
    numbers = filled(work, positions)
    used = numbers[work.piece_is_used].view(np.uint8)[: work.pieces]
    count = int(used.sum())
    assert used[:count].all()
    tokens = int(numbers[work.piece_tokens][0])
    assert tokens % max(TILE_TOKENS, page_size) == 0
    pieces = list(
        zip(numbers[work.piece_lane][:count].tolist(), numbers[work.piece_index][:count].tolist(), strict=True)
    )
    wanted = [(lane, at) for lane, position in enumerate(positions) for at in range(position // tokens + 1)]
    assert pieces == wanted
    starts = numbers[work.piece_indptr]
    assert [pieces[at] for at in starts[:-1]] == [(lane, 0) for lane in range(len(positions))]
    assert starts[-1] == count <= work.pieces


@given(positions=st.lists(st.integers(0, TABLE_PAGES * 16 - 1), min_size=1, max_size=40))
def test_a_lanes_length_is_its_position_and_one(positions: list[int]) -> None:
    work = WorkList(len(positions), 8, 16, TABLE_PAGES)
    numbers = filled(work, positions)
    assert numbers[work.positions].tolist() == positions
    assert numbers[work.row_count][0] == len(positions)
    # As FlashInfer's kernels compute it, from rows of TABLE_PAGES entries.
    assert ((TABLE_PAGES - 1) * 16 + numbers[work.last_page_len]).tolist() == [position + 1 for position in positions]


def test_one_long_lane_is_shared_by_as_many_blocks_as_there_are_to_spare() -> None:
    work = WorkList(1, 8, 16, 8192)
    numbers = filled(work, [131071])
    assert numbers[work.piece_indptr][1] == SPARE_BLOCKS // 8


def test_equal_lanes_in_a_large_batch_are_not_divided() -> None:
    work = WorkList(64, 8, 16, TABLE_PAGES)
    numbers = filled(work, [600] * 64)
    assert numbers[work.piece_indptr].tolist() == list(range(65))


def test_each_array_begins_on_16_bytes_and_none_overlap() -> None:
    work = WorkList(5, 8, 16, TABLE_PAGES)
    parts = sorted((part for part in vars(work).values() if isinstance(part, slice)), key=lambda part: part.start)
    assert len(parts) == 9
    assert all(part.start % 4 == 0 for part in parts)
    assert all(one.stop <= other.start for one, other in pairwise(parts))
    assert parts[-1].stop <= work.size


LONGEST = TABLE_PAGES * 16 - 1


def fixed_pieces(positions: list[int]) -> list[list[int]]:
    """With a fixed division, the pieces each lane is read in; rows of nobody are one token long."""
    rows = [*positions, *[0] * (40 - len(positions))]
    work = WorkList(len(rows), 8, 16, TABLE_PAGES, is_fixed=True)
    numbers = filled(work, rows)
    ends = numbers[work.piece_indptr]
    assert ends[-1] <= work.pieces
    return [numbers[work.piece_index][start:end].tolist() for start, end in pairwise(ends)]


@given(mine=st.integers(0, LONGEST), others=st.lists(st.integers(0, LONGEST), max_size=39), data=st.data())
def test_a_fixed_division_goes_by_a_lanes_own_length(mine: int, others: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(others)))
    assert fixed_pieces([*others[:at], mine, *others[at:]])[at] == fixed_pieces([mine])[0]


def test_a_fixed_division_bounds_the_pieces_of_the_longest_lane() -> None:
    assert fixed_pieces([LONGEST])[0] == list(range(FIXED_PIECES))
    assert fixed_pieces([100, *[LONGEST] * 39])[0] == [0]
