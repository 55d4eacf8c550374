"""How many prompt tokens make a step that leaves no SM idle: products are computed in waves of tiles, an SM a tile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil

TILE_ROWS, TILE_OUTPUTS = 128, 256
"""What an SM computes at a time of a large product, in the kernels cuBLAS has for compute capability 9.0."""
WORTH = 0.005
"""A larger step is taken if it leaves no more than this part of the time more unused."""


def fullest_step(most_tokens: int, sm_count: int, products: tuple[tuple[int, int], ...]) -> int:
    """Of the steps of more than half of `most_tokens` up to all of them, the largest of those that waste the least.

    `products`: (outputs, columns) of the matrices of a layer. Without SMs, as on the CPU, it is `most_tokens`.
    """
    most_tiles = most_tokens // TILE_ROWS
    return _fullest(most_tiles, sm_count, products) if sm_count and products and most_tiles else most_tokens


@cache
def _fullest(most_tiles: int, sm_count: int, products: tuple[tuple[int, int], ...]) -> int:
    """By whole tiles: the limit moves with every step that is seen, and each of its values would be kept."""
    most_tokens = most_tiles * TILE_ROWS
    sizes = range(most_tokens, most_tokens // 2, -TILE_ROWS)
    used = {size: used_part(size, sm_count, products) for size in sizes}
    return next(size for size in sizes if used[size] >= max(used.values()) - WORTH)


def used_part(tokens: int, sm_count: int, products: Sequence[tuple[int, int]]) -> float:
    """The part of the SMs' time in which they compute, if every tile takes as long as its columns are many."""
    rows = ceil(tokens / TILE_ROWS)
    tiles = [(rows * ceil(outputs / TILE_OUTPUTS), columns) for outputs, columns in products]
    taken = sum(ceil(count / sm_count) * sm_count * columns for count, columns in tiles)
    return sum(count * columns for count, columns in tiles) / taken
