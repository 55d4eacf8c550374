"""One uniform number a draw, from nothing but (seed, index): a counter-based hash. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def uniform(seeds: Sequence[int], indices: Sequence[int]) -> NDArray[np.float64]:
    """float64 in [0, 1), 53 random bits each: number `indices[i]` of the sequence that `seeds[i]` names.

    The seed is hashed before the index is added, so that neighbouring seeds do not walk the same sequence.
    """
    seed = np.array([value & _MASK for value in seeds], dtype=np.uint64)
    index = np.array(indices, dtype=np.uint64)
    bits = splitmix64(splitmix64(seed) + index * _GOLDEN)
    return np.ldexp((bits >> np.uint64(11)).astype(np.float64), -53)


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood's SplittableRandom (2014): the output that follows `state`. Wraps at 64 bits."""
    z = state + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
